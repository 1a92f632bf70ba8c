"""Figures of steering by strength, layer and language (paper B, sec. 4.3, Figs 4, 7 and 8)."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import headed, layer_axis, shared_legend, tasks_of, zero_line
from isogloss.report.figures.marks import curve, estimates, whiskers
from isogloss.report.figures.ranking import Shown, ranking
from isogloss.report.figures.style import DASHES, FAINT, PALETTE, SHAPES, Look, canvas, depth_colours, spaced
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import TASK_TITLES, VECTOR_TITLES, signed

MEASURES = {
    "accuracy_change": ("accuracy:\nchange (points)", 100),
    "consistency_change": ("consistency:\nchange (ρ)", 1),
    "positive_transfer_change": ("positive transfer:\nchange (points)", 100),
}
MOST_TICKS = 5  # of γ; more are left to matplotlib
MOST_LAYERS = 4
"""Up to so many layers have a line of their own in the sweep of γ; of more, so many are shown."""

CONTROLS = {
    "random": Look(FAINT, "X", DASHES[2]),
    "other": Look(PALETTE[3], "v", DASHES[1]),
    "shared": Look(PALETTE[5], "P", DASHES[3]),
}


class Best(NamedTuple):
    """Where steering by the languages' own vectors raised accuracy most."""

    layer: int
    gamma: float


def best(summary: pl.DataFrame) -> Best | None:
    """The layer and γ of the own vector with the largest mean change of accuracy; None without any change.

    The mean is over the tasks and languages of `summary`: chosen on the very questions that are then shown.
    """
    own = summary.filter(vector="own").drop_nulls("accuracy_change")
    if not own.height:
        return None
    means = own.group_by("layer", "gamma", maintain_order=True).agg(pl.col("accuracy_change").mean())
    row = means.sort(-pl.col("accuracy_change"), pl.col("gamma").abs(), "layer").row(0, named=True)
    return Best(row["layer"], row["gamma"])


def shown_layers(layers: Iterable[int], first: int | None) -> list[int]:
    """The layers whose lines are shown: all of a few, else the best one and others evenly spaced."""
    present = sorted(set(layers))
    if len(present) <= MOST_LAYERS:
        return present
    chosen = spaced(present, MOST_LAYERS)
    if first is not None and first not in chosen:
        chosen[int(np.argmin([abs(layer - first) for layer in chosen]))] = first
    return sorted(chosen)


def steering(tables: Tables, _: Context) -> Figure:
    """Change of accuracy, consistency and transfer against γ, own vectors by layer and controls (Figs 4 and 7)."""
    frame = tables["steering_summary"].filter(pl.col("vector") != "none").sort("gamma")
    top = best(frame)
    layers = shown_layers(frame["layer"], top.layer if top else None)
    colours = depth_colours(layers)
    lines = {
        ("own", layer): Look(colours[layer], shape, "-", f"{VECTOR_TITLES['own']}, layer {layer}")
        for layer, shape in zip(layers, SHAPES, strict=False)
    }
    if top:
        at = f", layer {top.layer}" if len(layers) > 1 else ""
        for vector, look in CONTROLS.items():
            lines[vector, top.layer] = look._replace(label=f"{VECTOR_TITLES[vector]}{at}")

    def draw(panel: Axes, rows: pl.DataFrame, measure: str) -> None:
        for (vector, layer), look in lines.items():
            _sweep(panel, rows.filter(vector=vector, layer=layer), measure, look)

    figure, columns = _by_task(frame, draw)
    for panels, rows in columns:
        for panel in panels:
            panel.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
        if len(gammas := sorted({0.0, *rows["gamma"]})) <= MOST_TICKS:
            panels[-1].set_xticks(gammas)
        panels[-1].set_xlabel(f"γ (above 0: {'to' if len(columns) > 2 else 'towards the'} reference)")
    shared_legend(figure, figure.axes, columns=2)
    return figure


