"""The figure that compares models: what was planted in each beside what the study measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import accuracy_axis, language_rows, percent_axis, percent_by_layer, shared_legend
from isogloss.report.figures.benchmarks import chance_line, tasks_in_order
from isogloss.report.figures.marks import bars, curve, estimates, spot
from isogloss.report.figures.style import DASHES, PALETTE, Look, canvas, plain
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import TASK_TITLES, VARIANT_TITLES
from isogloss.report.wanted import compared_models

_LOOKS = [Look(*look) for look in zip(PALETTE[:4], ("o", "D", "^", "s"), DASHES[:4], strict=True)]


def planted_truth(tables: Tables, context: Context) -> Figure:
    """Shares planted, accuracy and both variants of the group gap of models; `tables` is keyed `model/table`."""
    models = compared_models(context.settings)
    looks = {model: _LOOKS[i % 4]._replace(label=plain(context.title(model))) for i, model in enumerate(models)}
    accuracy = pl.concat(
        tables[f"{model}/accuracy"].filter(adapter="base").with_columns(model=pl.lit(model)) for model in models
    )
    tasks = tasks_in_order(accuracy, context)
    figure, axes = canvas(1, 1, height=8.4)
    axes[0, 0].remove()
    grid = figure.add_gridspec(2, 1, height_ratios=[1.5, 1])
    upper: Any = grid[0].subgridspec(1, 1 + len(tasks)).subplots()
    lower: Any = grid[1].subgridspec(1, len(VARIANT_TITLES)).subplots(sharey=True)
    _by_language(upper, accuracy, tasks, looks, context)
    for panel, (variant, title) in zip(lower, VARIANT_TITLES.items(), strict=True):
        for model, look in looks.items():
            gap = tables[f"{model}/group_gap"].filter(variant=variant).sort("layer")
            curve(panel, gap["layer"], *estimates(gap, "gap_pct", "ci"), **look._asdict())
        panel.set_title(title)
        percent_by_layer(panel, [layer for model in models for layer in tables[f"{model}/group_gap"]["layer"]])
    lower[0].set_ylabel("gap between the groups (%)")
    shared_legend(figure, [lower[0]], columns=4)
    return figure


def _by_language(
    panels: Sequence[Axes], accuracy: pl.DataFrame, tasks: Sequence[str], looks: Mapping[str, Look], context: Context
) -> None:
    """The models' shares, then their accuracy task by task, side by side in a language's row."""
    codes = context.by_group(accuracy["lang"])
    position = {code: row for row, code in enumerate(codes)}
    planted, *measured = panels
    for i, (model, look) in enumerate(looks.items()):
        shift = 0.64 * ((i + 0.5) / len(looks) - 0.5)
        shares = context.settings["models"][model]["shares"]
        known = [code for code in codes if code in shares]
        x, y = [100 * shares[code] for code in known], [position[code] + shift for code in known]
        spot(planted, x, y, color=look.colour, marker=look.marker, markersize=5.5)
        for panel, task in zip(measured, tasks, strict=True):
            rows = accuracy.filter(model=model, task=task)
            at = [position[code] + shift for code in rows["lang"]]
            bars(panel, at, rows, "accuracy", "ci", 100, colour=look.colour, marker=look.marker, markersize=5)
    for panel in panels:
        language_rows(panel, codes, context, labelled=panel is planted)
    planted.set_title("planted")
    planted.set_xlim(left=0)
    percent_axis(planted, "x", "share of\ntraining tokens (%)")
    planted.locator_params(axis="x", nbins=3)
    for panel, task in zip(measured, tasks, strict=True):
        panel.set_title(TASK_TITLES[task])
        accuracy_axis(panel, (0, 50, 100))
        panel.set_xlabel("accuracy (%),\ndashed: chance")
        chance_line(panel, accuracy.filter(task=task))
