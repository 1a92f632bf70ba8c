"""Figures of the benchmarks (paper A, sec. 2.3): Figs 2, 6 and 9 to 11, Tables 2 to 4 and 9."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import (
    accuracy_axis,
    dashed_line,
    divide,
    language_rows,
    percent_axis,
    row_axis,
    shape_legend,
    task_panels,
    zero_line,
)
from isogloss.report.figures.labels import label_points
from isogloss.report.figures.marks import bars, spot, strength, trend, whiskers
from isogloss.report.figures.style import FAINT, INK, canvas, colour, language_look, marker
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.teaching import Transfer, transfers
from isogloss.report.shared.wording import TASK_TITLES, named


def tasks_in_order(frame: pl.DataFrame, context: Context) -> list[str]:
    """The tasks of a table in the order of the configuration."""
    return [task for task in context.settings["benchmarks"]["tasks"] if task in set(frame["task"])]


def accuracy(tables: Tables, context: Context) -> Figure:
    """Accuracy of the base model by task and language with intervals and chance (Fig. 2, Tables 2 to 4)."""
    frame = tables["accuracy"].filter(adapter="base")
    tasks = tasks_in_order(frame, context)
    codes = context.by_group(frame["lang"])
    figure, panels = task_panels(frame, tasks, height=1.3 + 0.34 * len(codes), sharex=True)
    for panel, rows in panels:
        position = language_rows(panel, codes, context, labelled=panel is figure.axes[0])
        for row in rows.iter_rows(named=True):
            bars(panel, position[row["lang"]], row, "accuracy", "ci", 100, **language_look(row["lang"], context))
        _against_chance(panel, rows)
    shape_legend(figure, {"chance": ("--", True)})
    return figure


def accuracy_change(tables: Tables, context: Context) -> Figure:
    """Accuracy of each adapter minus the base model's, paired by question (Fig. 6, Table 9)."""
    frame = tables["accuracy"].filter(pl.col("adapter") != "base")
    tasks = tasks_in_order(frame, context)
    compared = [(run, code) for run in context.runs for code in context.by_group(frame.filter(adapter=run)["lang"])]
    figure, panels = task_panels(frame, tasks, height=1.4 + 0.32 * len(compared), sharex=True)
    for panel, rows in panels:
        row_axis(panel, [f"{run}  {named(code)}" for run, code in compared])
        if panel is not figure.axes[0]:
            panel.set_yticklabels([])
        for row in rows.iter_rows(named=True):
            at = compared.index((row["adapter"], row["lang"]))
            bars(panel, at, row, "difference", "difference_ci", 100, **language_look(row["lang"], context))
        for at in range(1, len(compared)):
            if compared[at][0] != compared[at - 1][0]:
                divide(panel, at)
        zero_line(panel, "x")
        panel.locator_params(axis="x", nbins=5)
    figure.supxlabel("accuracy of the adapter minus the base model (percentage points)", fontsize="medium", color=INK)
    return figure


_TAUGHT = {
    "all": ("taught in every language", "o"),
    "reference": ("in the reference only", "s"),
    "none": ("in no language (grey)", "X"),
}


def accuracy_by_teaching(tables: Tables, context: Context) -> Figure:
    """Accuracy of the base model by where a fact was taught; below, what transferred: reference only minus untaught."""
    frame = tables["accuracy_by_teaching"].filter(adapter="base")
    tasks = tasks_in_order(frame, context)
    codes = context.by_group(frame["lang"])
    pooled = {transfer.task: transfer for transfer in transfers(frame, context.reference, context.confidence)}
    above = 1.3 + 0.46 * len(codes)
    if pooled:
        figure, axes = canvas(2, len(tasks), height=above + 1.3, height_ratios=[above, 1.0], sharex="row")
    else:
        figure, axes = canvas(1, len(tasks), height=above, sharex=True)
    taught = [one for one in _TAUGHT if one in set(frame["taught"])]
    for panel, task in zip(axes[0], tasks, strict=True):
        panel.set_title(TASK_TITLES[task])
        rows = frame.filter(task=task)
        _by_teaching(panel, rows, language_rows(panel, codes, context, labelled=panel is axes[0, 0]), taught, context)
        _against_chance(panel, rows)
    for panel, task in zip(axes[1] if pooled else [], tasks, strict=False):
        panel.set_yticks([0], ["other languages,\npooled"] if panel is axes[1, 0] else [""])
        _transferred(panel, pooled.get(task))
    shapes = {_TAUGHT[one][0]: (_TAUGHT[one][1], one != "reference") for one in taught}
    shape_legend(figure, {**shapes, "chance": ("--", True)})
    return figure


