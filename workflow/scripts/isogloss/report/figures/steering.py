"""Figures of steering (paper B, sec. 4.3): Figs 4, 5 and 7 to 9."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.bilingual import depth_colours
from isogloss.report.figures.latent_process import layers_axis
from isogloss.report.figures.ranking import Shown, headed, ranking
from isogloss.report.figures.style import (
    FAINT,
    PALETTE,
    SHAPES,
    Context,
    canvas,
    curve,
    shared_legend,
    whiskers,
    zero_line,
)
from isogloss.report.wording import TASK_TITLES, VECTOR_TITLES, signed

MEASURES = {
    "accuracy_change": ("accuracy:\nchange (points)", 100),
    "consistency_change": ("consistency:\nchange (ρ)", 1),
    "positive_transfer_change": ("positive transfer:\nchange (points)", 100),
}
MOST_TICKS = 5  # of γ; more are left to matplotlib
MOST_LAYERS = 4
"""Up to so many layers have a line of their own in the sweep of γ; of more, so many are shown."""


class Look(NamedTuple):
    """How a control's line is drawn."""

    colour: str
    marker: str
    dash: Any


CONTROLS = {
    "random": Look(FAINT, "X", (0, (1.5, 1.5))),
    "other": Look(PALETTE[3], "v", (0, (5, 2))),
    "shared": Look(PALETTE[5], "P", (0, (5, 2, 1.5, 2))),
}


class Best(NamedTuple):
    """Where steering by the languages' own vectors raised accuracy most."""

    layer: int
    gamma: float


def best(summary: pl.DataFrame) -> Best | None:
    """The layer and γ of the own vector with the largest mean change of accuracy; None without any change.

    The mean is over the tasks and languages of `summary`: chosen on the very questions that are then shown.
    """
    own = summary.filter(pl.col("vector") == "own").drop_nulls("accuracy_change")
    if not own.height:
        return None
    means = own.group_by("layer", "gamma").agg(pl.col("accuracy_change").mean())
    row = means.sort(-pl.col("accuracy_change"), pl.col("gamma").abs(), "layer").row(0, named=True)
    return Best(row["layer"], row["gamma"])


def shown_layers(layers: Iterable[int], first: int | None) -> list[int]:
    """The layers whose lines are shown: all of a few, else the best one and others evenly spaced."""
    present = sorted(set(layers))
    if len(present) <= MOST_LAYERS:
        return present
    places = np.linspace(0, len(present) - 1, MOST_LAYERS).round().astype(int)
    chosen = [present[place] for place in places]
    if first is not None and first not in chosen:
        chosen[int(np.argmin([abs(layer - first) for layer in chosen]))] = first
    return sorted(chosen)


