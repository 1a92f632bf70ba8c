"""What the figure that compares models shows, in one sentence."""

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import SIZE_TITLES, TASK_TITLES, listed
from isogloss.report.takeaways.brief import brief_in, counted, sentence


def models(tables: Tables, context: Context) -> Takeaway:
    """Accuracy of the models where several were asked the same questions; else a measure of features, else none."""
    behaviour, sizes = tables["comparison/models"], tables["comparison/sizes"]
    n = counted(_sizes(behaviour), "size")
    asked = behaviour.drop_nulls(["task", "accuracy"])
    for (_, task), rows in asked.group_by("analysis", "task", maintain_order=True):
        if rows["model"].n_unique() > 1:
            return Takeaway(_compared(rows, f"{TASK_TITLES[str(task)]}, accuracy", "accuracy", ("%", 100), context), n)
    for measure in sizes["measure"].unique(maintain_order=True):
        rows = sizes.filter(measure=measure).drop_nulls("value")
        if rows["model"].n_unique() > 1:
            unit = ("%", 100) if measure == "mixed_share" else ("", 1)
            return Takeaway(_compared(rows, SIZE_TITLES[measure], "value", unit, context), n)
    return Takeaway("No two models were measured alike, so nothing can be compared.", n)


def _sizes(behaviour: pl.DataFrame) -> int:
    return behaviour["n_parameters"].drop_nulls().n_unique()


def _compared(rows: pl.DataFrame, what: str, column: str, unit: tuple[str, float], context: Context) -> str:
    """The lowest and the highest model, and whether their intervals overlap."""
    ranked = rows.sort(column, maintain_order=True).to_dicts()
    low, high = ranked[0], ranked[-1]
    digits = 0 if unit[0] else 2
    parts = [
        f"{brief_in(row, column, unit[0], factor=unit[1], digits=digits)} in {context.title(row['model'])}"
        for row in (low, high)
    ]
    bounds = (low[f"{column}_high"], high[f"{column}_low"])
    verdict = ""
    if None not in bounds:
        verdict = ": the intervals do not overlap" if bounds[0] < bounds[1] else ": the intervals overlap"
    span = f"from {parts[0]} to {parts[1]}" if len(ranked) > 2 else listed(parts)
    return sentence(f"{what}: {span}{verdict}")