def _by_task(
    frame: pl.DataFrame, draw: Callable[[Axes, pl.DataFrame, str], None]
) -> tuple[Figure, list[tuple[Sequence[Axes], pl.DataFrame]]]:
    """A column of panels a task, one a measure, as `draw` draws a task's rows; returns each column with its rows."""
    parts = frame.partition_by("task", maintain_order=True)
    height = 7.6 if len(parts) > 1 else 6.8
    figure, axes = canvas(len(MEASURES), max(1, len(parts)), height=height, sharex="col", sharey="row")
    for panel, (label, _) in zip(axes[:, 0], MEASURES.values(), strict=True):
        panel.set_ylabel(label)
    figure.align_ylabels()
    columns = list(zip(axes.T, parts, strict=False))
    for panels, rows in columns:
        for panel, measure in zip(panels, MEASURES, strict=True):
            draw(panel, rows, measure)
            zero_line(panel)
        headed(panels[0], TASK_TITLES[rows["task"][0]])
    return figure, columns


def _sweep(panel: Axes, rows: pl.DataFrame, measure: str, look: Look) -> None:
    """A line through the multipliers, which passes through no change at γ = 0."""
    rows = rows.drop_nulls(measure)
    if not rows.height:
        return
    gamma = np.append(rows["gamma"].to_numpy(), 0.0)
    order = np.argsort(gamma, kind="stable")
    values = [np.append(one, 0.0)[order] for one in estimates(rows, measure, factor=MEASURES[measure][1])]
    line = curve(panel, gamma[order], *values, **look._asdict())
    line.set_markersize(0.8 * line.get_markersize())
    line.set_markevery(1)


def steering_layers(tables: Tables, context: Context) -> Figure:
    """Change against the layer steered, at one γ of either sign, beside the random control (Fig. 8)."""
    frame = tables["steering_summary"].filter(pl.col("vector").is_in(["own", "random"])).sort("layer")
    shown = context.settings["latent"]["steering"]["gamma_shown"]
    strongest = {min(frame["gamma"], default=0.0), max(frame["gamma"], default=0.0)} - {0.0}
    if shown:
        strongest = {shown, -shown}
    looks = {
        (gamma, vector): Look(
            PALETTE[0] if gamma > 0 else PALETTE[1],
            "X" if vector == "random" else "o" if gamma > 0 else "s",
            DASHES[2] if vector == "random" else "-",
            f"γ = {signed(gamma)}, {VECTOR_TITLES[vector]}",
        )
        for gamma in sorted(strongest & set(frame["gamma"]), reverse=True)
        for vector in ("own", "random")
    }

    def draw(panel: Axes, rows: pl.DataFrame, measure: str) -> None:
        for (gamma, vector), look in looks.items():
            changes = rows.filter(vector=vector, gamma=gamma).drop_nulls(measure)
            if changes.height:
                values = estimates(changes, measure, factor=MEASURES[measure][1])
                if changes.height == 1:
                    points = {"colour": look.colour, "marker": look.marker, "label": look.label}
                    whiskers(panel, changes["layer"], *values, **points)
                else:
                    curve(panel, changes["layer"], *values[: 3 if vector == "own" else 1], **look._asdict())

    figure, columns = _by_task(frame, draw)
    for panels, rows in columns:
        layer_axis(panels[-1], rows["layer"], len(columns))
        panels[-1].set_xlabel("layer steered (0-based)")
    shared_legend(figure, figure.axes, columns=2)
    return figure


def steering_languages(tables: Tables, context: Context) -> Figure:
    """Change of each language's accuracy at the best layer and γ of its task, beside the random control (Figs 5, 9)."""
    frame, summary = tables["steering"], tables["steering_summary"]
    parts, notes = [], {}
    for task in tasks_of(frame):
        top = best(summary.filter(task=task))
        if top is None:
            continue
        at = frame.filter(task=task, layer=top.layer, gamma=top.gamma)
        random = at.filter(vector="random").select("lang", control="accuracy_change")
        own = at.filter(vector="own")
        parts.append(own.join(random, on="lang", how="left", maintain_order="left"))
        notes[task] = f"layer {top.layer}, γ = {signed(top.gamma)}"
    chosen = pl.concat(parts) if parts else frame.clear().with_columns(control=pl.lit(None, dtype=pl.Float64))
    random = VECTOR_TITLES["random"]
    shown = Shown("accuracy_change", "change of accuracy (points)", 100, "control", random, line=0.0, notes=notes)
    return ranking(chosen, shown, context)
