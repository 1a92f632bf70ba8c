"""What paper B's tables say, in sentences: every number is read from a table, every direction from its interval."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from isogloss.report.means import over_languages
from isogloss.report.sentences import estimate, sign
from isogloss.report.wording import TASK_TITLES, listed, name, number, signed

CHANCE = 25  # percent: every question has four choices


def answers(frame: pl.DataFrame, reference: str, confidence: float) -> list[str]:
    """Per task the highest and the lowest accuracy beside the reference's, and how many languages beat guessing."""
    sentences: list[str] = []
    for (task,), its in frame.drop_nulls("accuracy").group_by("task", maintain_order=True):
        rows = its.sort("accuracy").to_dicts()
        low, high = rows[0], rows[-1]
        own = [row for row in rows if row["lang"] == reference and row is not high]
        above = sum(100 * row["accuracy_low"] > CHANCE for row in rows if row["accuracy_low"] is not None)
        beside = f" {name(reference)} {_percent(own[0], 'accuracy', confidence)}." if own else ""
        sentences.append(
            f"{TASK_TITLES[str(task)]}: of {len(rows)} languages {name(high['lang'])} is answered best,"
            f" {_percent(high, 'accuracy', confidence)}, {name(low['lang'])} worst,"
            f" {_percent(low, 'accuracy', confidence)}.{beside} In {above} of {len(rows)} the interval lies above"
            f" chance ({CHANCE} %)."
        )
    return sentences


def transfer(summary: pl.DataFrame, pairs: pl.DataFrame, reference: str, confidence: float) -> list[str]:
    """Per task the means over all ordered pairs, and how far the reference's answers reach into the others."""
    sentences: list[str] = []
    for row in summary.iter_rows(named=True):
        told = (
            f"{TASK_TITLES[row['task']]}, all ordered pairs of {row['n_languages']} languages: consistency ρ ="
            f" {_plain(row, 'consistency', confidence)}; of the questions answered rightly in one language,"
            f" {_percent(row, 'positive_transfer', confidence)} are right in the other, too; of those answered wrongly,"
            f" {_percent(row, 'negative_transfer', confidence)} have the same wrong answer."
        )
        from_reference = pairs.filter(pl.col("task") == row["task"], pl.col("lang_a") == reference)
        sentences.append(told + _reach(from_reference, reference, confidence))
    return sentences


def _reach(pairs: pl.DataFrame, reference: str, confidence: float) -> str:
    rows = pairs.drop_nulls("positive_transfer").sort("positive_transfer").to_dicts()
    if not rows:
        return ""
    ends = [f"{name(row['lang_b'])} {_percent(row, 'positive_transfer', confidence)}" for row in (rows[0], rows[-1])]
    alike = sorted(row["consistency"] for row in rows if row["consistency"] is not None)
    ranks = f"; consistency with it runs from ρ = {number(alike[0], 2)} to {number(alike[-1], 2)}" if alike else ""
    told = f"from {ends[0]} to {ends[1]}" if len(rows) > 1 else ends[0]
    return f" Of the questions right in {name(reference)}, so many are right in another language: {told}{ranks}."


def latent(frame: pl.DataFrame, reference: str, confidence: float) -> list[str]:
    """Per task in which layers the lens prefers the reference's answers, in which native ones, by intervals."""
    sentences: list[str] = []
    for (task,), its in frame.filter(pl.col("lang") != reference).group_by("task", maintain_order=True):
        rows = over_languages(its, "log_ratio", confidence).to_dicts()
        if not rows:
            continue
        signs = [sign(row["low"], row["high"]) for row in rows]
        where = {
            one: [str(row["layer"]) for row, it in zip(rows, signs, strict=True) if it == one] for one in (-1, 1, 0)
        }
        verdicts = [
            f"{what} in {'layer' if len(where[one]) == 1 else 'layers'} {listed(where[one])}"
            for one, what in (
                (-1, f"{name(reference)} answers are the more probable ones"),
                (1, "native answers are the more probable ones"),
                (0, "no evidence for either"),
            )
            if where[one]
        ]
        lowest, last = min(rows, key=lambda row: row["mean"]), rows[-1]
        sentences.append(
            f"{TASK_TITLES[str(task)]}, logit lens, mean over {rows[0]['n']} languages: {'; '.join(verdicts)}"
            f" (0-based). The log ratio of native to {name(reference)} answers is lowest in layer {lowest['layer']},"
            f" {_mean(lowest, confidence)} nats a token, and {_mean(last, confidence)} in the last."
        )
    return sentences


