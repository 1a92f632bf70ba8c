"""The figure that compares models: what was planted in each beside what the study measured."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from isogloss.report.figures.benchmarks import chance_line, tasks_in_order
from isogloss.report.figures.catalogue import compared_models
from isogloss.report.figures.gap import VARIANTS
from isogloss.report.figures.style import (
    PALETTE,
    Context,
    by_group,
    canvas,
    curve,
    divide_groups,
    language_rows,
    layer_axis,
    percent_axis,
    shared_legend,
    whiskers,
    zero_line,
)
from isogloss.report.wording import TASK_TITLES

_PAINTS = (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3])
_SHAPES = ("o", "D", "^", "s")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)))


def planted_truth(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Shares planted, accuracy and both variants of the group gap of models; `tables` is keyed `model/table`."""
    models = compared_models(context.settings)
    accuracy = {m: tables[f"{m}/accuracy"].filter(pl.col("adapter") == "base") for m in models}
    every = pl.concat(accuracy.values())
    tasks, codes = tasks_in_order(every, context), by_group(every["lang"], context)
    figure, axes = canvas(1, 1, height=8.4)
    axes[0, 0].remove()
    grid = figure.add_gridspec(2, 1, height_ratios=[1.5, 1])
    upper: Any = grid[0].subgridspec(1, 1 + len(tasks)).subplots()
    lower: Any = grid[1].subgridspec(1, len(VARIANTS)).subplots(sharey=True)
    place = {code: row for row, code in enumerate(codes)}
    for i, model in enumerate(models):
        shift = 0.64 * ((i + 0.5) / len(models) - 0.5)
        look = {"colour": _PAINTS[i % 4], "marker": _SHAPES[i % 4]}
        label = context.title(model)
        shares = context.settings["models"][model]["shares"]
        upper[0].plot(
            [100 * shares[c] for c in codes if c in shares],
            [place[c] + shift for c in codes if c in shares],
            linestyle="none",
            color=look["colour"],
            marker=look["marker"],
            markersize=5.5,
        )
        for panel, task in zip(upper[1:], tasks, strict=True):
            rows = accuracy[model].filter(pl.col("task") == task)
            whiskers(
                panel,
                [place[c] + shift for c in rows["lang"]],
                100 * rows["accuracy"],
                100 * rows["ci_low"],
                100 * rows["ci_high"],
                horizontal=True,
                markersize=5,
                **look,
            )
        for panel, variant in zip(lower, VARIANTS, strict=True):
            gap = tables[f"{model}/group_gap"].filter(pl.col("variant") == variant).sort("layer")
            dash = _DASHES[i % 4]
            curve(panel, gap["layer"], gap["gap_pct"], gap["ci_low"], gap["ci_high"], dash=dash, label=label, **look)
    for panel in upper:
        language_rows(panel, codes)
        divide_groups(panel, codes, context)
        if panel is not upper[0]:
            panel.set_yticklabels([])
    upper[0].set_title("planted")
    upper[0].set_xlim(left=0)
    percent_axis(upper[0], "x")
    upper[0].locator_params(axis="x", nbins=3)
    upper[0].set_xlabel("share of\ntraining tokens (%)")
    for panel, task in zip(upper[1:], tasks, strict=True):
        panel.set_title(TASK_TITLES[task])
        panel.set_xlim(0, 104)
        percent_axis(panel, "x")
        panel.set_xticks([0, 50, 100])
        panel.set_xlabel("accuracy (%),\ndashed: chance")
        chance_line(panel, every.filter(pl.col("task") == task))
    for panel, label in zip(lower, VARIANTS.values(), strict=True):
        panel.set_title(label)
        zero_line(panel)
        layer_axis(panel, [layer for m in models for layer in tables[f"{m}/group_gap"]["layer"]])
        percent_axis(panel)
    lower[0].set_ylabel("gap between the groups (%)")
    shared_legend(figure, [lower[0]], columns=4)
    return figure
