"""Figures of steering by strength, layer and language (paper B, sec. 4.3, Figs 4, 5, 7, 8 and 9)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import headed, layer_axis, shared_legend, task_heading, tasks_of, zero_line
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.marks import curve, estimates, whiskers
from isogloss.report.figures.ranking import Shown, ranking
from isogloss.report.figures.style import FAINT, PALETTE, SHAPES, Look, canvas, depth_colours, spaced
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.steered import MEASURES, beyond_random, controlled, judged_by_language, strongest
from isogloss.report.shared.wording import signed

MOST_TICKS = 5  # of γ; more are left to matplotlib
MOST_LAYERS = 4
"""Up to so many layers have a line of their own in the sweep of γ; of more, so many evenly spaced are shown."""

_NONE = "No language was steered by a vector of its own."
MOST_APART = 10
"""Up to so many layers, points with intervals stand side by side; more are lines with bands."""


def steering(tables: Tables, context: Context) -> Figure:
    """What own vectors change beyond a random direction against γ, a line a layer (Figs 4 and 7)."""
    frame = tables["steering"]
    if not frame.filter(vector="own").height:
        return in_words(_NONE)
    layers = spaced(sorted(set(frame.filter(vector="own")["layer"])), MOST_LAYERS)
    colours = depth_colours(layers)
    figure, panels = _grid(frame, context)
    for panel, task, measure in panels:
        changes = _changes(frame, task, measure, context)
        gammas = np.unique([0.0, *changes["gamma"]])
        step = 0.55 * np.diff(gammas).min() / max(1, len(layers)) if len(gammas) > 1 else 0.1
        for i, (layer, paint) in enumerate(colours.items()):
            shift = step * (i - (len(layers) - 1) / 2)
            look = Look(paint, SHAPES[i % len(SHAPES)], label=f"layer {layer}")
            _points(panel, changes.filter(layer=layer), "gamma", shift, measure, look)
        panel.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
        if len(gammas) <= MOST_TICKS:
            panel.set_xticks(gammas, [signed(gamma) for gamma in gammas])
        panel.set_xlabel("γ (above 0: towards\nthe reference)")
    shared_legend(figure, figure.axes, columns=MOST_LAYERS)
    return figure


def steering_layers(tables: Tables, context: Context) -> Figure:
    """What own vectors change beyond a random direction against the layer steered, at one γ of either sign (Fig. 8)."""
    frame = tables["steering"]
    if not frame.filter(vector="own").height:
        return in_words(_NONE)
    shown = strongest(frame.filter(vector="own")["gamma"], context.settings["latent"]["steering"]["gamma_shown"])
    figure, panels = _grid(frame, context)
    for panel, task, measure in panels:
        changes = _changes(frame, task, measure, context)
        for i, gamma in enumerate(shown):
            away = f"{'towards' if gamma > 0 else 'away from'} the reference"
            look = Look(PALETTE[i % len(PALETTE)], SHAPES[i % len(SHAPES)], label=f"γ = {signed(gamma)}, {away}")
            rows = changes.filter(gamma=gamma)
            if changes["layer"].n_unique() > MOST_APART:
                values = estimates(rows, "mean", factor=MEASURES[measure][2])
                curve(panel, rows["layer"], *_bounds(rows, values), **look._asdict())
            else:
                _points(panel, rows, "layer", 0.18 * (i - (len(shown) - 1) / 2), measure, look)
        if changes.height:
            layer_axis(panel, changes["layer"], 3)
        panel.set_xlabel("layer steered (0-based)")
    shared_legend(figure, figure.axes, columns=2)
    return figure


def _grid(frame: pl.DataFrame, context: Context) -> tuple[Figure, list[tuple[Axes, str, str]]]:
    """A row of panels a task, one a measure, with zero marked; each panel with its task and measure."""
    tasks = tasks_of(frame)
    figure, axes = canvas(max(1, len(tasks)), len(MEASURES), height=1.0 + 2.5 * max(1, len(tasks)), sharex=True)
    what = "own less random" if controlled(frame) else "change by own vector"
    for panel, (title, unit, _) in zip(axes.flat, [*MEASURES.values()] * len(axes), strict=True):
        panel.set_ylabel(f"{what} ({unit})", fontsize=8.5)
        panel.set_title(title.capitalize(), fontsize="small", fontweight="normal")
        zero_line(panel)
    return figure, list(_titled(axes, tasks, context))


def _titled(axes: np.ndarray, tasks: list[str], context: Context) -> Iterator[tuple[Axes, str, str]]:
    for line, task in zip(axes, tasks, strict=False):
        for panel, (measure, (title, _, _)) in zip(line, MEASURES.items(), strict=True):
            if panel is line[0] and len(tasks) > 1:
                headed(panel, task_heading(task, context, 3), title.capitalize())
            yield panel, task, measure


def _changes(frame: pl.DataFrame, task: str, measure: str, context: Context) -> pl.DataFrame:
    rows = beyond_random(frame.filter(task=task), measure, context.confidence)
    return rows.with_columns(mean_low=pl.col("low"), mean_high=pl.col("high"))


def _bounds(rows: pl.DataFrame, values: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    """Estimates, with bounds where any is defined."""
    return values if rows["low"].drop_nulls().len() else values[:1]


def _points(panel: Axes, rows: pl.DataFrame, along: str, shift: float, measure: str, look: Look) -> None:
    """Points with intervals, joined by a thin line, moved aside by `shift`."""
    if not rows.height:
        return
    value, low, high = estimates(rows, "mean", factor=MEASURES[measure][2])
    at = rows[along].to_numpy() + shift
    panel.plot(at, value, color=look.colour, linewidth=0.8, alpha=0.7, zorder=2)
    points: dict[str, Any] = {"colour": look.colour, "marker": look.marker, "markersize": 5, "capsize": 0}
    whiskers(panel, at, value, low, high, label=look.label, **points)


def steering_languages(tables: Tables, context: Context) -> Figure:
    """What each language's own vector adds to accuracy beyond random directions, sorted (Figs 5 and 9).

    On questions that did not choose the layer and γ.
    """
    rows = judged_by_language(tables["steering_judged"])
    label = "own vector less random directions:\nchange of accuracy (points)"
    shown = Shown("own_less", label, 100, line=0.0, n="n")
    if not rows.height:
        return in_words("No language's own vector was held against a random direction.")
    return ranking(rows, shown, context)
