"""Figures of paper C: the classes of features over training and depth, their SAEs, and what injecting them does."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.figure import Figure

from isogloss.report.figures.classes import LOOKS, Look, class_order, class_title, language_order
from isogloss.report.figures.style import (
    FAINT,
    INK,
    LAYER_AXIS,
    PALETTE,
    SHAPES,
    Context,
    canvas,
    colour,
    curve,
    marker,
    percent_axis,
    shared_legend,
    spot,
    step_axis,
    whiskers,
    zero_line,
)
from isogloss.report.wording import named, number

FEW_LAYERS = 6
"""Up to so many, the lines of layers have markers and intervals; more would hide one another."""


def middle_layer(layers: Iterable[int]) -> int:
    """The middle one of the analysed layers (of 28, the 15th: the paper's layer 14 counted from 0)."""
    present = sorted(set(layers))
    return present[len(present) // 2]


def look(code: str) -> Look:
    """Colour and marker of a class."""
    return LOOKS.get(code) or Look(colour(code), marker(code))


def selectivity(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Share of each class and its monosemanticity over training at the middle layer (Fig. 3)."""
    layer = middle_layer(tables["selectivity"]["layer"])
    rows = tables["selectivity"].filter(pl.col("layer") == layer).sort("step")
    figure, axes = canvas(1, 2, height=4.2)
    shares, senses = axes[0]
    for code in class_order(set(rows["class"]) - {"silent"}, _languages(context)):
        its = rows.filter(pl.col("class") == code)
        if code != "all":
            _over_steps(shares, its, "share", 100, code)
        _over_steps(senses, its, "monosemanticity", 1, code)
    shares.set_title(f"decoder layer {layer} (0-based)")
    shares.set_ylabel("share of the features that are not silent (%)")
    shares.set_ylim(bottom=0)
    percent_axis(shares)
    senses.set_ylabel("monosemanticity (0 to 1)")
    for panel in axes[0]:
        step_axis(panel, rows["step"])
    shared_legend(figure, [senses, shares], columns=5)
    return figure


def _over_steps(axes: Axes, rows: pl.DataFrame, column: str, factor: float, code: str) -> None:
    value, low, high = (_values(rows[name], factor) for name in (column, f"{column}_low", f"{column}_high"))
    its = look(code)
    dash = (0, (4, 2)) if code == "all" else "-"
    curve(
        axes, rows["step"], value, low, high, colour=its.colour, marker=its.marker, dash=dash, label=class_title(code)
    )
    if rows.height == 1:  # a band has no width there
        whiskers(axes, rows["step"], value, low, high, colour=its.colour, marker=its.marker)


def _values(column: pl.Series, factor: float = 1.0) -> np.ndarray:
    return factor * column.cast(pl.Float64).to_numpy()


def selectivity_layers(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Share of mixed features and monosemanticity of all features over training, a line a layer (Figs 5, 8, 12-14)."""
    frame = tables["selectivity"].sort("step")
    figure, axes = canvas(1, 2, height=4.0)
    shares, senses = axes[0]
    _layer_lines(shares, frame.filter(pl.col("class") == "mixed"), "share", 100)
    _layer_lines(senses, frame.filter(pl.col("class") == "all"), "monosemanticity", 1)
    shares.set_ylabel("share of mixed features (%)")
    percent_axis(shares)
    senses.set_ylabel("monosemanticity of all features (0 to 1)")
    for panel in axes[0]:
        step_axis(panel, frame["step"])
    _depth_bar(figure, axes[0], frame["layer"])
    return figure


def span_length(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Mean number of consecutive tokens on which a feature is active over training, a line a layer (Figs 6, 9)."""
    frame = tables["selectivity"].filter(pl.col("class") == "all").sort("step")
    figure, axes = canvas(height=3.8)
    _layer_lines(axes[0, 0], frame, "span_length", 1)
    axes[0, 0].set_ylabel("span length of all features (tokens)")
    step_axis(axes[0, 0], frame["step"])
    _depth_bar(figure, axes[0], frame["layer"])
    return figure


def sae_training(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Variance unexplained, active features a token and dead features of the SAEs over training, a line a layer."""
    frame = tables["sae_training"].sort("step")
    frame = frame.with_columns(dead=pl.col("dead_features") / pl.col("features"))
    panels = (("fvu", 100, "variance unexplained (%)"), ("l0", 1, "active features a token (L0)"))
    figure, axes = canvas(1, 3, height=3.4)
    for panel, (column, factor, label) in zip(axes[0], (*panels, ("dead", 100, "dead features (%)")), strict=True):
        _layer_lines(panel, frame, column, factor)
        panel.set_ylabel(label)
        panel.set_ylim(0, max(1.0, 1.08 * panel.get_ylim()[1]))
        if factor == 100:
            percent_axis(panel)
        step_axis(panel, frame["step"])
    _depth_bar(figure, axes[0], frame["layer"])
    return figure


def depth_colours(layers: Iterable[int]) -> dict[int, str]:
    """Colour of each layer: viridis without its palest end (as in the paper), dark at the bottom of the model."""
    present = sorted(set(layers))
    ramp = colormaps["viridis"]
    places = np.linspace(0, 0.88, len(present)) if len(present) > 1 else [0.45]
    return {layer: to_hex(ramp(place)) for layer, place in zip(present, places, strict=True)}


def _layer_lines(axes: Axes, frame: pl.DataFrame, column: str, factor: float) -> None:
    """A line over steps for each layer; with markers and intervals where the layers are few."""
    colours = depth_colours(frame["layer"])
    few = len(colours) <= FEW_LAYERS
    for place, (layer, its_colour) in enumerate(colours.items()):
        rows = frame.filter(pl.col("layer") == layer)
        value = _values(rows[column], factor)
        shape = SHAPES[place % len(SHAPES)] if few or rows.height == 1 else ""
        its_look = {"colour": its_colour, "marker": shape, "dash": "-", "label": f"layer {layer}"}
        if few and f"{column}_low" in rows.columns:
            bounds = (_values(rows[f"{column}_{end}"], factor) for end in ("low", "high"))
            curve(axes, rows["step"], value, *bounds, **its_look)
        else:
            curve(axes, rows["step"], value, **its_look)


def _depth_bar(figure: Figure, axes: Sequence[Axes] | np.ndarray, layers: Iterable[int]) -> None:
    """A colour bar of the layers; where they are few, a legend that shows their markers too."""
    colours = depth_colours(layers)
    if len(colours) <= FEW_LAYERS:
        shared_legend(figure, axes, columns=FEW_LAYERS)
        return
    present = list(colours)
    edges = [
        present[0] - 0.5,
        *((a + b) / 2 for a, b in pairwise(present)),
        present[-1] + 0.5,
    ]
    drawn = ScalarMappable(BoundaryNorm(edges, len(present)), ListedColormap(list(colours.values())))
    bar = figure.colorbar(drawn, ax=list(axes), label=LAYER_AXIS, aspect=28, pad=0.02, spacing="proportional")
    bar.set_ticks(present[:: max(1, -(-len(present) // 14))])
    bar.ax.minorticks_off()


def learning_rates(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Validation loss and unexplained variance against the learning rate, the chosen one marked (Fig. 11)."""
    frame = tables["learning_rates"].sort("learning_rate")
    chosen = frame.filter(pl.col("chosen"))
    figure, axes = canvas(1, 2, height=3.6)
    panels = (("loss", 1, "validation loss (squared error a token)"), ("fvu", 100, "variance unexplained (%)"))
    for panel, (column, factor, label) in zip(axes[0], panels, strict=True):
        values = _values(frame[column], factor)
        values[~np.isfinite(values)] = np.nan  # a rate at which training diverged has no point
        look = {"color": PALETTE[0], "marker": "o", "markeredgecolor": "white", "markeredgewidth": 0.5}
        panel.plot(frame["learning_rate"], values, label="rates tried", **look)
        for rate, value in zip(chosen["learning_rate"], _values(chosen[column], factor), strict=True):
            ring = {"markersize": 14, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.4}
            spot(panel, rate, value, marker="o", label=f"chosen: {rate:g}", **ring)
        panel.set_xscale("log")
        if np.nanmax(values) > 20 * np.nanmin(values) > 0:
            panel.set_yscale("log")
        elif factor == 100:
            percent_axis(panel)
        panel.set_xticks(frame["learning_rate"], [f"{rate:g}" for rate in frame["learning_rate"]])
        panel.tick_params(axis="x", labelrotation=45)
        panel.minorticks_off()
        panel.margins(0.08, 0.12)
        panel.set_xlabel("learning rate of the SAE")
        panel.set_ylabel(label)
    where = frame.row(0, named=True)
    axes[0, 0].set_title(f"decoder layer {where['layer']}, step {where['step']:,}")
    shared_legend(figure, axes[0], columns=2)
    return figure


def intervention(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Change of perplexity against no injection by language and injected class, a panel a setting (Tables 1, 4)."""
    frame = tables["intervention_summary"]
    baseline = dict(frame.filter(pl.col("class") == "none").select("lang", "perplexity").iter_rows())
    frame = frame.filter(pl.col("class") != "none")
    alphas, counts = (sorted(frame[column].unique()) for column in ("alpha", "n_features"))
    groups = [*language_order(frame["lang"], _languages(context)), "all"]
    classes = class_order(frame["class"], _languages(context))
    settings = [(alpha, n) for alpha in alphas for n in counts]
    down, across = (1, len(alphas)) if len(counts) == 1 else (len(alphas), len(counts))
    height = 0.55 + len(groups) * max(0.5, 0.17 * len(classes) + 0.08)
    figure, axes = canvas(
        down, across, height=0.9 + down * height, sharey=True, sharex="row" if len(counts) > 1 else "none"
    )
    for (alpha, n), panel in zip(settings, axes.flat, strict=True):
        _change_rows(panel, frame.filter(pl.col("alpha") == alpha, pl.col("n_features") == n), groups, classes)
        panel.set_title(f"α = {alpha:g}, N = {n:,}", fontsize="small")
        panel.set_yticks(range(len(groups)), [_group_label(group, baseline.get(group)) for group in groups])
        panel.set_ylim(len(groups) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
        panel.locator_params(axis="x", nbins=7 if across == 1 else 5 if across == 2 else 4)
    for panel in axes[-1]:
        panel.set_xlabel("change of perplexity" + ("\n" if across > 1 else " ") + "(below zero: better)")
    shared_legend(figure, axes.flat, columns=min(5, len(classes)))
    return figure


def _change_rows(axes: Axes, rows: pl.DataFrame, groups: Sequence[str], classes: Sequence[str]) -> None:
    """One row of points a language, a point with its interval a class."""
    zero_line(axes, "x")
    for at in range(1, len(groups)):
        axes.axhline(at - 0.5, color=FAINT, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
    for place, code in enumerate(classes):
        its_look = look(code)
        its = rows.filter(pl.col("class") == code).drop_nulls("change")
        if not its.height:
            continue
        spread = 0.8 * (place - (len(classes) - 1) / 2) / max(1, len(classes))
        hollow: dict[str, Any] = (
            {} if its_look.filled else {"markerfacecolor": "white", "markeredgecolor": its_look.colour}
        )
        whiskers(
            axes,
            [groups.index(lang) + spread for lang in its["lang"]],
            its["change"],
            its["ci_low"],
            its["ci_high"],
            colour=its_look.colour,
            marker=its_look.marker,
            horizontal=True,
            label=class_title(code),
            **({"markersize": 5} | hollow),
        )


def _group_label(code: str, perplexity: float | None) -> str:
    title = "all documents" if code == "all" else named(code)
    return title if perplexity is None else f"{title}\nperplexity {number(perplexity, 2)}"


def _languages(context: Context) -> list[str]:
    """The languages that come first, in the order that the study gives; the reference where it gives none."""
    return context.settings["bilingual"]["languages"] or [context.reference]
