"""Figures of gap against accuracy (paper A, Figs 9 to 11): in a model, and where shares were planted and equal."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import headed, percent_axis, task_panels
from isogloss.report.figures.benchmarks import tasks_in_order
from isogloss.report.figures.labels import label_points
from isogloss.report.figures.marks import spot, strength, trend
from isogloss.report.figures.scripts import script_legend, script_looks
from isogloss.report.figures.style import canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.within import Within, within_scripts, worlds
from isogloss.report.shared.wording import TASK_TITLES, number

MOST_NAMED = 40
"""Up to so many languages, the points are named."""

_AXIS = "mean gap over layers (%)"


def gap_accuracy_correlation(tables: Tables, context: Context) -> Figure:
    """Mean gap of each language against its accuracy, a panel a task, with Pearson's r overall and within scripts."""
    correlation = tables["gap_accuracy_correlation"]
    tasks = tasks_in_order(correlation, context)
    figure, panels = task_panels(tables["gap_accuracy"], tasks, height=4.4, sharex=True, sharey=True)
    for (panel, rows), task in zip(panels, tasks, strict=True):
        note = strength(correlation.filter(task=task).row(0, named=True), "ci")
        inside = within_scripts(rows, "mean_gap_pct", "accuracy")
        headed(panel, TASK_TITLES[task], f"{note}\n{_inside(inside)}")
        panel.set_title(TASK_TITLES[task], pad=30)
        _points(panel, rows.select("lang", gap="mean_gap_pct", accuracy=100 * pl.col("accuracy")), context)
    return _finished(figure, [(panel, _named(rows)) for panel, rows in panels], context)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("lang", gap="mean_gap_pct", accuracy=100 * pl.col("accuracy"))


def gap_accuracy_worlds(tables: Tables, context: Context) -> Figure:
    """The same where shares were planted and where all are equal, on the same axes; accuracy is the mean over tasks.

    Of several seeds, the languages' means, each seed as a small mark.
    """
    ours = worlds(tables["comparison/planted_truth_points"], context.confidence)
    figure, axes = canvas(1, 2, height=4.3, sharex=True, sharey=True)
    if not ours:
        axes[0, 0].text(0.5, 0.5, "no gap and accuracy in both worlds", transform=axes[0, 0].transAxes, ha="center")
        axes[0, 1].set_visible(False)
    drawn: list[tuple[Axes, pl.DataFrame]] = []
    for panel, world in zip(axes[0], ours, strict=False):
        r = world.correlation
        row = {"r": r.r, "r_low": r.low, "r_high": r.high, "n": world.means.height}
        title = context.title(world.models[0]) if len(world.models) == 1 else f"{len(world.models)} seeds"
        title = title if len(title) <= 30 else f"{title[:29]}…"
        inside = _inside(within_scripts(world.means, "gap", "accuracy"))
        headed(panel, "", f"{strength(row, 'r')}\n{inside}")
        panel.set_title(f"{title} ({'planted' if world.planted else 'nothing planted'})", pad=30)
        if len(world.models) > 1:
            _points(panel, world.points, context, small=True)
        _points(panel, world.means, context)
        drawn.append((panel, world.means))
    return _finished(figure, drawn, context)


def _inside(within: Within) -> str:
    if within.r is None:
        return f"within scripts: no r ({within.languages} languages in scripts of two or more)"
    return f"within scripts r = {number(within.r, 2)} ({within.languages} languages in {within.scripts} scripts)"


def _points(panel: Axes, rows: pl.DataFrame, context: Context, *, small: bool = False) -> None:
    rows = rows.drop_nulls(["gap", "accuracy"])
    x, y = rows["gap"].to_numpy(), rows["accuracy"].to_numpy()
    if not small:
        trend(panel, x, y)
    looks = script_looks(rows["lang"], context)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6, "markersize": 3.5 if small else 7.5}
    for code, gap, value in zip(rows["lang"], x, y, strict=True):
        look = {"marker": looks[code].marker, "color": looks[code].colour}
        spot(panel, gap, value, zorder=2 if small else 3, alpha=0.6 if small else 1, **look, **edge)


def _finished(figure: Figure, panels: list[tuple[Axes, pl.DataFrame]], context: Context) -> Figure:
    """Axes, the legend of the scripts, and the names of the points."""
    for panel, _ in panels:
        percent_axis(panel, "x", _AXIS)
        panel.locator_params(axis="x", nbins=5)
        percent_axis(panel)
        panel.margins(0.14)
    figure.axes[0].set_ylabel("accuracy (%)")
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
