"""Figures of the logit lens on answers (paper B, sec. 2.2 and 4.2): Fig. 2 and what stands behind Table 2."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.report.figures.axes import (
    dashed_line,
    headed,
    layer_axis,
    legend,
    percent_axis,
    shared_legend,
    task_heading,
    task_panels,
    tasks_of,
    zero_line,
)
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.labels import end_labels, free_labels, label_points
from isogloss.report.figures.looks import point_looks
from isogloss.report.figures.marks import curve, spot, strength, trend, whiskers
from isogloss.report.figures.scripts import script_legend
from isogloss.report.figures.style import DASHES, INK, PALETTE, Look, canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.leanings import leanings
from isogloss.report.shared.means import over_languages

MOST_NAMED = 16
"""Up to so many lines or points are named; of more, those at the ends."""

_ENDS = 3
TARGETS = {
    "accuracy": ("accuracy (%)", 100),
    "consistency": ("mean consistency\nwith the others (ρ)", 1),
    "positive_transfer": ("mean positive transfer\nfrom the others (%)", 100),
}


def latent(tables: Tables, context: Context) -> Figure:
    """Log ratio of native to reference answers by layer: languages, and their mean with its interval (Fig. 2a).

    Below, in how many languages the interval tells that the lens prefers native answers, the reference's, or neither.
    """
    frame = tables["latent"].filter(pl.col("lang") != context.reference).sort("layer")
    if not frame.height:
        return in_words("No language beside the reference was asked.")
    tasks = tasks_of(frame)
    shape = {"height": 5.2, "sharey": "row", "sharex": "col", "height_ratios": (3.2, 1)}
    figure, axes = canvas(2, max(1, len(tasks)), **shape)
    looks = point_looks(frame["lang"], context)
    panels = [(axes[0, at], axes[1, at], frame.filter(task=task)) for at, task in enumerate(tasks)]
    for (panel, below, rows), task in zip(panels, tasks, strict=True):
        panel.set_title(task_heading(task, context, 3))
        many = rows["lang"].n_unique() > MOST_NAMED
        thin: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.45} if many else {"linewidth": 1, "markersize": 4}
        for code, look in looks.items():
            ratios = rows.filter(lang=code)
            if ratios.height:
                shape = "" if many and ratios.height > 1 else look.marker
                panel.plot(ratios["layer"], ratios["log_ratio"], color=look.colour, marker=shape, zorder=1.5, **thin)
        _mean(panel, rows, "log_ratio", context.confidence, Look(INK, "", label="mean over languages"))
        zero_line(panel)
        _leanings(below, leanings(rows))
        layer_axis(below, rows["layer"], len(panels))
    axes[0, 0].set_ylabel("log ratio of answers (nats a token)\n← reference      native →")
    axes[1, 0].set_ylabel("languages (%)")
    more = [Line2D([], [], color=INK, linewidth=2.2, label="mean over languages, its interval")]
    more += [Line2D([], [], color=paint, linewidth=7, label=label) for paint, label in _SIDES.values()]
    if len(looks) > MOST_NAMED:
        script_legend(figure, looks, *more, lines=True)
    else:
        legend(figure, list(more), [str(handle.get_label()) for handle in more], 2)
    figure.draw_without_rendering()
    for panel, _, rows in panels:
        rows = rows.drop_nulls("log_ratio")
        last = rows.filter(pl.col("layer") == pl.col("layer").max()).sort("log_ratio")
        ends = {
            code: (float(layer), value, looks[code].colour)
            for code, layer, value in _few(last).select("lang", "layer", "log_ratio").iter_rows()
        }
        (end_labels if rows["layer"].n_unique() > 1 else free_labels)(figure, panel, ends)
    return figure


_SIDES = {
    "reference": (PALETTE[0], "the reference's answers, by the interval"),
    "neither": ("#c8c8c8", "neither"),
    "native": (PALETTE[1], "native answers"),
}


def _leanings(panel: Axes, rows: pl.DataFrame) -> None:
    """A bar a layer: the shares of languages that lean to the reference, to neither and to themselves."""
    layers = sorted(set(rows["layer"]))
    width = 0.7 * min(np.diff(layers), default=1)
    bottom = np.zeros(rows.height)
    for side, (paint, _) in _SIDES.items():
        share = 100 * (rows[side] / rows["n"]).to_numpy()
        panel.bar(rows["layer"], share, width, bottom, color=paint)
        bottom = bottom + share
    percent_axis(panel)
    panel.set_yticks([0, 50, 100])
    panel.set_ylim(0, 100)


def _few(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that are named: all, or of many the first and the last."""
    return rows if rows.height <= MOST_NAMED else pl.concat([rows.head(_ENDS), rows.tail(_ENDS)])


