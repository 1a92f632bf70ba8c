"""Figure of the toy world's facts by where they were taught: what reaches languages that were not taught them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.report.figures.axes import divide, legend, row_axis, task_heading, zero_line
from isogloss.report.figures.benchmarks import against_chance, tasks_in_order
from isogloss.report.figures.looks import MOST_OWN, point_looks
from isogloss.report.figures.marks import bars, spot, whiskers
from isogloss.report.figures.scripts import script_legend, script_looks
from isogloss.report.figures.style import DASHED, INK, canvas, colour, language_look, marker
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.teaching import Transfer, pooled, transfers
from isogloss.report.shared.wording import name, named

_POOLED: dict[str, Any] = {"colour": INK, "marker": "D"}


def accuracy_by_teaching(tables: Tables, context: Context) -> Figure:
    """Accuracy by where a fact was taught: the reference, all other languages pooled, and each as a small mark.

    Below, what transferred: facts taught in the reference only minus untaught ones.
    """
    frame = tables["accuracy_by_teaching"].filter(adapter="base")
    tasks = tasks_in_order(frame, context)
    rows_of = {
        "all": "taught in\nevery language", "reference": f"taught in\n{name(context.reference)} only",
        "none": "taught in\nno language",
    }  # fmt: skip
    taught = [one for one in rows_of if one in set(frame["taught"])]
    gained = {transfer.task: transfer for transfer in transfers(frame, context.reference, context.confidence)}
    above, columns = 0.9 + 0.75 * max(1, len(taught)), max(1, len(tasks))
    if gained:
        figure, axes = canvas(2, columns, height=above + 1.6, height_ratios=[above, 0.9], sharex="row")
    else:
        figure, axes = canvas(1, columns, height=above + 0.5, sharex=True)
    for panel, task in zip(axes[0], tasks, strict=False):
        panel.set_title(task_heading(task, context, len(tasks)))
        rows = frame.filter(task=task)
        row_axis(panel, [rows_of[one] for one in taught] if panel is axes[0, 0] else [""] * len(taught))
        _by_teaching(panel, rows, taught, context)
        against_chance(panel, rows)
    for panel, task in zip(axes[1] if gained else [], tasks, strict=False):
        panel.set_yticks([0], ["other languages,\npooled"] if panel is axes[1, 0] else [""])
        _transferred(panel, gained.get(task), name(context.reference))
    _legend(figure, frame, context)
    return figure


def _by_teaching(panel: Axes, frame: pl.DataFrame, taught: Sequence[str], context: Context) -> None:
    looks = point_looks(frame["lang"], context)
    others = {one.taught: one for one in pooled(frame, context.reference, context.confidence)}
    for at, one in enumerate(taught):
        if at:
            divide(panel, at)
        rows = frame.filter(taught=one)
        for row in rows.filter(lang=context.reference).iter_rows(named=True):
            bars(panel, at - 0.22, row, "accuracy", "ci", 100, **language_look(context.reference, context))
        if one in others:
            mean = others[one]
            values = (100 * mean.accuracy, 100 * mean.low, 100 * mean.high)
            whiskers(panel, at, *values, horizontal=True, **_POOLED)
            note = f"n = {mean.questions} × {mean.languages}"
            panel.text(1.5, at - 0.36, note, fontsize=7, va="center", color="#555555")
        for row in rows.filter(pl.col("lang") != context.reference).iter_rows(named=True):
            small: Mapping[str, Any] = {"markersize": 4.5, "alpha": 0.85, "markeredgewidth": 0.3}
            look = {"marker": looks[row["lang"]].marker, "color": looks[row["lang"]].colour}
            spot(panel, 100 * row["accuracy"], at + 0.24, markeredgecolor="white", zorder=2, **look, **small)


def _transferred(panel: Axes, transfer: Transfer | None, reference: str) -> None:
    panel.grid(axis="y", visible=False)
    if transfer:
        difference, low, high = (100 * one for one in (transfer.difference, transfer.low, transfer.high))
        whiskers(panel, 0, difference, low, high, horizontal=True, **_POOLED)
    zero_line(panel, "x")
    panel.set_ylim(-0.6, 0.6)
    panel.locator_params(axis="x", nbins=5)
    panel.set_xlabel(f"transfer: {reference} only −\nuntaught (points)")


def _legend(figure: Figure, frame: pl.DataFrame, context: Context) -> None:
    reference, codes = context.reference, context.by_group(frame["lang"])
    if len(codes) > MOST_OWN:
        script_legend(
            figure,
            script_looks(codes, context),
            Line2D([], [], color=INK, marker="D", linestyle="none", label="all other languages, pooled"),
            Line2D([], [], color=INK, linestyle=DASHED, label="chance"),
        )
        return
    handles = [
        Line2D([], [], color=INK, marker="D", linestyle="none", label="all other languages, pooled"),
        *(
            Line2D([], [], color=colour(code, context), marker=marker(code, context), linestyle="none",
                   markersize=6.5 if code == reference else 4.5, label=named(code))
            for code in sorted(codes, key=lambda code: code != reference)
        ),
        Line2D([], [], color=INK, linestyle=DASHED, label="chance"),
    ]  # fmt: skip
    legend(figure, handles, [str(handle.get_label()) for handle in handles], 4)
