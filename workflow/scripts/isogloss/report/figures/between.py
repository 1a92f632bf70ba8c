"""The figure that compares models: what they do, and what features they have, the smallest model first."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import percent_axis, row_axis, shared_legend
from isogloss.report.figures.marks import bars, spot
from isogloss.report.figures.style import INK, PALETTE, SHAPES, canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import SIZE_TITLES, number

_COLUMNS = 3


class _Panel(NamedTuple):
    title: str
    unit: str  # "%" for shares
    column: str
    rows: pl.DataFrame  # those with a value


def models(tables: Tables, context: Context) -> Figure:
    """A panel a measure, a row a model with its size; questions apart by shape and colour, chance as a stroke."""
    behaviour, sizes = tables["comparison/models"], tables["comparison/sizes"]
    order = behaviour.select("model", "n_parameters").unique("model", maintain_order=True)
    order = order.sort("n_parameters", nulls_last=True, maintain_order=True)
    heights = {model: height for height, model in enumerate(order["model"])}
    asked = behaviour.drop_nulls("task").select("analysis", "task").unique(maintain_order=True).rows()
    panels = list(_panels(behaviour, sizes))
    columns = min(_COLUMNS, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure, axes = canvas(lines, columns, height=0.9 + lines * (0.9 + 0.32 * len(heights)), sharey=True)
    flat: list[Axes] = list(axes.flat)
    labels = [_label(model, size, context) for model, size in order.iter_rows()]
    for panel in flat:
        row_axis(panel, labels)
    for panel in flat[max(1, len(panels)) :]:
        panel.set_visible(False)
    if not panels:
        flat[0].text(0.5, 0.5, "nothing measured in any model", transform=flat[0].transAxes, ha="center")
        flat[0].set_xlabel("value")
    for panel, one in zip(flat, panels, strict=False):
        _draw(panel, one, heights, asked, context)
    if any(one.column != "value" for one in panels):
        shared_legend(figure, flat, columns=3)
    return figure


def _panels(behaviour: pl.DataFrame, sizes: pl.DataFrame) -> Iterator[_Panel]:
    """The measures that any model has."""
    for column, unit in (("accuracy", "%"), ("consistency", "ρ"), ("positive_transfer", "%")):
        rows = behaviour.drop_nulls(column)
        if rows.height:
            yield _Panel(column.replace("_", " ").capitalize(), unit, column, rows)
    for measure in sizes["measure"].unique(maintain_order=True):
        rows = sizes.filter(measure=measure).drop_nulls("value")
        if rows.height:
            unit = {"mixed_share": "%", "span_length": "tokens"}.get(measure, "0 to 1")
            yield _Panel(SIZE_TITLES[measure], unit, "value", rows)


def _label(model: str, size: int | None, context: Context) -> str:
    return context.title(model) + ("" if size is None else f"\n{number(size / 1e6, 0 if size > 1e7 else 1)}M")


def _draw(panel: Axes, one: _Panel, heights: Mapping[str, int], asked: list[tuple[str, str]], context: Context) -> None:
    factor = 100 if one.unit == "%" else 1
    for row in one.rows.iter_rows(named=True):
        number_of, label = _series(row, asked, context)
        reach = 0.5 / max(1, len(asked)) * (number_of - (len(asked) - 1) / 2) if "task" in row else 0
        look = {"colour": PALETTE[number_of % len(PALETTE)], "marker": SHAPES[number_of % len(SHAPES)]}
        bars(panel, heights[row["model"]] + reach, row, one.column, factor=factor, label=label, **look)
        chance = row.get(f"{one.column}_chance")
        at = None if chance is None else factor * chance
        spot(panel, at, heights[row["model"]] + reach, marker="|", color=INK, label="by chance")
    for model, height in heights.items():
        if model not in one.rows["model"]:
            panel.text(0.02, height, "not measured", transform=panel.get_yaxis_transform(), fontsize=7.5, va="center")
    panel.set_title(one.title, fontsize="small")
    panel.set_xlabel(one.unit)
    if one.unit == "%":
        percent_axis(panel, "x")
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel("share (%)")


def _series(row: Mapping[str, Any], asked: list[tuple[str, str]], context: Context) -> tuple[int, str]:
    """The number and name of the questions that a row is of; features have none."""
    if "task" not in row:
        return 0, "_features"
    parallel = ", parallel questions" if row["analysis"] == "latent" else ""
    return asked.index((row["analysis"], row["task"])), f"{context.panel(row['task'])}{parallel}"
