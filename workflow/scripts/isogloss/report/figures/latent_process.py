"""Figures of the logit lens on answers (paper B, sec. 2.2 and 4.2): Fig. 2 and what stands behind Table 2."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.report.figures.answers import CHANCE
from isogloss.report.figures.benchmarks import label_points
from isogloss.report.figures.labels import end_labels, free_labels
from isogloss.report.figures.ranking import headed
from isogloss.report.figures.scripts import script_legend, script_looks
from isogloss.report.figures.style import (
    FAINT,
    INK,
    PALETTE,
    Context,
    canvas,
    curve,
    layer_axis,
    percent_axis,
    shared_legend,
    whiskers,
)
from isogloss.report.means import over_languages
from isogloss.report.wording import TASK_TITLES

MOST_NAMED = 16
"""Up to so many lines or points are named; of more, those at the ends."""

_ENDS = 3
TARGETS = {
    "accuracy": ("accuracy (%)", 100),
    "consistency": ("mean consistency\nwith the others (ρ)", 1),
    "positive_transfer": ("mean positive transfer\nfrom the others (%)", 100),
}


def latent(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Log ratio of native to reference answers by layer: languages, and their mean with its interval (Fig. 2a)."""
    frame = tables["latent"].filter(pl.col("lang") != context.reference).sort("layer")
    tasks = frame["task"].unique(maintain_order=True).to_list()
    figure, axes = canvas(1, max(1, len(tasks)), height=4.3, sharey=True)
    looks = script_looks(frame["lang"])
    for panel, task in zip(axes[0], tasks, strict=False):
        rows = frame.filter(pl.col("task") == task)
        many = rows["lang"].n_unique() > MOST_NAMED
        thin = {"linewidth": 0.5, "alpha": 0.45} if many else {"linewidth": 0.9, "alpha": 0.8}
        for code in looks:
            its = rows.filter(pl.col("lang") == code)
            if its.height:
                alone = {"marker": looks[code].marker, "markersize": 4} if its.height == 1 else {}
                panel.plot(its["layer"], its["log_ratio"], color=looks[code].colour, zorder=1.5, **thin | alone)
        _mean(panel, rows, "log_ratio", context.confidence)
        panel.axhline(0, color=INK, linewidth=0.9, zorder=1)
        layers_axis(panel, rows["layer"], len(tasks))
        headed(panel, TASK_TITLES[task])
    axes[0, 0].set_ylabel("log ratio of answers (nats a token)\n← reference      native →")
    mean = Line2D([], [], color=INK, linewidth=2.2, label="mean over languages, its interval")
    script_legend(figure, looks, mean, lines=True)
    figure.draw_without_rendering()
    for panel, task in zip(axes[0], tasks, strict=False):
        rows = frame.filter(pl.col("task") == task).drop_nulls("log_ratio")
        last = rows.filter(pl.col("layer") == pl.col("layer").max()).sort("log_ratio")
        if last.height > MOST_NAMED:
            last = pl.concat([last.head(_ENDS), last.tail(_ENDS)])
        ends = {
            code: (float(layer), value, looks[code].colour)
            for code, layer, value in last.select("lang", "layer", "log_ratio").iter_rows()
        }
        (end_labels if rows["layer"].n_unique() > 1 else free_labels)(figure, panel, ends)
    return figure


