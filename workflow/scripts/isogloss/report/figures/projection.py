"""Figure of the projected states (paper B, sec. 4.3): Figs 3 and 6."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import task_heading, tasks_of
from isogloss.report.figures.labels import free_labels
from isogloss.report.figures.looks import MOST_OWN, point_looks
from isogloss.report.figures.scripts import script_legend
from isogloss.report.figures.style import Look, canvas, spaced
from isogloss.report.shared.context import Context, Tables

_MOST_POINTS = 2000  # in a figure; more are drawn as a picture, or the file would be of many megabytes
_EDGE: dict[str, Any] = {"linestyle": "none", "markersize": 8, "markeredgecolor": "white", "markeredgewidth": 1.2}


def projection(tables: Tables, context: Context) -> Figure:
    """States at the last prompt token on two principal components, a panel a layer (Fig. 3).

    Small marks are questions, large ones the means of languages; of many languages colours tell scripts.
    """
    frame = tables["projection"]
    tasks = tasks_of(frame)
    looks = point_looks(frame["lang"], context)
    many = 9 if len(tasks) == 1 else 4
    layers = {task: spaced(sorted(set(frame.filter(task=task)["layer"])), many) for task in tasks}
    most = max(map(len, layers.values()), default=1)
    columns = min(most, 2 if most in (2, 4) else 3) if len(tasks) == 1 else min(most, 4)
    down = {task: -(-len(shown) // columns) for task, shown in layers.items()}
    rows = sum(down.values())
    side = 8.0 / max(2, columns)
    figure, axes = canvas(max(1, rows), columns, height=1.1 + rows * (0.8 * side + 0.25))
    figure.set_dpi(200)  # many points are a picture within the SVG
    at, drawn, rasterized = 0, [], frame.height > _MOST_POINTS
    for task in tasks:
        for panel in axes[at : at + down[task]].flat[len(layers[task]) :]:
            panel.set_visible(False)
        for i, layer in enumerate(layers[task]):
            panel = axes[at + i // columns, i % columns]
            states = frame.filter(task=task, layer=layer)
            _panel(panel, states, looks, rasterized)
            head = f"{task_heading(task, context, 3)}, " if len(tasks) > 1 and i == 0 else ""
            panel.set_title(f"{head}layer {layer}", fontsize="small")
            drawn.append((panel, states))
        at += down[task]
    script_legend(figure, looks)
    if len(looks) > MOST_OWN:
        figure.draw_without_rendering()
        for panel, states in drawn:
            free_labels(figure, panel, _centres(states, looks, context.reference))
    return figure


def _panel(panel: Axes, rows: pl.DataFrame, looks: Mapping[str, Look], rasterized: bool) -> None:
    langs = rows["lang"].to_numpy()
    x, y = rows["pc1"].to_numpy(), rows["pc2"].to_numpy()
    many = len(looks) > MOST_OWN
    for look in dict.fromkeys(looks.values()):
        members = np.isin(langs, [code for code, other in looks.items() if other == look])
        if members.any():
            dots: dict[str, Any] = {"s": 3, "alpha": 0.35} if many else {"s": 9, "alpha": 0.45}
            dots |= {"c": look.colour, "marker": look.marker, "linewidths": 0, "rasterized": rasterized, "zorder": 2}
            panel.scatter(x[members], y[members], **dots)
            if not many:
                panel.plot(
                    x[members].mean(), y[members].mean(), color=look.colour, marker=look.marker, zorder=4, **_EDGE
                )
    first = rows.row(0, named=True)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.margins(0.06)
    panel.set_xlabel(f"component 1 ({100 * first['explained_1']:.0f} %)", fontsize=8.5)
    panel.set_ylabel(f"component 2 ({100 * first['explained_2']:.0f} %)", fontsize=8.5)


def _centres(rows: pl.DataFrame, looks: Mapping[str, Look], reference: str) -> dict[str, tuple[Any, Any, str]]:
    """Where the reference and the scripts of many languages have their means."""
    means = rows.group_by("lang", maintain_order=True).agg(pl.col("pc1", "pc2").mean())
    titled = means.with_columns(title=pl.col("lang").replace_strict({code: look.label for code, look in looks.items()}))
    scripts = titled.group_by("title", maintain_order=True).agg(pl.col("pc1", "pc2").mean())
    colours = {look.label: look.colour for look in looks.values()}
    own = {code: (x, y, looks[code].colour) for code, x, y in means.filter(lang=reference).iter_rows()}
    return own | {title: (x, y, colours[title]) for title, x, y in scripts.iter_rows()}
