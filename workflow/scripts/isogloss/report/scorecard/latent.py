"""The scorecard's rows on paper B: transfer, the latent language, steering."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import sign_in
from isogloss.report.scorecard.row import FAILED, NONE, OPEN, PASSED, Control, Row, counted, measured, shown
from isogloss.report.shared.study import Study
from isogloss.report.shared.wording import name, number


def transfer(study: Study) -> Row | None:
    """How alike answers are over all pairs of languages, beside chance; of the first task."""
    models = study.having("transfer_summary")
    if not models:
        return None
    row = study.tables[models[0]]["transfer_summary"].row(0, named=True)
    n = f"{counted(row['n_languages'], 'language')}, {counted(row['n'], 'question')}"
    above = measured(row, "transfer_above_chance", "Transfer above chance", factor=100, unit="%", n=n)
    alike = measured(row, "consistency", "Rank correlation of answers", digits=2)
    verdict = {1: Control(PASSED, "above chance"), -1: Control(FAILED, "below chance")}
    return Row(
        "transfer",
        "Is what is right in one language right in another (transfer)?",
        "B: answers are inconsistent",
        shown(above.sign),
        [above, alike],
        verdict.get(above.sign, Control(OPEN, "not told apart from chance")),
        "transfer",
        "transfer between languages",
    )


def log_ratio(study: Study) -> Row | None:
    """Whether languages in which the layers work more natively are answered worse, lengths taken out."""
    models = study.having("latent_correlation")
    if not models:
        return None
    frame = study.tables[models[0]]["latent_correlation"].filter(target="accuracy")
    if not frame.height:
        return None
    row = frame.row(0, named=True)
    one = measured(row, "r", "r with accuracy", digits=2, n=counted(row["n"], "language"))
    partial, p = row["partial_r"], row["partial_p"]
    if partial is None or p is None:
        control = Control(NONE, "too few languages")
    elif not one.sign:
        control = Control(OPEN, "nothing to control for")
    else:
        passes = p < 1 - study.settings["statistics"]["confidence"] and partial * one.sign > 0
        control = Control(PASSED if passes else FAILED, f"r given length is {number(partial, 2)}")
    reference = name(study.settings["languages"]["reference"])
    return Row(
        "log_ratio",
        f"Do layers that favour native over {reference} answers (log ratio) go with worse answers?",
        "B: yes",
        shown(one.sign, -1),
        [one],
        control,
        "latent_correlation",
        "native layers, worse answers",
    )


def steering(study: Study) -> Row | None:
    """What steering changes in questions that did not choose its setting, own less random directions; first task."""
    models = study.having("steering_judged")
    if not models:
        return None
    frame = study.tables[models[0]]["steering_judged"]
    means = frame.filter(pl.col("lang").is_null(), task=frame["task"][0])
    by_vector = {row["vector"]: row for row in means.iter_rows(named=True)}
    if (own := by_vector.get("own")) is None:
        return None
    n = f"{counted(own['n_languages'] or 0, 'language')}, {counted(own['n'] or 0, 'question')}"
    change = measured(own, "change_judged", "Accuracy", factor=100, unit="points", n=n)
    here, control = [change], Control(NONE)
    if (random := by_vector.get("directions") or by_vector.get("random")) and random["own_less"] is not None:
        less = measured(random, "own_less", "Minus random directions", factor=100, unit="points")
        here.append(less)
        control = _beside_random(random, 1 - study.settings["statistics"]["confidence"])
    reference = name(study.settings["languages"]["reference"])
    return Row(
        "steering",
        f"Does steering (adding a vector towards {reference} to a layer) improve answers?",
        "B: yes",
        shown(change.sign),
        here,
        control,
        "steering_judged",
        "gain by steering",
    )


def _beside_random(random: Mapping[str, Any], level: float) -> Control:
    """Whether own vectors beat random directions: in the mean over languages, and in how many directions do as well."""
    beats, p = sign_in(random, "own_less") == 1, random.get("p")
    if p is None:
        return (
            Control(PASSED, "beats random directions") if beats else Control(FAILED, "does not beat random directions")
        )
    text = f"{random['n_as_large']} of {random['n_directions']} random directions do as well"
    if beats and p < level:
        return Control(PASSED, text)
    if not beats and p >= level:
        return Control(FAILED, text)
    return Control(OPEN, f"{text}, but the interval {'excludes' if beats else 'includes'} 0")
