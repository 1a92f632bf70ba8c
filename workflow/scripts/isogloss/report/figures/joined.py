"""The figure of what joins the three papers: every instrument against accuracy, over languages."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.report.figures.axes import row_axis, shared_legend, zero_line
from isogloss.report.figures.marks import bars, span, spot
from isogloss.report.figures.style import FAINT, INK, PALETTE, canvas
from isogloss.report.shared.context import Context, Tables

_WIDTHS = [1.5, 1]


def joined_correlations(tables: Tables, _: Context) -> Figure:
    """r with accuracy and r given tokens and script side by side; R² of languages left out, with and without it.

    An instrument that cannot be held against accuracy has its reason in its row.
    """
    correlations = {row["instrument"]: row for row in tables["joined_correlations"].iter_rows(named=True)}
    incremental = {row["instrument"]: row for row in tables["joined_incremental"].iter_rows(named=True)}
    figure, axes = canvas(1, 2, height=1.5 + 0.42 * len(INSTRUMENTS), width_ratios=_WIDTHS)
    left, right = axes[0]
    row_axis(left, [one.title for one in INSTRUMENTS])
    row_axis(right, [""] * len(INSTRUMENTS))
    for place, one in enumerate(INSTRUMENTS):
        _correlation(left, place, correlations[one.column])
        _left_out(right, place, incremental[one.column])
    zero_line(left, "x")
    left.set_xlim(-1.08, 1.08)
    left.set_xlabel("r with accuracy over languages")
    left.set_title("With accuracy")
    right.set_xlabel("R² of languages left out of the fit")
    right.set_title("Beyond tokens and script")
    shared_legend(figure, (left, right), columns=2)
    return figure


def _correlation(panel: Axes, place: int, row: dict[str, Any]) -> None:
    looks: dict[str, dict[str, Any]] = {
        "": {"colour": FAINT, "marker": "o", "label": "r"},
        "partial_": {"colour": PALETTE[0], "marker": "D", "label": "r given tokens and script"},
    }
    for (start, look), shift in zip(looks.items(), (-0.16, 0.16), strict=True):
        if row[f"{start}r"] is not None:
            bars(panel, place + shift, row, f"{start}r", f"{start}ci", **look)
    if row["r"] is None and row["partial_r"] is None:
        panel.text(-1.05, place, str(row["reason"]), fontsize=7.5, va="center", color=INK)


def _left_out(panel: Axes, place: int, row: dict[str, Any]) -> None:
    span(panel, (row["r2_left_out_controls"], row["r2_left_out"]), place, FAINT)
    spot(panel, row["r2_left_out_controls"], place, marker="|", color=INK, label="tokens and script alone")
    spot(panel, row["r2_left_out"], place, marker="D", color=PALETTE[0], label="and the instrument", zorder=3)
