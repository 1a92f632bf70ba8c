"""A value of every language with its interval, sorted: rows that name each, or ranks where there are too many."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.report.figures.axes import dashed_line, headed, percent_axis, row_axis, task_heading, tasks_of
from isogloss.report.figures.labels import HALO
from isogloss.report.figures.looks import MOST_OWN, point_looks
from isogloss.report.figures.marks import bars, estimates, whiskers
from isogloss.report.figures.scripts import script_legend, script_looks
from isogloss.report.figures.style import DASHED, INK, Look, canvas
from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import listed, name, named

MOST_ROWS = 24
"""Up to so many languages, each has a row of its own."""

_NAMED_ENDS = 4


class Shown(NamedTuple):
    """What is drawn of a table with the columns task and lang, `factor` times as large as there."""

    value: str  # its interval is in the columns {value}_low and {value}_high
    label: str  # of the axis, with the unit
    factor: float = 100
    line: float | None = None  # a value to mark, in the unit of the axis
    lines: Mapping[str, float] = {}  # the same of each task
    line_label: str = ""
    notes: Mapping[str, str] = {}  # beneath the title of a task
    n: str = ""  # column of how many questions a value is of, in the labels of the rows


def ranking(frame: pl.DataFrame, shown: Shown, context: Context) -> Figure:
    """A panel a task, languages in falling order of the value, the reference in bold.

    Each row's language has its own look; of many languages, that of its script.
    """
    frame = frame.drop_nulls(shown.value)
    tasks = tasks_of(frame)
    parts = {task: frame.filter(task=task).sort(shown.value, descending=True) for task in tasks}
    own = frame["lang"].n_unique() <= MOST_OWN
    looks = point_looks(frame["lang"], context) if own else script_looks(frame["lang"], context)
    most = max((rows.height for rows in parts.values()), default=1)
    draw = _rows if most <= MOST_ROWS else _ranks
    if draw is _rows:
        columns = min(3, max(1, len(tasks)))
        figure, axes = canvas(1, columns, height=1.55 + 0.27 * max(4, most))
    else:
        figure, axes = canvas(max(1, len(tasks)), 1, height=0.9 + 2.7 * max(1, len(tasks)))
    for panel, task in zip(axes.flat, tasks, strict=False):
        draw(panel, parts[task], shown._replace(line=shown.lines.get(task, shown.line)), looks, context.reference)
        notes = [shown.notes[task]] if task in shown.notes else []
        if parts[task].height > 2 * MOST_ROWS:
            notes.append(_ends(parts[task]["lang"].to_list()))
        headed(panel, task_heading(task, context, len(tasks)), "; ".join(notes))
    more: list[Line2D] = []
    if shown.line_label:
        more.append(Line2D([], [], color=INK, linestyle=DASHED, linewidth=1.1, label=shown.line_label))
    if more or not own or draw is _ranks:  # rows are named
        script_legend(figure, {} if own and draw is _rows else looks, *more)
    return figure


def _ends(codes: list[str]) -> str:
    """The languages at the ends of a ranking, which has no room to name every one."""
    names = [name(code) for code in codes]
    return f"highest: {listed(names[:_NAMED_ENDS])}; lowest: {listed(names[: -_NAMED_ENDS - 1 : -1])}"


def _rows(panel: Axes, rows: pl.DataFrame, shown: Shown, looks: Mapping[str, Look], reference: str) -> None:
    codes = rows["lang"].to_list()
    for at, row in enumerate(rows.iter_rows(named=True)):
        look = looks[row["lang"]]
        bars(panel, at, row, shown.value, factor=shown.factor, colour=look.colour, marker=look.marker, markersize=7)
    counts = [f", n = {n:,}" for n in rows[shown.n]] if shown.n else [""] * len(codes)
    row_axis(panel, [f"{named(code)}{n}" for code, n in zip(codes, counts, strict=True)], fontsize=8)
    panel.set_ylim(max(4, len(codes)) - 0.5, -0.5)
    for label, code in zip(panel.get_yticklabels(), codes, strict=True):
        label.set_fontweight("bold" if code == reference else "normal")
    _axis(panel, shown, "x")


def _ranks(panel: Axes, rows: pl.DataFrame, shown: Shown, looks: Mapping[str, Look], reference: str) -> None:
    """Languages side by side by rank; named where they fit, else the ends are named above."""
    codes = rows["lang"].to_list()
    tight, ranks = len(codes) > 2 * MOST_ROWS, range(1, len(codes) + 1)
    dense = {"markersize": 4, "markeredgewidth": 0.3, "elinewidth": 0.9, "capsize": 0} if tight else {}
    for rank, row in zip(ranks, rows.iter_rows(named=True), strict=True):
        look = looks[row["lang"]]
        values = estimates(row, shown.value, factor=shown.factor)
        whiskers(panel, rank, *values, colour=look.colour, marker=look.marker, **dense)
    panel.set_xlim(0, len(codes) + 1)
    panel.grid(axis="x", visible=False)
    if not tight:
        panel.set_xticks(ranks, codes, fontsize=8)
        panel.set_xlabel("language, by rank")
    else:
        panel.set_xlabel(f"rank of {len(codes)} languages")
        panel.margins(y=0.14)
        if reference in codes:
            at = codes.index(reference)
            _, _, high = estimates(rows, shown.value, factor=shown.factor)
            line = {"arrowstyle": "-", "color": INK, "linewidth": 0.8}
            bold: dict[str, Any] = {"fontsize": 8, "fontweight": "bold", "path_effects": HALO, "arrowprops": line}
            point = (1 + at, high[at])
            panel.annotate(named(reference), point, xytext=(10, 4), textcoords="offset points", **bold)
    _axis(panel, shown, "y")


def _axis(panel: Axes, shown: Shown, which: Literal["x", "y"]) -> None:
    if shown.line is not None:
        dashed_line(panel, shown.line, which, linestyle=DASHED if shown.line_label else "-")
    if shown.label.endswith("(%)"):
        percent_axis(panel, which)
    panel.locator_params(axis=which, nbins=5)
    (panel.set_xlabel if which == "x" else panel.set_ylabel)(shown.label)
