"""Figures of gap against accuracy (paper A, Figs 9 to 11): in a model, and where shares were planted and equal."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import headed, percent_axis, task_heading, task_panels
from isogloss.report.figures.benchmarks import tasks_in_order
from isogloss.report.figures.labels import label_points
from isogloss.report.figures.marks import spot, strength, trend
from isogloss.report.figures.scripts import script_legend, script_looks
from isogloss.report.figures.style import canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.within import Within, within_scripts, worlds
from isogloss.report.shared.wording import number

MOST_NAMED = 40
"""Up to so many languages, the points are named."""

MOST_PAIRS = 3
"""Up to so many models with planted shares stand beside their controls."""

_AXIS = "mean gap over layers (%)"


def gap_accuracy_correlation(tables: Tables, context: Context) -> Figure:
    """Mean gap of each language against its accuracy, a panel a task, with Pearson's r overall and within scripts."""
    correlation = tables["gap_accuracy_correlation"]
    tasks = tasks_in_order(correlation, context)
    figure, panels = task_panels(tables["gap_accuracy"], context, tasks, height=4.4, sharex=True, sharey=True)
    for (panel, rows), task in zip(panels, tasks, strict=True):
        note = strength(correlation.filter(task=task).row(0, named=True), "ci")
        inside = within_scripts(rows, "mean_gap_pct", "accuracy")
        headed(panel, "", f"{note}\n{_inside(inside, len(tasks))}")
        panel.set_title(task_heading(task, context, len(tasks)), pad=30 if len(tasks) < 3 else 40)
        _points(panel, rows.select("lang", gap="mean_gap_pct", accuracy=100 * pl.col("accuracy")), context)
    return _finished(figure, [(panel, _named(rows)) for panel, rows in panels], context)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("lang", gap="mean_gap_pct", accuracy=100 * pl.col("accuracy"))


def gap_accuracy_worlds(tables: Tables, context: Context) -> Figure:
    """The same in every model with planted shares, below each its control with equal ones, all on the same axes."""
    ours = worlds(tables["comparison/planted_truth_points"], context.confidence)
    planted, equal = ([one for one in ours if one.planted is kind] for kind in (True, False))
    pairs = min(MOST_PAIRS, max(len(planted), len(equal)))
    if pairs < 2:
        figure, axes = canvas(1, 2, height=4.3, sharex=True, sharey=True)
        panels = axes[0]
    else:
        figure, axes = canvas(2, pairs, height=6.6, sharex=True, sharey=True)
        panels = list(axes.flat)
    if not ours:
        panels[0].text(0.5, 0.5, "no gap and accuracy in both worlds", transform=panels[0].transAxes, ha="center")
        panels[1].set_visible(False)
    drawn: list[tuple[Axes, pl.DataFrame]] = []
    for panel, world in zip(panels, [*planted[:pairs], *equal[:pairs]], strict=False):
        r = world.correlation
        row = {"r": r.r, "r_low": r.low, "r_high": r.high, "n": world.points.height}
        longest = 34 if pairs < 2 else 26
        title = context.title(world.model)
        title = title if len(title) <= longest else f"{title[: longest - 1]}…"
        inside = within_scripts(world.points, "gap", "accuracy")
        short = _inside(inside) if pairs < 2 else f"within scripts {number(inside.r, 2)}"
        headed(panel, "", f"{strength(row, 'r')}\n{short}")
        panel.set_title(
            f"{title} ({'planted' if world.planted else 'nothing planted'})" if pairs < 2 else title, pad=30
        )
        _points(panel, world.points, context)
        drawn.append((panel, world.points))
    return _finished(figure, drawn, context)


def _inside(within: Within, columns: int = 1) -> str:
    """r within scripts, in two lines where three or more panels stand side by side."""
    part = " " if columns < 3 else "\n"
    if within.r is None:
        return f"within scripts: no r{part}({within.languages} languages in scripts of two or more)"
    return f"within scripts r = {number(within.r, 2)}{part}({within.languages} languages in {within.scripts} scripts)"


def _points(panel: Axes, rows: pl.DataFrame, context: Context) -> None:
    rows = rows.drop_nulls(["gap", "accuracy"])
    x, y = rows["gap"].to_numpy(), rows["accuracy"].to_numpy()
    trend(panel, x, y)
    looks = script_looks(rows["lang"], context)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6, "markersize": 7.5}
    for code, gap, value in zip(rows["lang"], x, y, strict=True):
        look = {"marker": looks[code].marker, "color": looks[code].colour}
        spot(panel, gap, value, zorder=3, **look, **edge)


def _finished(figure: Figure, panels: list[tuple[Axes, pl.DataFrame]], context: Context) -> Figure:
    """Axes, the legend of the scripts, and the names of the points."""
    for panel, _ in panels:
        percent_axis(panel, "x", _AXIS)
        panel.locator_params(axis="x", nbins=5)
        percent_axis(panel, label="accuracy (%)")
        panel.margins(0.14)
        panel.label_outer()
    if not panels:
        figure.axes[0].set_xlabel(_AXIS)
    codes = {code for _, rows in panels for code in rows["lang"]}
    if codes:
        script_legend(figure, script_looks(codes, context))
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for panel, rows in panels:
        rows = rows.drop_nulls(["gap", "accuracy"])
        if rows.height <= MOST_NAMED and np.isfinite(rows["gap"].to_numpy()).all():
            label_points(figure, panel, rows["gap"], rows["accuracy"], rows["lang"])
    return figure
