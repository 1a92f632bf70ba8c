"""Figures of the benchmarks (paper A, sec. 2.3): Figs 2, 6 and 9 to 11, Tables 2 to 4 and 9."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from isogloss.report.figures.style import (
    FAINT,
    INK,
    Context,
    by_group,
    canvas,
    colour,
    divide_groups,
    language_rows,
    marker,
    percent_axis,
    shape_legend,
    whiskers,
    zero_line,
)
from isogloss.report.teaching import transfers
from isogloss.report.wording import TASK_TITLES, named


def tasks_in_order(frame: pl.DataFrame, context: Context) -> list[str]:
    """The tasks of a table in the order of the configuration."""
    return [task for task in context.settings["benchmarks"]["tasks"] if task in set(frame["task"])]


def accuracy(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Accuracy of the base model by task and language with intervals and chance (Fig. 2, Tables 2 to 4)."""
    frame = tables["accuracy"].filter(pl.col("adapter") == "base")
    tasks = tasks_in_order(frame, context)
    codes = by_group(frame["lang"], context)
    figure, axes = canvas(1, len(tasks), height=1.3 + 0.34 * len(codes), sharex=True)
    for panel, task in zip(axes[0], tasks, strict=True):
        panel.set_title(TASK_TITLES[task])
        place = language_rows(panel, codes)
        for row in frame.filter(pl.col("task") == task).iter_rows(named=True):
            whiskers(
                panel,
                [place[row["lang"]]],
                [100 * row["accuracy"]],
                [100 * row["ci_low"]],
                [100 * row["ci_high"]],
                colour=colour(row["lang"]),
                marker=marker(row["lang"]),
                horizontal=True,
            )
        _finish(panel, codes, context)
        chance_line(panel, frame.filter(pl.col("task") == task))
        if panel is not axes[0, 0]:
            panel.set_yticklabels([])
    shape_legend(figure, {"chance": ("--", True)})
    return figure


