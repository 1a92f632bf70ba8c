"""What the tables over models say, in sentences."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import estimate_in, sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import SIZE_TITLES, listed, number

FEW = 3
"""Up to so many models each is named; of more, the lowest and the highest."""
_SHOWN = (("accuracy", "accuracy", 100, "%"), ("consistency", "consistency", 1, ""))
_SHOWN += (("positive_transfer", "positive transfer", 100, "%"),)


def between(tables: Tables, context: Context) -> list[str]:
    """Accuracy, consistency and transfer of the models, their features, then slopes on size or why there are none."""
    sentences: list[str] = []
    asked = tables["models"].drop_nulls("task")
    for (analysis, task), rows in asked.group_by("analysis", "task", maintain_order=True):
        where = f"{context.task(str(task))}{' (parallel questions)' if analysis == 'latent' else ''}"
        for column, what, factor, unit in _SHOWN:
            sentences.append(_of_models(rows, column, f"{where}, {what}", factor, unit, context))
    for measure in tables["sizes"]["measure"].unique(maintain_order=True):
        rows = tables["sizes"].filter(measure=measure)
        factor, unit = (100, "%") if measure == "mixed_share" else (1, "")
        sentences.append(_of_models(rows, "value", f"{SIZE_TITLES[measure]}, middle layer", factor, unit, context))
    return [*sentences, *_slopes(tables["size_regression"], context)]


def _of_models(
    rows: pl.DataFrame, column: str, what: str, factor: float, unit: str, context: Context
) -> str:  # fmt: skip
    """The models' values; nothing where fewer than two have one."""
    defined = rows.drop_nulls(column).sort(column).to_dicts()
    if len(defined) < 2:
        return ""

    def of_model(row: Mapping[str, Any]) -> str:
        shown = estimate_in(row, column, unit, factor=factor)
        return f"{context.title(row['model'])} {shown}"

    if len(defined) <= FEW:
        return f"{what}: {listed([of_model(row) for row in defined])}."
    return f"{what}, {len(defined)} models: from {of_model(defined[0])} to {of_model(defined[-1])}."


def _slopes(regression: pl.DataFrame, context: Context) -> list[str]:
    """What rises or falls with the size of the model; one sentence where there are too few sizes for any slope."""
    fitted = regression.drop_nulls("slope").to_dicts()
    if not fitted:
        sizes = regression["n_sizes"].max() or 0
        return [
            f"Whether any of this goes with the size of the model cannot be said: models of {sizes}"
            f" size{'' if sizes == 1 else 's'} were measured, a slope needs three."
        ]
    sentences = []
    for row in fitted:
        verdict = {1: "rises with size", -1: "falls with size", 0: "no evidence that it goes with size"}[sign_in(row)]
        task = "" if row["task"] is None else f", {context.task(row['task'])}"
        slope = estimate_in(row, "slope", "", interval="ci")
        sentences.append(
            f"{SIZE_TITLES[row['measure']]}{task}: slope {slope} on the natural log of the number of parameters over"
            f" {number(row['n_models'], 0)} models: {verdict}."
        )
    return sentences