def _by_teaching(
    panel: Axes, rows: pl.DataFrame, position: Mapping[str, int], taught: Sequence[str], context: Context
) -> None:
    for row in rows.iter_rows(named=True):
        shift = (taught.index(row["taught"]) - (len(taught) - 1) / 2) * 0.23
        paint = FAINT if row["taught"] == "none" else colour(row["lang"], context)
        look: dict[str, Any] = {"colour": paint, "marker": _TAUGHT[row["taught"]][1]}
        if row["taught"] == "reference":
            look |= {"markerfacecolor": "white", "markeredgecolor": paint, "markeredgewidth": 1.2}
        bars(panel, position[row["lang"]] + shift, row, "accuracy", "ci", 100, **look)


def _transferred(panel: Axes, transfer: Transfer | None) -> None:
    panel.grid(axis="y", visible=False)
    if transfer:
        difference, low, high = (100 * one for one in (transfer.difference, transfer.low, transfer.high))
        whiskers(panel, 0, difference, low, high, colour=INK, marker="D", horizontal=True)
    zero_line(panel, "x")
    panel.set_ylim(-0.6, 0.6)
    panel.locator_params(axis="x", nbins=5)
    panel.set_xlabel("reference only −\nuntaught (points)")


def chance_line(panel: Axes, rows: pl.DataFrame) -> None:
    """Mark the accuracy of guessing at random: the rows' mean of 1 / choices."""
    dashed_line(panel, 100 * float(np.average(rows["chance"], weights=rows["n"])), "x")


def _against_chance(panel: Axes, rows: pl.DataFrame) -> None:
    accuracy_axis(panel)
    panel.set_xlabel("accuracy (%)")
    chance_line(panel, rows)


def gap_accuracy_correlation(tables: Tables, context: Context) -> Figure:
    """Mean gap of each language against its accuracy, a panel a task, with Pearson's r (Figs 9 to 11)."""
    correlation = tables["gap_accuracy_correlation"]
    tasks = tasks_in_order(correlation, context)
    figure, panels = task_panels(tables["gap_accuracy"], tasks, height=4.4, sharex=True, sharey=True)
    for (panel, rows), task in zip(panels, tasks, strict=True):
        note = strength(correlation.filter(task=task).row(0, named=True), "ci")
        panel.set_title(TASK_TITLES[task], pad=20)
        panel.text(0, 1.03, note, transform=panel.transAxes, fontsize=8.5)
        x, y = rows["mean_gap_pct"].to_numpy(), 100 * rows["accuracy"].to_numpy()
        trend(panel, x, y)
        edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
        for code, gap, value in zip(rows["lang"], x, y, strict=True):
            look = {"marker": marker(code, context), "color": colour(code, context)}
            spot(panel, gap, value, markersize=7, zorder=3, **look, **edge)
        percent_axis(panel, "x", "mean gap over layers (%)")
        panel.locator_params(axis="x", nbins=5)
        percent_axis(panel)
        panel.margins(0.14)
    figure.axes[0].set_ylabel("accuracy (%)")
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for panel, rows in panels:
        label_points(figure, panel, rows["mean_gap_pct"], 100 * rows["accuracy"], rows["lang"])
    return figure