def accuracy_change(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Accuracy of each adapter minus the base model's, paired by question (Fig. 6, Table 9)."""
    frame = tables["accuracy"].filter(pl.col("adapter") != "base")
    tasks = tasks_in_order(frame, context)
    rows = [
        (run, code)
        for run in context.runs
        for code in by_group(frame.filter(pl.col("adapter") == run)["lang"], context)
    ]
    figure, axes = canvas(1, len(tasks), height=1.4 + 0.32 * len(rows), sharex=True)
    for panel, task in zip(axes[0], tasks, strict=True):
        panel.set_title(TASK_TITLES[task])
        panel.set_yticks(range(len(rows)), [f"{run}  {named(code)}" for run, code in rows])
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
        for row in frame.filter(pl.col("task") == task).iter_rows(named=True):
            whiskers(
                panel,
                [rows.index((row["adapter"], row["lang"]))],
                [100 * row["difference"]],
                [100 * row["difference_ci_low"]],
                [100 * row["difference_ci_high"]],
                colour=colour(row["lang"]),
                marker=marker(row["lang"]),
                horizontal=True,
            )
        for boundary in range(1, len(rows)):
            if rows[boundary][0] != rows[boundary - 1][0]:
                panel.axhline(boundary - 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        zero_line(panel, "x")
        panel.locator_params(axis="x", nbins=5)
        if panel is not axes[0, 0]:
            panel.set_yticklabels([])
    figure.supxlabel("accuracy of the adapter minus the base model (percentage points)", fontsize="medium", color=INK)
    return figure


def accuracy_by_teaching(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Accuracy of the base model by where a fact was taught; below, what transferred: reference only minus untaught."""
    frame = tables["accuracy_by_teaching"].filter(pl.col("adapter") == "base")
    tasks = tasks_in_order(frame, context)
    codes = by_group(frame["lang"], context)
    found = {its.task: its for its in transfers(frame, context.reference, context.confidence)}
    above = 1.3 + 0.46 * len(codes)
    if found:
        figure, axes = canvas(2, len(tasks), height=above + 1.3, height_ratios=[above, 1.0], sharex="row")
    else:
        figure, axes = canvas(1, len(tasks), height=above, sharex=True)
    classes = set(frame["taught"])
    looks = {
        taught: (label, shape, (i - (len(classes) - 1) / 2) * 0.23)
        for i, (taught, label, shape) in enumerate(one for one in _CLASSES if one[0] in classes)
    }
    for panel, task in zip(axes[0], tasks, strict=True):
        panel.set_title(TASK_TITLES[task])
        place = language_rows(panel, codes)
        rows = frame.filter(pl.col("task") == task)
        for row in rows.iter_rows(named=True):
            _, shape, shift = looks[row["taught"]]
            paint = FAINT if row["taught"] == "none" else colour(row["lang"])
            hollow = {"markerfacecolor": "white", "markeredgecolor": paint, "markeredgewidth": 1.2}
            whiskers(
                panel,
                [place[row["lang"]] + shift],
                [100 * row["accuracy"]],
                [100 * row["ci_low"]],
                [100 * row["ci_high"]],
                colour=paint,
                marker=shape,
                horizontal=True,
                **(hollow if row["taught"] == "reference" else {}),
            )
        _finish(panel, codes, context)
        chance_line(panel, rows)
        if panel is not axes[0, 0]:
            panel.set_yticklabels([])
    for panel, task in zip(axes[1] if found else [], tasks, strict=False):
        panel.set_yticks([0], ["other languages,\npooled"] if panel is axes[1, 0] else [""])
        panel.grid(axis="y", visible=False)
        if task in found:
            its = found[task]
            bounds = ([100 * its.low], [100 * its.high])
            whiskers(panel, [0], [100 * its.difference], *bounds, colour=INK, marker="D", horizontal=True)
        zero_line(panel, "x")
        panel.set_ylim(-0.6, 0.6)
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel("reference only −\nuntaught (points)")
    shapes = {label: (shape, taught != "reference") for taught, (label, shape, _) in looks.items()}
    shape_legend(figure, {**shapes, "chance": ("--", True)})
    return figure


_CLASSES = (
    ("all", "taught in every language", "o"),
    ("reference", "in the reference only", "s"),
    ("none", "in no language (grey)", "X"),
)


def chance_line(panel: Axes, rows: pl.DataFrame) -> None:
    """Mark the accuracy of guessing at random: the rows' mean of 1 / choices."""
    chance = float(np.average(rows["chance"], weights=rows["n"]))
    panel.axvline(100 * chance, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)


def gap_accuracy_correlation(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Mean gap of each language against its accuracy, a panel a task, with Pearson's r (Figs 9 to 11)."""
    correlation = tables["gap_accuracy_correlation"]
    tasks = tasks_in_order(correlation, context)
    points = tables["gap_accuracy"]
    figure, axes = canvas(1, len(tasks), height=4.4, sharex=True, sharey=True)
    for panel, task in zip(axes[0], tasks, strict=True):
        rows = points.filter(pl.col("task") == task)
        found = correlation.filter(pl.col("task") == task).row(0, named=True)
        panel.set_title(TASK_TITLES[task], pad=20)
        panel.text(0, 1.03, _strength(found), transform=panel.transAxes, fontsize=8.5)
        x, y = rows["mean_gap_pct"].to_numpy(), 100 * rows["accuracy"].to_numpy()
        if len(x) > 1 and np.ptp(x) > 0:
            slope, level = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            panel.plot(ends, slope * ends + level, color=FAINT, linewidth=1.2, zorder=1)
        for code, gap, value in zip(rows["lang"], x, y, strict=True):
            panel.plot(
                gap,
                value,
                marker=marker(code),
                color=colour(code),
                linestyle="none",
                markersize=7,
                markeredgecolor="white",
                markeredgewidth=0.6,
                zorder=3,
            )
        percent_axis(panel, "x")
        panel.locator_params(axis="x", nbins=5)
        percent_axis(panel)
        panel.margins(0.14)
        panel.set_xlabel("mean gap over layers (%)")
    axes[0, 0].set_ylabel("accuracy (%)")
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for panel, task in zip(axes[0], tasks, strict=True):
        rows = points.filter(pl.col("task") == task)
        label_points(
            figure, panel, rows["mean_gap_pct"].to_list(), (100 * rows["accuracy"]).to_list(), rows["lang"].to_list()
        )
    return figure


def _strength(found: Mapping[str, Any]) -> str:
    if found["r"] is None:  # fewer than three languages, or all alike
        return f"no r from n = {found['n']}"
    interval = "" if found["ci_low"] is None else f" [{found['ci_low']:.2f}, {found['ci_high']:.2f}]"
    return f"r = {found['r']:.2f}{interval}, n = {found['n']}".replace("-", "−")


def label_points(figure: Figure, axes: Axes, x: list[float], y: list[float], labels: list[str]) -> None:
    """Write each label beside its point at the nearest of several places that is free of points and labels."""
    spots = axes.transData.transform(np.column_stack([x, y])) if x else np.empty((0, 2))
    scale = figure.dpi / 72
    half = np.array([8.0, 6.0]) * scale  # half the size of a two-letter label
    turns = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    taken = [(spot, np.array([5.0, 5.0]) * scale) for spot in spots]
    for i, label in enumerate(labels):
        others = [box for j, box in enumerate(taken) if j != i]
        tries = [
            spots[i] + np.array(turn) * np.array([12.5, 11.0]) * reach * scale
            for reach in (1, 1.6, 2.3)
            for turn in turns
        ]
        free = [
            spot
            for spot in tries
            if all(np.any(np.abs(spot - centre) > half + size) for centre, size in others)
            and np.all(axes.bbox.min + half < spot)
            and np.all(spot < axes.bbox.max - half)
        ]
        spot = free[0] if free else tries[0]
        taken.append((spot, half))
        offset = (spot - spots[i]) / scale
        far = np.hypot(*offset) > 18
        axes.annotate(
            label,
            (x[i], y[i]),
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7} if far else None,
        )


def _finish(panel: Axes, codes: list[str], context: Context) -> None:
    divide_groups(panel, codes, context)
    percent_axis(panel, "x")
    panel.set_xlim(0, 104)
    panel.set_xticks([0, 25, 50, 75, 100])
    panel.set_xlabel("accuracy (%)")
