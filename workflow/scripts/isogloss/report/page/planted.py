"""What was planted in models trained here, and what was measured of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from isogloss.report.findings.planted import contrast, equal_shares, planted, reconciled, verdicts
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.study import Study
from isogloss.report.shared.wording import name, number

FEW = 3
"""Up to so many models, accuracy and gap of each stand beside its shares; of more, the verdicts say it all."""


class Planted(NamedTuple):
    """What the page says of it."""

    text: str
    head: list[str]  # of the table of shares
    rows: list[list[str]]
    note: str
    verdicts: list[str]
    sentences: list[str]


def planted_truth(study: Study) -> Planted | None:
    """What was planted and what was measured of it; None where no model was trained here."""
    settings = study.settings
    world, english = settings["world"], name(settings["languages"]["reference"])
    toys = {model: frames for model, frames in study.tables.items() if settings["models"][model]["kind"] == "toy"}
    if not toys:
        return None
    judged: list[str] = []
    if "planted_truth" in study.compared:
        judged = verdicts(study.compared["planted_truth"], settings["report"]["headline"])
    head, rows = _shares(toys, settings)
    few = len(toys) <= FEW
    note = f"Accuracy: mean over the tasks that all these models have. Gap: to {english}, mean over layers."
    return Planted(
        "Each language model and its SAEs were trained here on the shares of languages below; the tokenizer was trained"
        f" on all languages alike. {_bilingual(world)}In every model alike, {100 * world['english_only']:g} % of the"
        f" facts are told in {english} only and {100 * world['untaught']:g} % in no language; phrases come from facts"
        " told in all languages.",
        head,
        rows,
        note if few else "",
        judged,
        _sentences(toys, settings, study.compared.get("planted_truth")) if few or not judged else [],
    )


def _bilingual(world: Mapping[str, Any]) -> str:
    if not world["bilingual"]:
        return ""
    return (
        f"{100 * world['bilingual']:g} % of a model's tokens are documents that tell facts in two languages by turns,"
        f" with {100 * world['switched']:g} % of the subjects' names left in the other language: without them it would"
        " not share features across languages. "
    )


def _sentences(toys: Mapping[str, Tables], settings: Mapping[str, Any], truth: pl.DataFrame | None) -> list[str]:
    """What accuracy and gap show of the shares, model by model; then each model's gap beside its control's."""
    confidence, reference = settings["statistics"]["confidence"], settings["languages"]["reference"]
    sentences: list[str] = []
    gaps: dict[str, tuple[str, pl.DataFrame]] = {}
    tasks = _common_tasks(toys)
    for model, tables in toys.items():
        title, shares = settings["models"][model]["title"], settings["models"][model]["shares"]
        gap = {f"mean gap to {name(reference)}": _mean_gap(tables, reference)}
        measured = {"mean accuracy": _mean_accuracy(tables, tasks)} | gap
        sentences += [planted(title, shares, values, what, confidence) for what, values in measured.items() if values]
        control = settings["models"][model].get("control")
        if truth is not None and control in toys:
            gap, equal = (_mean_gap(toys[one], reference) for one in (model, control))
            called = settings["models"][control]["title"]
            sentences += reconciled(title, shares, gap, called, equal, truth, confidence)
        if "group_gap" in tables:
            gaps[model] = (title, tables["group_gap"])
            if len({round(share, 9) for share in shares.values()}) == 1:
                sentences += equal_shares(title, tables["group_gap"], reference)
    first = next(iter(gaps), "")
    controls = {model: settings["models"][model].get("control") for model in gaps}
    pairs = [(model, control) for model, control in controls.items() if control in gaps]
    pairs = pairs or [(first, other) for other in gaps if other != first]
    return sentences + [contrast(*gaps[model], *gaps[other], reference) for model, other in pairs]


def _shares(toys: Mapping[str, Tables], settings: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, one a language, of each model's shares; of few models accuracy and gap beside them."""
    reference = settings["languages"]["reference"]
    head, columns, tasks = ["language"], [], _common_tasks(toys)
    for model, tables in toys.items():
        title, shares = settings["models"][model]["title"], settings["models"][model]["shares"]
        shown = {"share": {code: 100 * share for code, share in shares.items()}}
        if len(toys) <= FEW:
            shown |= {"accuracy": _mean_accuracy(tables, tasks), "gap": _mean_gap(tables, reference)}
        head += [f"{title}: {label} (%)" for label, values in shown.items() if values]
        columns += [values for values in shown.values() if values]
    codes = Context("", settings).languages
    return head, [[name(code), *(number(column.get(code)) for column in columns)] for code in codes]


def _accuracies(tables: Tables) -> pl.DataFrame | None:
    """The base model's accuracy by task; of paper B's answers where the benchmarks were not run."""
    return tables["accuracy"].filter(adapter="base") if "accuracy" in tables else tables.get("answers")


def _common_tasks(toys: Mapping[str, Tables]) -> set[str]:
    """The tasks of all models that have any: means over other tasks could not be compared."""
    asked = [set(frame["task"]) for tables in toys.values() if (frame := _accuracies(tables)) is not None]
    return set[str].intersection(*asked) if asked else set()


def _mean_accuracy(tables: Tables, tasks: set[str]) -> dict[str, float]:
    """Mean over these tasks by language, in percent; nothing where there is none."""
    if (frame := _accuracies(tables)) is None:
        return {}
    base = frame.filter(pl.col("task").is_in(list(tasks)))
    return dict(base.group_by("lang", maintain_order=True).agg((100 * pl.col("accuracy")).mean()).iter_rows())


def _mean_gap(tables: Tables, reference: str) -> dict[str, float]:
    if "language_gap_summary" not in tables:
        return {}
    rows = tables["language_gap_summary"].filter(pl.col("lang") != reference).drop_nulls("mean_gap_pct")
    return dict(rows.select("lang", "mean_gap_pct").iter_rows())
