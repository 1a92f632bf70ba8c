"""Marks of the figures: lines and points with their intervals, spans and trends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from isogloss.report.figures.looks import MOST_OWN
from isogloss.report.figures.scripts import script_looks
from isogloss.report.figures.style import FAINT, INK, colour, language_line
from isogloss.report.shared.context import Context

_SIZES = {
    "*": 1.6,
    "d": 1.25,
    "<": 1.25,
    ">": 1.25,
    "^": 1.15,
    "v": 1.15,
    "X": 1.15,
    "P": 1.2,
    "p": 1.2,
    "h": 1.15,
    "H": 1.15,
}  # shapes that look small, by how much to enlarge them
Rows = pl.DataFrame | Mapping[str, Any]
"""A table, or one of its rows."""


def estimates(rows: Rows, column: str, interval: str = "", factor: float = 1) -> tuple[np.ndarray, ...]:
    """A column of a table or of one row with its interval, `factor` times as large; NaN where it is not defined.

    The interval is in the columns {interval}_low and {interval}_high, those of the column's own name by default.
    """
    names = (column, f"{interval or column}_low", f"{interval or column}_high")
    return tuple(factor * np.asarray(rows[name], float) for name in names)


def curve(
    axes: Axes, x: Any, y: Any, low: Any = None, high: Any = None, *, colour: str, marker: str, dash: Any, label: str
) -> Line2D:
    """A line with its interval as a band, and as bars too where the points are few enough to tell apart."""
    edge = {"markersize": 6.5 * _SIZES.get(marker, 1), "markeredgecolor": "white", "markeredgewidth": 0.5}
    look = {"color": colour, "marker": marker, "linestyle": dash, "label": label, **edge}
    (line,) = axes.plot(x, y, markevery=max(1, len(x) // 9), zorder=3, **look)
    if low is not None:
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0, label=f"interval {label}", zorder=2)
    return line


def whiskers(
    axes: Axes, x: Any, y: Any, low: Any, high: Any, *, colour: str, marker: str, horizontal: bool = False, **look: Any
) -> None:
    """Points with their intervals (given as bounds, not as lengths) as bars along y, or along x if horizontal."""
    # None becomes NaN: nothing is drawn.
    at, value, low, high = (np.atleast_1d(np.asarray(values, float)) for values in (x, y, low, high))
    # A bound may pass the estimate by rounding; matplotlib refuses negative lengths.
    lengths = np.clip([value - low, high - value], 0, None)
    points = {"x": value, "y": at, "xerr": lengths} if horizontal else {"x": at, "y": value, "yerr": lengths}
    edge = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.5}
    look = {**edge, "elinewidth": 1.4, "capsize": 2.5, **look}
    look["markersize"] *= _SIZES.get(marker, 1)
    axes.errorbar(**points, fmt=marker, color=colour, ecolor=colour, zorder=3, **look)


def bars(axes: Axes, at: Any, rows: Rows, column: str, interval: str = "", factor: float = 1, **look: Any) -> None:
    """`whiskers` along x, in the rows `at`, of a column's `estimates`."""
    whiskers(axes, at, *estimates(rows, column, interval, factor), horizontal=True, **look)


def lines_by_group(
    panels: Iterable[Axes], frame: pl.DataFrame, column: str, context: Context, dotted: str = "", interval: str = "ci"
) -> None:
    """A panel a group of languages, a line a language over layers; beside each, another column dotted.

    More languages than have looks of their own are thin lines in the colours of their scripts, without intervals.
    """
    panels = list(panels)
    present = set(frame["lang"])
    scripts = script_looks(present, context) if len(present) > MOST_OWN else {}
    for panel in panels[len(context.groups) :]:
        panel.set_visible(False)
    for panel, (group, members) in zip(panels, context.groups.items(), strict=False):
        panel.set_title(group)
        for code in context.by_group(set(members) & set(frame["lang"])):
            rows = frame.filter(lang=code)
            if scripts:
                look = {"color": scripts[code].colour, "label": scripts[code].label, "linewidth": 0.7, "alpha": 0.8}
                panel.plot(rows["layer"], rows[column], **look)
                continue
            curve(panel, rows["layer"], *estimates(rows, column, interval), **language_line(code, context))
            if dotted:
                panel.plot(rows["layer"], rows[dotted], color=colour(code, context), linestyle=":", zorder=2)
        if dotted and scripts:
            means = frame.filter(pl.col("lang").is_in(list(members))).group_by("layer").agg(pl.col(dotted).mean())
            panel.plot(*means.sort("layer").get_columns(), color=INK, linestyle=":", zorder=4)


def spot(axes: Axes, x: Any, y: Any, **look: Any) -> None:
    """A point without an interval, or several; nothing where a single one is not defined (None)."""
    if x is not None and y is not None:
        axes.plot(x, y, **{"linestyle": "none", "markersize": 6} | look)


def span(axes: Axes, ends: tuple[float | None, float | None], y: float, colour: str) -> None:
    """A thin line between two values of a row; nothing where one is not defined."""
    start, end = ends
    if start is not None and end is not None:
        axes.plot([start, end], [y, y], color=colour, linewidth=1.2, zorder=2)


def square(pairs: Iterable[tuple[str, str, float | None]], codes: Sequence[str]) -> np.ndarray:
    """The values of pairs of languages as a matrix whose rows and columns are `codes`; NaN where one is missing."""
    position = {code: at for at, code in enumerate(codes)}
    matrix = np.full((len(codes), len(codes)), np.nan)
    for a, b, value in pairs:
        matrix[position[a], position[b]] = value
    return matrix


FEWEST_FOR_LINE = 6
"""Points from which on a line is drawn through them: through fewer, it says more than they do."""


def trend(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """The least-squares line through points; nothing through fewer than six, or without spread along x."""
    if len(x) >= FEWEST_FOR_LINE and np.ptp(x) > 0:
        slope, level = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, slope * ends + level, color=FAINT, linewidth=1.2, zorder=1)


def strength(row: Mapping[str, Any], interval: str, stars: str = "") -> str:
    """Pearson's r of a row with its interval in {interval}_low and {interval}_high, as a note of a panel."""
    if row["r"] is None:  # fewer than three languages, or all alike
        return f"no r from n = {row['n']}"
    low, high = row[f"{interval}_low"], row[f"{interval}_high"]
    bounds = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    return f"r = {row['r']:.2f}{stars}{bounds}, n = {row['n']}".replace("-", "−")
