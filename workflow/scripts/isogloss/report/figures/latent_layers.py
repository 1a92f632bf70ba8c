"""Figure of consistency and transfer by layer, as the lens ranks the choices (paper B, sec. 2.2)."""

import numpy as np
from matplotlib.figure import Figure

from isogloss.report.figures.axes import layer_axis, percent_axis, shared_legend, tasks_of, zero_line
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.marks import curve, estimates, whiskers
from isogloss.report.figures.style import DASHES, PALETTE, SHAPES, canvas
from isogloss.report.shared.context import Context, Tables

MEASURES = {
    "consistency": ("consistency (ρ)", 1),
    "positive_transfer": ("positive transfer", 100),
    "negative_transfer": ("negative transfer", 100),
    "transfer_above_chance": ("transfer above chance", 100),
}


def transfer_layers(tables: Tables, context: Context) -> Figure:
    """Means over all pairs of languages by layer, a line a task; dotted what is expected by chance."""
    frame = tables["transfer_layers"].sort("layer")
    if not frame.height:
        return in_words("No two languages were asked the same questions.")
    tasks = tasks_of(frame)
    figure, axes = canvas(2, 2, height=5.6, sharex=True)
    for panel, (measure, (label, factor)) in zip(axes.flat, MEASURES.items(), strict=True):
        for number, task in enumerate(tasks):
            rows = frame.filter(task=task).drop_nulls(measure)
            if not rows.height:
                continue
            colour, marker = PALETTE[number % len(PALETTE)], SHAPES[number % len(SHAPES)]
            values = estimates(rows, measure, factor=factor)
            title = context.task(task)
            curve(panel, rows["layer"], *values, colour=colour, marker=marker, dash="-", label=title)
            if rows.height == 1:
                whiskers(panel, rows["layer"], *values, colour=colour, marker=marker)
            if f"{measure}_chance" in frame.columns:
                chance = factor * np.asarray(rows[f"{measure}_chance"], float)
                look = {"color": colour, "linestyle": DASHES[2], "marker": "" if rows.height > 1 else "_"}
                panel.plot(rows["layer"], chance, label=f"{title}, by chance", zorder=2, linewidth=1.2, **look)
        if measure == "transfer_above_chance":
            zero_line(panel)
        if factor == 100:
            percent_axis(panel)
        panel.set_ylabel(label)
    for panel in axes[1]:
        layer_axis(panel, frame["layer"], 2)
    shared_legend(figure, figure.axes, columns=2 if len(tasks) < 3 else 3)
    return figure