def _mean(row: Mapping[str, Any], confidence: float) -> str:
    return estimate(row["mean"], row["low"], row["high"], confidence, "")


_TARGETS = {
    "accuracy": ("accuracy", "are the more accurate", "are the less accurate"),
    "consistency": ("consistency", "agree more with the others", "agree less with the others"),
    "positive_transfer": ("transfer", "receive more transfer", "receive less transfer"),
}


def correlation(frame: pl.DataFrame, confidence: float) -> list[str]:
    """Per task and target whether languages in which the layers work more natively fare better or worse."""
    sentences: list[str] = []
    for (task,), rows in frame.group_by("task", maintain_order=True):
        parts: list[str] = []
        for row in rows.iter_rows(named=True):
            what, more, less = _TARGETS[row["target"]]
            if row["r"] is None:
                parts.append(f"with {what} no r can be computed (languages: {row['n']})")
                continue
            shown = sign(row["r_low"], row["r_high"])
            verdict = "no evidence of a relation" if not shown else f"they {more if shown > 0 else less}"
            if shown and (row["p_adjusted"] is None or row["p_adjusted"] >= 1 - confidence):
                verdict += ", which does not outlast the correction over tasks and targets"
            parts.append(
                f"with {what} r = {estimate(row['r'], row['r_low'], row['r_high'], confidence, '')}, {verdict}"
            )
        sentences.append(
            f"{TASK_TITLES[str(task)]}, languages whose answers the layers prefer to those of the reference (log ratio,"
            f" mean over layers): {'; '.join(parts)}."
        )
    return sentences


def steering(frame: pl.DataFrame, summary: pl.DataFrame, confidence: float) -> list[str]:
    """Per task the best layer and γ of the own vectors, and whether they beat a random direction there."""
    sentences: list[str] = []
    for (task,), rows in summary.filter(pl.col("vector") == "own").group_by("task", maintain_order=True):
        defined = rows.drop_nulls("accuracy_change")
        if not defined.height:
            continue
        top = defined.sort(-pl.col("accuracy_change"), pl.col("gamma").abs(), "layer").row(0, named=True)
        shown = sign(top["accuracy_change_low"], top["accuracy_change_high"])
        verdict = {1: "a gain", -1: "a loss even there", 0: "no evidence of a gain"}[shown]
        changes = [
            f"consistency by {_plain(top, 'consistency_change', confidence)}",
            f"transfer from the reference by {_percent(top, 'positive_transfer_change', confidence, 'points')}",
        ]
        sentences.append(
            f"{TASK_TITLES[str(task)]}, steering by each language's own vector: of {defined.height} settings"
            f" of layer and γ accuracy changes best in layer {top['layer']} (0-based) at γ = {signed(top['gamma'])}, by"
            f" {_percent(top, 'accuracy_change', confidence, 'points')}, mean over {top['n_languages']} languages:"
            f" {verdict}; {' and '.join(changes)}.{_beyond(frame.filter(pl.col('task') == task), top, confidence)}"
        )
    return sentences


