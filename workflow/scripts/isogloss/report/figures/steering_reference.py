"""Figure of steering by language at one setting, against the accuracy without it (paper B, Figs 5 and 9 to 11)."""

import polars as pl
from matplotlib.figure import Figure

from isogloss.config.base import middle
from isogloss.report.figures.axes import headed, percent_axis, tasks_of, zero_line
from isogloss.report.figures.labels import free_labels
from isogloss.report.figures.marks import estimates, spot, whiskers
from isogloss.report.figures.scripts import script_legend, script_looks
from isogloss.report.figures.style import canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import TASK_TITLES, signed

CHANGES = {
    "accuracy_change": ("accuracy:\nchange (points)", 100),
    "positive_transfer_change": ("positive transfer from\nthe reference: change (points)", 100),
    "consistency_change": ("consistency with\nthe reference: change (ρ)", 1),
}
MOST_NAMED = 40
"""Up to so many languages, the points have names and intervals."""


def shown_setting(own: pl.DataFrame, gamma: float | None) -> tuple[int, float] | None:
    """Layer and multiplier at which languages are shown, chosen by no result; None without rows.

    The multiplier is `gamma`, or the largest where none is given or `gamma` was not measured; the layer is the middle
    one of those steered.
    """
    gammas = sorted(set(own["gamma"]))
    if not gammas:
        return None
    return middle(own["layer"]), gamma if gamma is not None and gamma in gammas else gammas[-1]


def steering_reference(tables: Tables, context: Context) -> Figure:
    """Change of accuracy, transfer and consistency by each language's own vector against its accuracy without one."""
    frame = tables["steering"]
    steering = context.settings["latent"]["steering"]
    tasks, looks = tasks_of(frame), script_looks(frame["lang"], context)
    figure, axes = canvas(len(CHANGES), max(1, len(tasks)), height=8.2, sharex="col", sharey="row")
    for panel, (label, _) in zip(axes[:, 0], CHANGES.values(), strict=True):
        panel.set_ylabel(label)
    figure.align_ylabels()
    named: list[tuple[int, int, pl.DataFrame]] = []
    for column, task in enumerate(tasks):
        rows = frame.filter(task=task)
        setting = shown_setting(rows.filter(vector="own"), steering["gamma_shown"])
        if setting is None:
            continue
        layer, gamma = setting
        unsteered = rows.filter(vector="none").select("lang", unsteered="accuracy")
        own = rows.filter(vector="own", layer=layer, gamma=gamma).join(unsteered, on="lang", maintain_order="left")
        for row, (measure, (_, factor)) in enumerate(CHANGES.items()):
            panel, present = axes[row, column], own.drop_nulls(measure)
            for one in present.iter_rows(named=True):
                look, x = looks[one["lang"]], 100 * one["unsteered"]
                paint = {"colour": look.colour, "marker": look.marker}
                if own.height > MOST_NAMED:
                    spot(panel, x, factor * one[measure], color=look.colour, marker=look.marker, markersize=4)
                else:
                    whiskers(panel, x, *estimates(one, measure, factor=factor), **paint)
            zero_line(panel)
            panel.margins(0.12)
            if own.height <= MOST_NAMED:
                named.append((row, column, present.select("lang", "unsteered", measure).rename({measure: "y"})))
        headed(axes[0, column], TASK_TITLES[task], f"layer {layer}, γ = {signed(gamma)}")
        percent_axis(axes[-1, column], "x", "accuracy without steering (%)")
        axes[-1, column].locator_params(axis="x", nbins=5)
    script_legend(figure, looks)
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for row, column, present in named:
        factor = list(CHANGES.values())[row][1]
        points = {
            one["lang"]: (100 * one["unsteered"], factor * one["y"], looks[one["lang"]].colour)
            for one in present.iter_rows(named=True)
        }
        free_labels(figure, axes[row, column], points)
    return figure
