"""Marks of the figures: lines and points with their intervals, spans and trends."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from isogloss.report.figures.style import FAINT

_SIZES = {"*": 1.6, "d": 1.25}  # shapes that look small, by how much to enlarge them


def estimates(
    rows: pl.DataFrame | Mapping[str, Any], column: str, interval: str = "", factor: float = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column of a table or of one row with its interval, `factor` times as large; NaN where it is not defined.

    The interval is in the columns {interval}_low and {interval}_high, those of the column's own name by default.
    """
    value, low, high = (
        factor * np.asarray(rows[name], float)
        for name in (column, f"{interval or column}_low", f"{interval or column}_high")
    )
    return value, low, high


def curve(
    axes: Axes, x: Any, y: Any, low: Any = None, high: Any = None, *, colour: str, marker: str, dash: Any, label: str
) -> Line2D:
    """A line with its interval as a band, and as bars too where the points are few enough to tell apart."""
    every = max(1, len(x) // 9)
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        marker=marker,
        markersize=6.5 * _SIZES.get(marker, 1),
        linestyle=dash,
        label=label,
        markevery=every,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=3,
    )
    if low is not None:
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0, label=f"interval {label}", zorder=2)
    return line


def whiskers(
    axes: Axes,
    x: Any,
    y: Any,
    low: Any,
    high: Any,
    *,
    colour: str,
    marker: str,
    horizontal: bool = False,
    **kwargs: Any,
) -> Any:
    """Points with their intervals (given as bounds, not as lengths) as bars along y, or along x if horizontal."""
    # None becomes NaN: nothing is drawn.
    at, value, low, high = (np.atleast_1d(np.asarray(values, float)) for values in (x, y, low, high))
    # A bound may pass the estimate by rounding; matplotlib refuses negative lengths.
    lengths = np.clip([value - low, high - value], 0, None)
    points = {"x": value, "y": at, "xerr": lengths} if horizontal else {"x": at, "y": value, "yerr": lengths}
    looks = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.5, "elinewidth": 1.4, "capsize": 2.5}
    kwargs = looks | kwargs
    kwargs["markersize"] *= _SIZES.get(marker, 1)
    return axes.errorbar(**points, fmt=marker, color=colour, ecolor=colour, zorder=3, **kwargs)


def spot(axes: Axes, x: Any, y: Any, **look: Any) -> None:
    """A point without an interval, or several; nothing where a single one is not defined (None)."""
    if x is not None and y is not None:
        axes.plot(x, y, **{"linestyle": "none", "markersize": 6} | look)


def span(axes: Axes, ends: tuple[float | None, float | None], y: float, colour: str) -> None:
    """A thin line between two values of a row; nothing where one is not defined."""
    start, end = ends
    if start is not None and end is not None:
        axes.plot([start, end], [y, y], color=colour, linewidth=1.2, zorder=2)


def trend(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """The least-squares line through points; nothing without spread along x."""
    if len(x) > 1 and np.ptp(x) > 0:
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
