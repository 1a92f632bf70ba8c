"""Figure of steering by language at one setting, against the accuracy without it (paper B, Figs 5 and 9 to 11)."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import headed, percent_axis, task_heading, tasks_of, zero_line
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.labels import free_labels
from isogloss.report.figures.looks import MOST_OWN, point_looks
from isogloss.report.figures.marks import estimates, spot, whiskers
from isogloss.report.figures.scripts import script_legend
from isogloss.report.figures.style import canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.steered import shown_setting
from isogloss.report.shared.wording import signed

CHANGES = {
    "accuracy_change": ("change of accuracy (points)", 100),
    "positive_transfer_change": ("change of transfer from\nthe reference (points)", 100),
    "consistency_change": ("change of consistency\nwith the reference (ρ)", 1),
}
MOST_NAMED = 40
"""Up to so many languages, the points have intervals."""


def steering_reference(tables: Tables, context: Context) -> Figure:
    """Change of accuracy, transfer and consistency by each language's own vector against its accuracy without one."""
    frame = tables["steering"]
    if not frame.filter(vector="own").height:
        return in_words("No language was steered by a vector of its own.")
    tasks, looks = tasks_of(frame), point_looks(frame["lang"], context)
    figure, axes = canvas(max(1, len(tasks)), len(CHANGES), height=1.2 + 2.6 * max(1, len(tasks)), sharex="row")
    for panel, (label, _) in zip(axes.flat, [*CHANGES.values()] * len(axes), strict=True):
        panel.set_ylabel(label, fontsize=8.5)
        panel.set_xlabel("accuracy without\nsteering (%)")
    named: list[tuple[Axes, dict[str, tuple[float, float, str]]]] = []
    for line, task in zip(axes, tasks, strict=False):
        setting = shown_setting(
            frame.filter(task=task, vector="own"), context.settings["latent"]["steering"]["gamma_shown"]
        )
        if setting is None:
            continue
        own = _own(frame.filter(task=task), *setting)
        for panel, (measure, (_, factor)) in zip(line, CHANGES.items(), strict=True):
            points: dict[str, tuple[float, float, str]] = {}
            for row in own.drop_nulls(["unsteered", measure]).iter_rows(named=True):
                look, x = looks[row["lang"]], 100 * row["unsteered"]
                points[row["lang"]] = (x, factor * row[measure], look.colour)
                if own.height > MOST_NAMED:
                    spot(panel, x, factor * row[measure], color=look.colour, marker=look.marker, markersize=4)
                else:
                    values = estimates(row, measure, factor=factor)
                    whiskers(panel, x, *values, colour=look.colour, marker=look.marker, capsize=0)
            zero_line(panel)
            panel.margins(0.12)
            percent_axis(panel, "x")
            panel.locator_params(axis="x", nbins=4)
            if MOST_OWN < own.height <= MOST_NAMED:
                named.append((panel, points))
        headed(line[0], task_heading(task, context, 3), f"layer {setting[0]}, γ = {signed(setting[1])}")
    script_legend(figure, looks)
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for panel, points in named:
        free_labels(figure, panel, points)
    return figure


def _own(rows: pl.DataFrame, layer: int, gamma: float) -> pl.DataFrame:
    """A language each: the own vector's changes at a setting, and the accuracy without steering."""
    unsteered = rows.filter(vector="none").select("lang", unsteered="accuracy")
    return rows.filter(vector="own", layer=layer, gamma=gamma).join(unsteered, on="lang", maintain_order="left")