def _mean(panel: Axes, rows: pl.DataFrame, column: str, confidence: float, look: Look, factor: float = 1) -> None:
    """The mean over languages with its interval as a band, as bars where there is a single layer."""
    means = over_languages(rows, column, confidence)
    if not means.height:
        return
    values = [factor * means[name].cast(pl.Float64).to_numpy() for name in ("mean", "low", "high")]
    curve(panel, means["layer"], *values, **look._asdict()).set_linewidth(2.2)
    if means.height == 1:
        whiskers(panel, means["layer"], *values, colour=look.colour, marker=look.marker or "o")


_ANSWERS = {
    "accuracy_native": Look(PALETTE[1], "s", "-", "native answers"),
    "accuracy_reference": Look(PALETTE[0], "o", DASHES[1], "the reference language's answers"),
    "accuracy_letters": Look(PALETTE[2], "^", DASHES[2], "letters of the choices"),
}


def latent_accuracy(tables: Tables, context: Context) -> Figure:
    """Accuracy of the native and the reference answers by layer, mean over languages with intervals (Fig. 2b)."""
    frame = tables["latent"].filter(pl.col("lang") != context.reference).sort("layer")
    if not frame.height:
        return in_words("No language beside the reference was asked.")
    figure, panels = task_panels(frame, context, height=4.0, sharey=True)
    for panel, rows in panels:
        for column, look in _ANSWERS.items():
            _mean(panel, rows, column, context.confidence, look, 100)
        for chance in rows["chance"].drop_nulls()[:1]:
            dashed_line(panel, 100 * chance, label="chance")
        layer_axis(panel, rows["layer"], len(panels))
        percent_axis(panel)
    figure.axes[0].set_ylabel("accuracy, mean over languages (%)")
    shared_legend(figure, figure.axes, columns=4)
    return figure


def latent_correlation(tables: Tables, context: Context) -> Figure:
    """Mean log ratio of each language against accuracy, consistency and transfer, with Pearson's r (Table 2)."""
    correlations = tables["latent_correlation"]
    tasks = tasks_of(correlations)
    points = correlated(tables, context.reference)
    looks = point_looks(points["lang"], context)
    figure, axes = canvas(max(1, len(tasks)), len(TARGETS), height=0.5 + 2.9 * max(1, len(tasks)), sharex="row")
    drawn: list[tuple[Axes, pl.DataFrame, str]] = []
    for line, task in zip(axes, tasks, strict=False):
        for panel, (target, (label, factor)) in zip(line, TARGETS.items(), strict=True):
            row = next(correlations.filter(task=task, target=target).iter_rows(named=True), None)
            first = panel is line[0] and len(tasks) > 1
            headed(
                panel,
                task_heading(task, context, 3) if first else "",
                strength(row, "r", row["stars"] or "") if row else "",
            )
            rows = points.filter(task=task).drop_nulls(["log_ratio", target])
            rows = rows.with_columns(pl.col(target) * factor)
            x, y = rows["log_ratio"].to_numpy(), rows[target].to_numpy()
            trend(panel, x, y)
            size = 7 if len(x) <= MOST_NAMED else 4.5
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.5, "markersize": size}
            for code, ratio, value in zip(rows["lang"], x, y, strict=True):
                spot(panel, ratio, value, marker=looks[code].marker, color=looks[code].colour, zorder=3, **edge)
            if factor == 100:
                percent_axis(panel)
            panel.locator_params(axis="both", nbins=5)
            panel.margins(0.14)
            panel.set_ylabel(label)
            drawn.append((panel, rows, target))
    for panel in axes[-1]:
        panel.set_xlabel("mean log ratio over\nlayers (nats a token)")
    script_legend(figure, looks)
    figure.draw_without_rendering()  # the layout must stand before labels can be kept apart
    for panel, rows, target in drawn:
        rows = _few(rows.sort(target))
        label_points(figure, panel, rows["log_ratio"], rows[target], rows["lang"])
    return figure


def correlated(tables: Tables, reference: str) -> pl.DataFrame:
    """What Table 2 correlates, by task and language: log ratio over layers, accuracy, mean consistency and transfer."""
    key = ["task", "lang"]
    pairs = tables["transfer"]
    ratio = tables["latent"].filter(pl.col("lang") != reference).group_by(key, maintain_order=True)
    alike = pairs.rename({"lang_a": "lang"}).group_by(key).agg(pl.col("consistency").mean())
    into = pairs.rename({"lang_b": "lang"}).group_by(key).agg(pl.col("positive_transfer").mean())
    points = ratio.agg(pl.col("log_ratio").mean())
    for measure in (tables["answers"].select(*key, "accuracy"), alike, into):
        points = points.join(measure, on=key, how="left", maintain_order="left")
    return points