def layers_axis(panel: Axes, layers: Iterable[int], panels: int) -> None:
    """Decoder layers along x, as many labelled as fit where so many panels stand side by side, the last among them."""
    present = sorted(set(layers))
    layer_axis(panel, present)
    step = -(-len(present) * panels // 13)
    panel.set_xticks(present[::-1][::step][::-1])


def _mean(panel: Axes, rows: pl.DataFrame, column: str, confidence: float, factor: float = 1, **look: Any) -> None:
    """The mean over languages with its interval as a band, as bars where there is a single layer."""
    its = over_languages(rows, column, confidence)
    if not its.height:
        return
    value, low, high = (factor * its[name].cast(pl.Float64).to_numpy() for name in ("mean", "low", "high"))
    look = {"colour": INK, "marker": "", "dash": "-", "label": "mean over languages"} | look
    line = curve(panel, its["layer"], value, low, high, **look)
    line.set_linewidth(2.2)
    if its.height == 1:
        whiskers(panel, its["layer"], value, low, high, colour=look["colour"], marker=look["marker"] or "o")


def latent_accuracy(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Accuracy of the native and the reference answers by layer, mean over languages with intervals (Fig. 2b)."""
    frame = tables["latent"].filter(pl.col("lang") != context.reference).sort("layer")
    tasks = frame["task"].unique(maintain_order=True).to_list()
    figure, axes = canvas(1, max(1, len(tasks)), height=4.0, sharey=True)
    looks = {
        "accuracy_native": ("native answers", PALETTE[1], "s", "-"),
        "accuracy_reference": ("the reference language's answers", PALETTE[0], "o", (0, (5, 2))),
        "accuracy_letters": ("letters of the choices", PALETTE[2], "^", (0, (1.5, 1.5))),
    }
    for panel, task in zip(axes[0], tasks, strict=False):
        rows = frame.filter(pl.col("task") == task)
        for column, (label, paint, shape, dash) in looks.items():
            look = {"colour": paint, "marker": shape, "dash": dash, "label": label}
            _mean(panel, rows, column, context.confidence, 100, **look)
        panel.axhline(100 * CHANCE, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1, label="chance")
        layers_axis(panel, rows["layer"], len(tasks))
        percent_axis(panel)
        headed(panel, TASK_TITLES[task])
    axes[0, 0].set_ylabel("accuracy, mean over languages (%)")
    shared_legend(figure, axes[0], columns=4)
    return figure


def latent_correlation(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Mean log ratio of each language against accuracy, consistency and transfer, with Pearson's r (Table 2)."""
    found = tables["latent_correlation"]
    tasks = found["task"].unique(maintain_order=True).to_list()
    points = correlated(tables, context.reference)
    looks = script_looks(points["lang"])
    figure, axes = canvas(max(1, len(tasks)), len(TARGETS), height=0.5 + 2.9 * max(1, len(tasks)), sharex="row")
    for line, task in zip(axes, tasks, strict=False):
        rows = points.filter(pl.col("task") == task)
        for panel, (target, (label, factor)) in zip(line, TARGETS.items(), strict=True):
            its = found.filter(pl.col("task") == task, pl.col("target") == target).to_dicts()
            first = panel is line[0] and len(tasks) > 1
            headed(panel, TASK_TITLES[task] if first else "", _strength(its[0]) if its else "")
            _scatter(panel, rows.drop_nulls(["log_ratio", target]), target, factor, looks)
            panel.set_ylabel(label)
    for panel in axes[-1]:
        panel.set_xlabel("mean log ratio over\nlayers (nats a token)")
    script_legend(figure, looks)
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for line, task in zip(axes, tasks, strict=False):
        for panel, (target, (_, factor)) in zip(line, TARGETS.items(), strict=True):
            rows = points.filter(pl.col("task") == task).drop_nulls(["log_ratio", target]).sort(target)
            if rows.height > MOST_NAMED:
                rows = pl.concat([rows.head(_ENDS), rows.tail(_ENDS)])
            label_points(
                figure, panel, rows["log_ratio"].to_list(), (factor * rows[target]).to_list(), rows["lang"].to_list()
            )
    return figure


def correlated(tables: Mapping[str, pl.DataFrame], reference: str) -> pl.DataFrame:
    """What Table 2 correlates, by task and language: log ratio over layers, accuracy, mean consistency and transfer."""
    key = ["task", "lang"]
    pairs = tables["transfer"]
    ratio = tables["latent"].filter(pl.col("lang") != reference).group_by(key, maintain_order=True)
    alike = pairs.rename({"lang_a": "lang"}).group_by(key).agg(pl.col("consistency").mean())
    into = pairs.rename({"lang_b": "lang"}).group_by(key).agg(pl.col("positive_transfer").mean())
    return (
        ratio.agg(pl.col("log_ratio").mean())
        .join(tables["answers"].select(*key, "accuracy"), on=key, how="left", maintain_order="left")
        .join(alike, on=key, how="left", maintain_order="left")
        .join(into, on=key, how="left", maintain_order="left")
    )


def _strength(found: Mapping[str, Any]) -> str:
    if found["r"] is None:  # fewer than three languages, or all alike
        return f"no r from n = {found['n']}"
    interval = "" if found["r_low"] is None else f" [{found['r_low']:.2f}, {found['r_high']:.2f}]"
    return f"r = {found['r']:.2f}{found['stars'] or ''}{interval}, n = {found['n']}".replace("-", "−")


def _scatter(panel: Axes, rows: pl.DataFrame, target: str, factor: float, looks: Mapping[str, Any]) -> None:
    x, y = rows["log_ratio"].to_numpy(), factor * rows[target].to_numpy()
    if len(x) > 1 and np.ptp(x) > 0:
        slope, level = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        panel.plot(ends, slope * ends + level, color=FAINT, linewidth=1.2, zorder=1)
    size = 7 if len(x) <= MOST_NAMED else 4.5
    for code, ratio, value in zip(rows["lang"], x, y, strict=True):
        look = looks[code]
        panel.plot(
            ratio,
            value,
            marker=look.marker,
            color=look.colour,
            linestyle="none",
            markersize=size,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=3,
        )
    if factor == 100:
        percent_axis(panel)
    panel.locator_params(axis="both", nbins=5)
    panel.margins(0.14)
