"""The figure of what joins the three papers: every instrument against accuracy, over languages."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.report.figures.axes import legend, row_axis, zero_line
from isogloss.report.figures.marks import bars, span, spot
from isogloss.report.figures.style import FAINT, INK, PALETTE, canvas
from isogloss.report.shared.context import Context, Tables

_WIDTHS = [1.5, 1]


def joined_correlations(tables: Tables, context: Context) -> Figure:
    """r with accuracy and r given tokens and script side by side; R² of languages left out, with and without it.

    Filled where the p-value, corrected over instruments, lies below one less the intervals' coverage, else hollow.
    An instrument that cannot be held against accuracy has its reason in its row.
    """
    correlations = {row["instrument"]: row for row in tables["joined_correlations"].iter_rows(named=True)}
    incremental = {row["instrument"]: row for row in tables["joined_incremental"].iter_rows(named=True)}
    figure, axes = canvas(1, 2, height=1.5 + 0.42 * len(INSTRUMENTS), width_ratios=_WIDTHS)
    left, right = axes[0]
    row_axis(left, [one.title for one in INSTRUMENTS])
    row_axis(right, [""] * len(INSTRUMENTS))
    for height, one in enumerate(INSTRUMENTS):
        _correlation(left, height, correlations[one.column], 1 - context.confidence)
        _left_out(right, height, incremental[one.column])
    zero_line(left, "x")
    left.set_xlim(-1.08, 1.08)
    left.set_xticks([-1, -0.5, 0, 0.5, 1])
    left.set_xlabel("r with accuracy over languages")
    left.set_title("With accuracy", fontsize="small")
    right.set_xlabel("R² of languages left out of the fit", fontsize=8.5)
    right.set_title("Beyond tokens and script", fontsize="small")
    marks = [*_LOOKS.values(), {"colour": INK, "marker": "o", "markerfacecolor": "white"}]
    handles = [
        Line2D([], [], color=look["colour"], linestyle="none", **{k: v for k, v in look.items() if k != "colour"})
        for look in marks
    ]
    handles += [
        Line2D([], [], color=INK, linestyle="none", marker="|"),
        Line2D([], [], color=PALETTE[0], linestyle="none", marker="s"),
    ]
    labels = ["r", "r given tokens and script", "hollow: p, corrected, not small", "R², tokens and script alone"]
    legend(figure, handles, [*labels, "R², and the instrument"], 3)
    return figure


_LOOKS: dict[str, dict[str, Any]] = {
    "": {"colour": "#6b6b6b", "marker": "o"},
    "partial_": {"colour": PALETTE[0], "marker": "D"},
}


def _correlation(panel: Axes, height: int, row: dict[str, Any], alpha: float) -> None:
    for (start, own), shift in zip(_LOOKS.items(), (-0.16, 0.16), strict=True):
        if row[f"{start}r"] is None:
            continue
        p = row[f"{start}p_adjusted"]  # a table of few languages may have none
        hollow = {"markerfacecolor": "white", "markeredgecolor": own["colour"]} if p is None or p >= alpha else {}
        bars(panel, height + shift, row, f"{start}r", f"{start}ci", **own, **hollow)
    if row["r"] is None and row["partial_r"] is None:
        panel.text(-1.05, height, str(row["reason"]), fontsize=7.5, va="center", color=INK, backgroundcolor="white")


def _left_out(panel: Axes, height: int, row: dict[str, Any]) -> None:
    span(panel, (row["r2_left_out_controls"], row["r2_left_out"]), height, FAINT)
    spot(panel, row["r2_left_out_controls"], height, marker="|", color=INK, markersize=9)
    spot(panel, row["r2_left_out"], height, marker="s", color=PALETTE[0], zorder=3)
