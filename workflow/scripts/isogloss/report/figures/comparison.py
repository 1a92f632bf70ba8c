"""The key figure of the planted truth: what each measure finds in the planted and in the equal models, and the verdict.

Every row has a scale of its own: the measures' units differ, their sign and their distance from zero do not.
"""

import textwrap
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.joined.measures import MEASURES, Measure
from isogloss.joined.planted_truth import ONE_SEED
from isogloss.report.figures.axes import divide, legend, row_axis, zero_line
from isogloss.report.figures.marks import spot, whiskers
from isogloss.report.figures.style import FAINT, INK, canvas, model_look
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number

_BY_NAME = {measure.name: measure for measure in MEASURES}
_WORDS = {
    "passes": ("✓ passes", "#00735a"),
    "fails": ("✗ fails", "#b34700"),
    None: ("not judged", "#555555"),
}  # verdict in words and a colour dark enough for text


def planted_truth(tables: Tables, context: Context) -> Figure:
    """A row a measure, judged ones first: its slope on the shares, the two worlds' own slopes, and the verdict."""
    truth, points = tables["comparison/planted_truth"], tables["comparison/planted_truth_points"]
    rows = sorted(truth.iter_rows(named=True), key=lambda row: not _BY_NAME[row["measure"]].judged)
    figure, axes = canvas(1, 2, height=1.2 + 0.47 * max(3, len(rows)), width_ratios=[1.35, 1], sharey=True)
    left, right = axes[0]
    row_axis(left, [_label(_BY_NAME[row["measure"]], row) for row in rows], fontsize=8.5)
    zero_line(left, "x")
    pair = points.select("model", "control").head(1).rows() or [("", "")]
    for at, row in enumerate(rows):
        of_row = points.filter(pl.col("measure") == row["measure"], pl.col("layer").eq_missing(row["layer"]))
        _draw(left, at, row, of_row, pair[0], context)
        _verdict(right, at, row)
    judged = sum(_BY_NAME[row["measure"]].judged for row in rows)
    if 0 < judged < len(rows):
        divide(left, judged)
        divide(right, judged)
    left.set_xlim(-1.12, 1.12)
    left.set_xticks([0], ["0"])
    left.set_xlabel("slope on the log of the share, each row to its own scale\n← against the shares        with them →")
    right.set_axis_off()
    _legend(figure, truth, pair[0], context)
    return figure


def _label(measure: Measure, row: dict[str, Any]) -> str:
    layer = "" if row["layer"] is None else f"\nat layer {row['layer']}, the best where equal"
    behaviour = "" if measure.judged else "\n(behaviour)"
    return f"{measure.title}{layer}{behaviour}"


def _draw(
    panel: Axes, at: int, row: dict[str, Any], points: pl.DataFrame, pair: tuple[str, str], context: Context
) -> None:
    """The row's slopes, turned so that what is expected of a measure of disparity is on the right."""
    own = {which: slope_within(points, column) for which, column in enumerate(("value", "control_value"))}
    shown = [row[name] for name in ("slope", "ci_low", "ci_high", "null_slope", "null_ci_low", "null_ci_high")]
    scale = max((abs(value) for value in [*shown, *own.values()] if value is not None), default=0.0)
    if not scale:
        return
    turn = row["expected"] / scale
    for which, value in own.items():
        if value is not None:
            paint, shape = _world(pair[which], which, context)
            fill = {"markerfacecolor": "white", "markeredgecolor": paint} if which else {"markeredgecolor": "white"}
            spot(panel, turn * value, at - 0.22, marker=shape, color=paint, zorder=3, **fill)
    for value, low, high, colour, shift in ((*shown[:3], INK, 0.05), (*shown[3:], FAINT, 0.3)):
        if value is not None:
            ends = [value if end is None else end for end in (low, high)]
            bounds = sorted(turn * end for end in ends)
            look: dict[str, Any] = {"colour": colour, "marker": "D", "markersize": 5.5}
            whiskers(panel, at + shift, turn * value, *bounds, horizontal=True, **look)


def slope_within(points: pl.DataFrame, column: str) -> float | None:
    """Least-squares slope of a column on the log ratio of the shares, seeds centred apart; None without spread."""
    rows = points.drop_nulls([column, "log_ratio"])
    if not rows.height:
        return None
    centred = rows.select(
        x=pl.col("log_ratio") - pl.col("log_ratio").mean().over("seed"),
        y=pl.col(column) - pl.col(column).mean().over("seed"),
    )
    x, y = centred["x"].to_numpy(), centred["y"].to_numpy()
    squares = float(np.dot(x, x))
    return float(np.dot(x, y)) / squares if squares > 1e-12 else None


def _verdict(panel: Axes, at: int, row: dict[str, Any]) -> None:
    """The verdict in words; below it the slope with its interval and, in short, why."""
    word, paint = _WORDS.get(row["verdict"], _WORDS[None])
    why = row["reason"] or ""
    if not _BY_NAME[row["measure"]].judged:
        word, why = "yardstick", "behaviour, not an internal measure"
    elif why == ONE_SEED:
        word, why = "follows", ""  # said once, in the takeaway
    panel.text(0, at - 0.2, word, color=paint, fontsize=8.5, fontweight="bold", va="center")
    digits = 3 if max(abs(row[name] or 0) for name in ("slope", "ci_low", "ci_high")) < 1 else 1
    bounds = "" if row["ci_low"] is None else f" [{number(row['ci_low'], digits)}, {number(row['ci_high'], digits)}]"
    slope = "no slope" if row["slope"] is None else f"{number(row['slope'], digits)}{bounds}"
    unit = _BY_NAME[row["measure"]].unit
    reason = textwrap.shorten(why, 68, placeholder=" …")
    panel.text(0.36, at - 0.2, f"{slope} {unit}", fontsize=7.5, va="center", color=INK)
    panel.text(0, at + 0.18, reason, fontsize=6.8, va="center", color="#555555")


def _world(model: str, which: int, context: Context) -> tuple[str, str]:
    return model_look(model, context) if model in context.settings["models"] else (FAINT, "os"[which])


def _legend(figure: Figure, truth: pl.DataFrame, pair: tuple[str, str], context: Context) -> None:
    looks = [_world(model, which, context) for which, model in enumerate(pair)]
    handles = [
        Line2D([], [], color=INK, marker="D", label="planted minus equal: what is judged"),
        Line2D([], [], color=looks[0][0], marker=looks[0][1], linestyle="none", label="planted models alone"),
        Line2D([], [], color=looks[1][0], marker=looks[1][1], linestyle="none", markerfacecolor="white",
               label="equal models alone"),
    ]  # fmt: skip
    if truth["null_slope"].is_not_null().any():  # not of one seed
        handles.append(Line2D([], [], color=FAINT, marker="D", label="equal minus equal: nothing was planted"))
    legend(figure, handles, [str(handle.get_label()) for handle in handles], 2)
