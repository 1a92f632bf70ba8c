"""Figures of paper C: the classes of features over training and depth, and their SAEs."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from isogloss.config.base import middle
from isogloss.report.figures.axes import LAYER_AXIS, legend, percent_axis, shared_legend, step_axis, zero_line
from isogloss.report.figures.marks import curve, estimates, spot, whiskers
from isogloss.report.figures.style import DASHED, INK, PALETTE, SHAPES, canvas, class_look, depth_colours
from isogloss.report.shared.classes import class_order, class_title
from isogloss.report.shared.context import Context, Tables

FEW_LAYERS = 6
"""Up to so many, the lines of layers have markers and intervals; more would hide one another."""


def selectivity(tables: Tables, context: Context) -> Figure:
    """Shares and monosemanticity of the classes over training, middle layer, beside nulls (Fig. 3).

    Monosemanticity as published; at the similarity that few random pairs of tokens exceed with what it is with the
    rows of the embedding exchanged, dotted; and the difference of the two.
    """
    layer = middle(tables["selectivity"]["layer"])
    rows = tables["selectivity"].filter(layer=layer).sort("step")
    figure, axes = canvas(2, 2, height=6.6, sharex=True)
    (shares, published), (senses, beyond) = axes
    counts: dict[str, str] = {}
    for code in class_order(set(rows["class"]) - {"silent"}, context.bilingual_languages):
        members = rows.filter(pl.col("class") == code)
        counts[class_title(code)] = f"{class_title(code)}, n = {members['n_features'][-1] or 0:,}"
        if code != "all":
            _over_steps(shares, members, "share", 100, code, context)
        _over_steps(published, members, "monosemanticity", 1, code, context)
        _over_steps(senses, members, "monosemanticity_calibrated", 1, code, context)
        null = np.asarray(members["monosemanticity_calibrated_null"], float)
        look = class_look(code, context)
        single = {"marker": "_", "markersize": 9} if members.height == 1 else {}
        senses.plot(members["step"], null, color=look.colour, linestyle=":", linewidth=1.3, zorder=2, **single)
        _over_steps(beyond, members, "monosemanticity_calibrated_excess", 1, code, context)
    titles = ("share of each class", "monosemanticity as published", "at the calibrated similarity; null dotted")
    for panel, title in zip(axes.flat, (*titles, "beyond the null"), strict=True):
        panel.set_title(title, fontsize="small", fontweight="normal")
        step_axis(panel, rows["step"])
    shares.set_title(f"decoder layer {layer} (0-based), {titles[0]}", fontsize="small", fontweight="normal")
    shares.set_ylabel("share of the features\nthat are not silent (%)")
    shares.set_ylim(bottom=0)
    percent_axis(shares)
    for panel in (published, senses):
        panel.set_ylabel("monosemanticity (0 to 1)")
    beyond.set_ylabel("monosemanticity less its null")
    zero_line(beyond)
    for panel in axes[0]:
        panel.set_xlabel("")
    handles = dict(zip(*published.get_legend_handles_labels()[::-1], strict=True))
    legend(figure, [handles[title] for title in counts], list(counts.values()), 4)
    return figure


def _over_steps(axes: Axes, rows: pl.DataFrame, column: str, factor: float, code: str, context: Context) -> None:
    values, look = estimates(rows, column, factor=factor), class_look(code, context)
    points: dict[str, Any] = {"colour": look.colour, "marker": look.marker}
    curve(axes, rows["step"], *values, dash=DASHED if code == "all" else "-", label=class_title(code), **points)
    if rows.height == 1:  # a band has no width there
        whiskers(axes, rows["step"], *values, **points)


class Measure(NamedTuple):
    """What a panel shows over training, a line a layer."""

    column: str
    label: str  # of the axis, with the unit
    factor: float = 1
    code: str = ""  # class of the features; "" where the table has no classes
    zero: bool = False  # whether zero is marked


def selectivity_layers(tables: Tables, _: Context) -> Figure:
    """Share of mixed features and monosemanticity of all features over training, a line a layer (Figs 5, 8, 12-14).

    The last panel takes the null off: what is left of monosemanticity with the rows of the embedding exchanged.
    """
    mixed = Measure("share", "share of mixed features (%)", 100, "mixed")
    every = Measure("monosemanticity", "monosemanticity of all features (0 to 1)", code="all")
    beyond = Measure("monosemanticity_calibrated_excess", "monosemanticity less its null", code="all", zero=True)
    return _by_layer(tables["selectivity"], (mixed, every, beyond), height=4.0)


def span_length(tables: Tables, _: Context) -> Figure:
    """Mean number of consecutive tokens on which a feature is active over training, a line a layer (Figs 6, 9)."""
    measure = Measure("span_length", "span length of all features (tokens)", code="all")
    return _by_layer(tables["selectivity"], (measure,), height=3.8)


def sae_training(tables: Tables, _: Context) -> Figure:
    """Variance unexplained, active features a token and dead features of the SAEs over training, a line a layer."""
    frame = tables["sae_training"].with_columns(dead=pl.col("dead_features") / pl.col("features"))
    measures = (
        Measure("fvu", "variance unexplained (%)", 100),
        Measure("l0", "active features a token (L0)"),
        Measure("dead", "dead features (%)", 100),
    )
    return _by_layer(frame, measures, height=3.4, least=1.0)


def _by_layer(frame: pl.DataFrame, measures: Sequence[Measure], height: float, least: float = 0) -> Figure:
    """A panel a measure; with `least` its axis begins at zero and is at least so long."""
    frame = frame.sort("step")
    figure, axes = canvas(1, len(measures), height=height)
    for panel, measure in zip(axes[0], measures, strict=True):
        rows = frame.filter(pl.col("class") == measure.code) if measure.code else frame
        _layer_lines(panel, rows, measure)
        panel.set_ylabel(measure.label)
        if least:
            panel.set_ylim(0, max(least, 1.08 * panel.get_ylim()[1]))
        if measure.zero:
            zero_line(panel)
        if measure.factor == 100:
            percent_axis(panel)
        step_axis(panel, frame["step"])
    _depth_bar(figure, axes[0], frame["layer"])
    return figure


def _layer_lines(axes: Axes, frame: pl.DataFrame, measure: Measure) -> None:
    """A line over steps for each layer; with markers, and intervals side by side, where the layers are few."""
    colours = depth_colours(frame["layer"])
    few = len(colours) <= FEW_LAYERS
    steps = np.asarray(sorted(set(frame["step"])), float)
    for i, (layer, paint) in enumerate(colours.items()):
        rows = frame.filter(layer=layer)
        shape = SHAPES[i % len(SHAPES)] if few or rows.height == 1 else ""
        x = np.asarray(rows["step"], float)
        if few and f"{measure.column}_low" in rows.columns:
            x = beside(x, steps, (i - (len(colours) - 1) / 2) / len(colours))
            values = estimates(rows, measure.column, factor=measure.factor)
            whiskers(axes, x, *values, colour=paint, marker="", capsize=0, elinewidth=1.1, alpha=0.75)
        value = measure.factor * np.asarray(rows[measure.column], float)
        curve(axes, x, value, colour=paint, marker=shape, dash="-", label=f"layer {layer}")


def beside(x: np.ndarray, steps: np.ndarray, shift: float) -> np.ndarray:
    """Steps moved aside on a logarithmic axis by `shift` times 0.3 of the least distance between two of them."""
    scale = np.log1p(steps)
    least = np.diff(scale).min() if len(steps) > 1 else 0.5
    return np.expm1(np.maximum(np.log1p(x) + 0.3 * shift * least, 0))


def _depth_bar(figure: Figure, axes: Sequence[Axes] | np.ndarray, layers: Iterable[int]) -> None:
    """A colour bar of the layers; where they are few, a legend that shows their markers too."""
    colours = depth_colours(layers)
    if len(colours) <= FEW_LAYERS:
        shared_legend(figure, axes, columns=FEW_LAYERS)
        return
    present = list(colours)
    edges = [present[0] - 0.5, *((a + b) / 2 for a, b in pairwise(present)), present[-1] + 0.5]
    drawn = ScalarMappable(BoundaryNorm(edges, len(present)), ListedColormap(list(colours.values())))
    bar = figure.colorbar(drawn, ax=list(axes), label=LAYER_AXIS, aspect=28, pad=0.02, spacing="proportional")
    bar.set_ticks(present[:: max(1, -(-len(present) // 14))])
    bar.ax.minorticks_off()


def learning_rates(tables: Tables, _: Context) -> Figure:
    """Validation loss and unexplained variance against the learning rate, the chosen one marked (Fig. 11)."""
    frame = tables["learning_rates"].sort("learning_rate")
    rates, chosen = frame["learning_rate"], frame["chosen"]
    figure, axes = canvas(1, 2, height=3.6)
    panels = (("loss", 1, "validation loss (squared error a token)"), ("fvu", 100, "variance unexplained (%)"))
    ring = {"markersize": 14, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.4}
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    for panel, (column, factor, label) in zip(axes[0], panels, strict=True):
        values = factor * np.asarray(frame[column], float)
        finite = np.where(np.isfinite(values), values, np.nan)  # a rate at which training diverged has no point
        panel.plot(rates, finite, label="rates tried", color=PALETTE[0], marker="o", **edge)
        for rate, value in zip(rates.filter(chosen), values[chosen.to_numpy()], strict=True):
            spot(panel, rate, value, marker="o", label=f"chosen: {rate:g}", **ring)
        panel.set_xscale("log")
        known = finite[np.isfinite(finite)]
        if known.size and known.max() > 20 * known.min() > 0:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        elif factor == 100:
            percent_axis(panel)
        panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
        panel.tick_params(axis="x", labelrotation=45)
        panel.minorticks_off()
        panel.margins(0.08, 0.12)
        panel.set_xlabel("learning rate of the SAE")
        panel.set_ylabel(label)
    where = frame.row(0, named=True)
    axes[0, 0].set_title(f"decoder layer {where['layer']}, step {where['step']:,}")
    shared_legend(figure, axes[0], columns=2)
    return figure