def steering(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Change of accuracy, consistency and transfer against γ, own vectors by layer and controls (Figs 4 and 7)."""
    frame = tables["steering_summary"].filter(pl.col("vector") != "none").sort("gamma")
    tasks = frame["task"].unique(maintain_order=True).to_list()
    figure, axes = _grid(len(tasks))
    top = best(frame)
    layers = shown_layers(frame["layer"], top.layer if top else None)
    colours = depth_colours(layers)
    for place, task in enumerate(tasks):
        rows = frame.filter(pl.col("task") == task)
        for panel, column in zip(axes[:, place], MEASURES, strict=True):
            for order, layer in enumerate(layers):
                label = f"{VECTOR_TITLES['own']}, layer {layer}"
                look = {"colour": colours[layer], "marker": SHAPES[order], "dash": "-", "label": label}
                _sweep(panel, rows.filter(pl.col("vector") == "own", pl.col("layer") == layer), column, look)
            for vector, its in CONTROLS.items():
                label = f"{VECTOR_TITLES[vector]}" + (f", layer {top.layer}" if top and len(layers) > 1 else "")
                look = {**its._asdict(), "label": label}
                at = pl.col("layer") == (top.layer if top else -1)
                _sweep(panel, rows.filter(pl.col("vector") == vector, at), column, look)
            zero_line(panel)
            panel.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
        if len(told := sorted({0.0, *rows["gamma"]})) <= MOST_TICKS:
            axes[-1, place].set_xticks(told)
        axes[-1, place].set_xlabel(f"γ (above 0: {'to' if len(tasks) > 2 else 'towards the'} reference)")
        headed(axes[0, place], TASK_TITLES[task])
    shared_legend(figure, axes.flat, columns=2)
    return figure


def _grid(tasks: int) -> tuple[Figure, Any]:
    """Three rows of panels, one a measure, and a column a task."""
    height = 7.6 if tasks > 1 else 6.8
    figure, axes = canvas(len(MEASURES), max(1, tasks), height=height, sharex="col", sharey="row")
    for panel, (label, _) in zip(axes[:, 0], MEASURES.values(), strict=True):
        panel.set_ylabel(label)
    figure.align_ylabels()
    return figure, axes


def _sweep(panel: Axes, rows: pl.DataFrame, column: str, look: Mapping[str, Any]) -> None:
    """A line through the multipliers, which passes through no change at γ = 0."""
    rows = rows.drop_nulls(column)
    if not rows.height:
        return
    gamma = np.append(rows["gamma"].to_numpy(), 0.0)
    order = np.argsort(gamma, kind="stable")
    value, low, high = (np.append(_values(rows, name, column), 0.0)[order] for name in _bounds(column))
    line = curve(panel, gamma[order], value, low, high, **look)
    line.set_markersize(0.8 * line.get_markersize())
    line.set_markevery(1)


def _bounds(column: str) -> tuple[str, str, str]:
    return column, f"{column}_low", f"{column}_high"


def _values(rows: pl.DataFrame, name: str, column: str) -> np.ndarray:
    return MEASURES[column][1] * rows[name].cast(pl.Float64).to_numpy()


def steering_layers(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Change against the layer steered, at the largest positive and negative γ, beside the random control (Fig. 8)."""
    frame = tables["steering_summary"].filter(pl.col("vector").is_in(["own", "random"])).sort("layer")
    tasks = frame["task"].unique(maintain_order=True).to_list()
    figure, axes = _grid(len(tasks))
    strongest = {min(frame["gamma"], default=0.0), max(frame["gamma"], default=0.0)} - {0.0}
    paints = {True: (PALETTE[0], "o"), False: (PALETTE[1], "s")}
    for place, task in enumerate(tasks):
        rows = frame.filter(pl.col("task") == task)
        for panel, column in zip(axes[:, place], MEASURES, strict=True):
            for gamma in sorted(strongest, reverse=True):
                colour, shape = paints[gamma > 0]
                for vector, dash in (("own", "-"), ("random", (0, (1.5, 1.5)))):
                    its = rows.filter(pl.col("vector") == vector, pl.col("gamma") == gamma).drop_nulls(column)
                    if its.height:
                        label = f"γ = {signed(gamma)}, {VECTOR_TITLES[vector]}"
                        marker = shape if vector == "own" else "X"
                        look = {"colour": colour, "marker": marker, "dash": dash, "label": label}
                        _over_layers(panel, its, column, look, vector == "own")
            zero_line(panel)
        layers_axis(axes[-1, place], rows["layer"], len(tasks))
        axes[-1, place].set_xlabel("layer steered (0-based)")
        headed(axes[0, place], TASK_TITLES[task])
    shared_legend(figure, axes.flat, columns=2)
    return figure


def _over_layers(panel: Axes, rows: pl.DataFrame, column: str, look: Mapping[str, Any], banded: bool) -> None:
    value, low, high = (_values(rows, name, column) for name in _bounds(column))
    if rows.height == 1:
        whiskers(panel, rows["layer"], value, low, high, **{k: v for k, v in look.items() if k != "dash"})
    elif banded:
        curve(panel, rows["layer"], value, low, high, **look)
    else:
        curve(panel, rows["layer"], value, **look)


def steering_languages(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Change of each language's accuracy at the best layer and γ of its task, beside the random control (Figs 5, 9)."""
    frame, summary = tables["steering"], tables["steering_summary"]
    parts, notes = [], {}
    for task in frame["task"].unique(maintain_order=True):
        top = best(summary.filter(pl.col("task") == task))
        if top is None:
            continue
        at = frame.filter(pl.col("task") == task, pl.col("layer") == top.layer, pl.col("gamma") == top.gamma)
        random = at.filter(pl.col("vector") == "random").select("lang", control="accuracy_change")
        own = at.filter(pl.col("vector") == "own")
        parts.append(own.join(random, on="lang", how="left", maintain_order="left"))
        notes[task] = f"layer {top.layer}, γ = {signed(top.gamma)}"
    chosen = pl.concat(parts) if parts else frame.clear().with_columns(control=pl.lit(None, dtype=pl.Float64))
    shown = Shown(
        "accuracy_change",
        "change of accuracy (points)",
        control="control",
        control_label=VECTOR_TITLES["random"],
        line=0.0,
        notes=notes,
    )
    return ranking(chosen, shown, context.reference)
