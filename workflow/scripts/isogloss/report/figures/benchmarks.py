"""Figures of the benchmarks (paper A, sec. 2.3): Figs 2 and 6, Tables 2 to 4 and 9."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import (
    accuracy_axis,
    dashed_line,
    divide,
    language_rows,
    row_axis,
    shape_legend,
    task_panels,
    zero_line,
)
from isogloss.report.figures.marks import bars
from isogloss.report.figures.style import INK, language_look
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import named


def tasks_in_order(frame: pl.DataFrame, context: Context) -> list[str]:
    """The tasks of a table in the order of the configuration."""
    return [task for task in context.settings["benchmarks"]["tasks"] if task in set(frame["task"])]


def accuracy(tables: Tables, context: Context) -> Figure:
    """Accuracy of the base model by task and language with intervals and chance (Fig. 2, Tables 2 to 4)."""
    frame = tables["accuracy"].filter(adapter="base")
    tasks = tasks_in_order(frame, context)
    codes = context.by_group(frame["lang"])
    figure, panels = task_panels(frame, context, tasks, height=1.3 + 0.34 * len(codes), sharex=True)
    for panel, rows in panels:
        position = language_rows(panel, codes, context, labelled=panel is figure.axes[0])
        for row in rows.iter_rows(named=True):
            bars(panel, position[row["lang"]], row, "accuracy", "ci", 100, **language_look(row["lang"], context))
        against_chance(panel, rows)
    shape_legend(figure, {"chance": ("--", True)})
    return figure


def accuracy_change(tables: Tables, context: Context) -> Figure:
    """Accuracy of each adapter minus the base model's, paired by question (Fig. 6, Table 9)."""
    frame = tables["accuracy"].filter(pl.col("adapter") != "base")
    tasks = tasks_in_order(frame, context)
    compared = [(run, code) for run in context.runs for code in context.by_group(frame.filter(adapter=run)["lang"])]
    figure, panels = task_panels(frame, context, tasks, height=1.4 + 0.32 * len(compared), sharex=True)
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


def chance_line(panel: Axes, rows: pl.DataFrame) -> None:
    """Mark the accuracy of guessing at random: the rows' mean of 1 / choices."""
    dashed_line(panel, 100 * float(np.average(rows["chance"], weights=rows["n"])), "x")


def against_chance(panel: Axes, rows: pl.DataFrame) -> None:
    """Make the x axis one of accuracies, the accuracy of guessing marked."""
    accuracy_axis(panel)
    panel.set_xlabel("accuracy (%)")
    chance_line(panel, rows)
