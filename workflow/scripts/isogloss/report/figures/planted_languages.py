"""The planted truth language by language: each measure against the shares that were planted."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from isogloss.joined.measures import MEASURES, Measure
from isogloss.report.figures.axes import legend, zero_line
from isogloss.report.figures.marks import spot
from isogloss.report.figures.style import DASHED, FAINT, INK, canvas, language_look
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import named, number

_COLUMNS = 3
_VERDICTS = {"passes": "#00735a", "fails": "#b34700"}  # dark enough for text; other titles are in ink


def planted_truth_languages(tables: Tables, context: Context) -> Figure:
    """For each measure a panel: planted minus control by share ratio, slope with interval, slope of the null.

    A point is a language in a seed. Measures that are judged come first.
    """
    truth, points = tables["comparison/planted_truth"], tables["comparison/planted_truth_points"]
    by_name = {measure.name: measure for measure in MEASURES}
    rows = sorted(truth.iter_rows(named=True), key=lambda row: not by_name[row["measure"]].judged)
    columns = min(_COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = canvas(lines, columns, height=1.1 + 1.95 * lines)
    panels: list[Axes] = list(axes.flat)
    for panel in panels[len(rows) :]:
        panel.set_visible(False)
    codes = context.by_group(points["lang"])
    for at, (panel, row) in enumerate(zip(panels, rows, strict=False)):
        of_row = points.filter(pl.col("measure") == row["measure"], pl.col("layer").eq_missing(row["layer"]))
        _panel(panel, by_name[row["measure"]], row, of_row, codes, context)
        if at + columns >= len(rows):
            panel.set_xlabel("planted / equal share (log scale)", fontsize=8.5)
    null = truth["null_slope"].is_not_null().any()  # not of one seed
    looks = {code: language_look(code, context) for code in codes}
    handles = [
        Line2D([], [], color=INK, label="slope, interval"),
        *([Line2D([], [], color=FAINT, linestyle=DASHED, label="slope where nothing was planted")] if null else []),
        *(
            Line2D([], [], color=look["colour"], marker=look["marker"], linestyle="none", label=named(code))
            for code, look in looks.items()
        ),
    ]
    legend(figure, handles, [str(handle.get_label()) for handle in handles], 4)
    return figure


def _panel(
    panel: Axes, measure: Measure, row: dict[str, Any], points: pl.DataFrame, codes: list[str], context: Context
) -> None:
    ratios = points["log_ratio"].to_numpy()
    zero_line(panel)
    reach = 0.02 * (float(np.ptp(ratios)) if len(ratios) else 0.0)
    for rank, code in enumerate(codes):
        rows = points.filter(lang=code)
        look, shift = language_look(code, context), reach * (rank - (len(codes) - 1) / 2)  # equal shares are common
        edge = {"markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3}
        where = rows["log_ratio"].to_numpy() + shift
        spot(panel, where, rows["difference"], color=look["colour"], marker=look["marker"], markersize=5, **edge)
    _line(panel, ratios, points["null_difference"], row, "null_", {"color": FAINT, "linestyle": DASHED, "zorder": 1})
    _line(panel, ratios, points["difference"], row, "", {"color": INK, "zorder": 2})
    panel.set_title(measure.title, pad=15, fontsize=9)
    colour = _VERDICTS.get(row["verdict"], INK)
    note = panel.text(0, 1.03, _verdict(row), transform=panel.transAxes, fontsize=7.5, va="bottom", color=colour)
    note.set_in_layout(False)  # the title has room for it; its width would part the panels
    panel.set_ylabel(f"planted − equal\n({measure.unit})", fontsize=8)
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.tick_params(labelsize=7.5)
    _ratio_axis(panel, ratios)


def _line(panel: Axes, x: np.ndarray, y: pl.Series, row: dict[str, Any], kind: str, look: dict[str, Any]) -> None:
    """A slope through the middle of its points, and the slopes of its interval as a band; nothing where undefined."""
    value, low, high = (row[f"{kind}{name}"] for name in ("slope", "ci_low", "ci_high"))
    if value is None:
        return
    middle, level = x.mean(), float(y.mean())  # pyright: ignore[reportArgumentType]
    ends = np.linspace(x.min(), x.max(), 25)
    panel.plot(ends, level + value * (ends - middle), **look)
    if low is not None:
        bounds = [level + slope * (ends - middle) for slope in (low, high)]
        panel.fill_between(ends, *bounds, color=look["color"], alpha=0.16, linewidth=0, zorder=1)


def _verdict(row: dict[str, Any]) -> str:
    """`passes: 0.12 [0.08, 0.17]`, after the layer where one was chosen."""
    word = row["verdict"] or "not judged"
    if row["layer"] is not None:
        word = f"best layer ({row['layer']}) {word}"
    if row["slope"] is None:
        return f"{word}: no slope"
    digits = 3 if max(abs(row["slope"]), abs(row["ci_low"] or 0), abs(row["ci_high"] or 0)) < 1 else 1
    bounds = "" if row["ci_low"] is None else f" [{number(row['ci_low'], digits)}, {number(row['ci_high'], digits)}]"
    return f"{word}: {number(row['slope'], digits)}{bounds}"


def _ratio_axis(panel: Axes, ratios: np.ndarray) -> None:
    """Ticks at the ratios that were planted, those apart that would touch, 1 first of all."""
    present = sorted({round(float(ratio), 6) for ratio in ratios}, key=abs)
    shown: list[float] = []
    room = 0.2 * (max(present) - min(present)) if present else 0
    for ratio in present:
        if all(abs(ratio - other) >= room for other in shown):
            shown.append(ratio)
    panel.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{np.exp(value):.2g}"))