def _beyond(frame: pl.DataFrame, top: Mapping[str, Any], confidence: float) -> str:
    """The own vectors' change less the random directions', paired by language."""
    at = frame.filter(pl.col("layer") == top["layer"], pl.col("gamma") == top["gamma"])
    own, random = (at.filter(pl.col("vector") == vector) for vector in ("own", "random"))
    both = own.join(random, on="lang", suffix="_random", maintain_order="left").with_columns(
        beyond=pl.col("accuracy_change") - pl.col("accuracy_change_random"), all=pl.lit(0)
    )
    rows = over_languages(both, "beyond", confidence, by=["all"]).to_dicts()
    if not rows:
        return " No random control was run."
    verdict = {
        1: "more than any push of that length does",
        -1: "less than a push in a random direction",
        0: "no evidence that the direction matters",
    }[sign(rows[0]["low"], rows[0]["high"])]
    low, high = (None if rows[0][end] is None else 100 * rows[0][end] for end in ("low", "high"))
    return f" Against random directions: {estimate(100 * rows[0]['mean'], low, high, confidence, 'points')}, {verdict}."


def teaching(frame: pl.DataFrame, reference: str, confidence: float) -> list[str]:
    """The toy world: what transfers of facts taught in the reference only, beside those taught elsewhere."""
    sentences: list[str] = []
    for (task,), rows in frame.filter(pl.col("lang") != reference).group_by("task", maintain_order=True):
        means = {
            row["taught"]: row
            for row in over_languages(rows, "positive_transfer", confidence, by=["taught"]).to_dicts()
        }
        told = [
            f"{_hundred(means[taught], confidence, '%')} where the fact was taught in {where}"
            for taught, where in (
                ("all", "every language"),
                ("reference", f"{name(reference)} only"),
                ("none", "no language"),
            )
            if taught in means
        ]
        if not told:
            continue
        parts = [
            f"{TASK_TITLES[str(task)]}, the planted truth, mean over languages: of the questions right in"
            f" {name(reference)}, so many are right in another language: {listed(told)}.",
            *(_against_untaught(rows, its, confidence) for its in _COMPARED),
        ]
        sentences.append("".join(parts))
    return sentences


class Compared(NamedTuple):
    """A measure of which facts taught in the reference only are held against untaught ones."""

    column: str
    what: str
    verdicts: Mapping[int, str]  # by the sign of the difference's interval


_COMPARED = (
    Compared(
        "positive_transfer",
        "Transfer of facts taught in the reference only less that of untaught ones",
        {1: "transfer is shown", -1: "less than of untaught facts", 0: "no evidence of transfer"},
    ),
    Compared(
        "steered_accuracy_change",
        "What steering adds on facts taught in the reference only less on untaught ones",
        {
            1: "steering brings out what the reference knows",
            -1: "less than on untaught facts",
            0: "no evidence that steering brings out what the reference knows",
        },
    ),
)


def _against_untaught(rows: pl.DataFrame, compared: Compared, confidence: float) -> str:
    """Facts taught in the reference only against facts never taught, paired by language."""
    only, never = (rows.filter(pl.col("taught") == taught) for taught in ("reference", "none"))
    both = only.join(never, on="lang", suffix="_never", maintain_order="left").with_columns(
        beyond=pl.col(compared.column) - pl.col(f"{compared.column}_never"), all=pl.lit(0)
    )
    found = over_languages(both, "beyond", confidence, by=["all"]).to_dicts()
    if not found:
        return ""
    verdict = compared.verdicts[sign(found[0]["low"], found[0]["high"])]
    return f" {compared.what}: {_hundred(found[0], confidence, 'points')}, {verdict}."


def _hundred(row: Mapping[str, Any], confidence: float, unit: str) -> str:
    low, high = (None if row[end] is None else 100 * row[end] for end in ("low", "high"))
    return estimate(100 * row["mean"], low, high, confidence, unit)


def _percent(row: Mapping[str, Any], column: str, confidence: float, unit: str = "%") -> str:
    value, low, high = (
        None if row[one] is None else 100 * row[one] for one in (column, f"{column}_low", f"{column}_high")
    )
    return "–" if value is None else estimate(value, low, high, confidence, unit)


def _plain(row: Mapping[str, Any], column: str, confidence: float) -> str:
    value = row[column]
    return "–" if value is None else estimate(value, row[f"{column}_low"], row[f"{column}_high"], confidence, "")
