"""Figures of activation alignment (paper A, sec. 2.6 and 3.3): Figs 4 and 5, Tables 5 to 8, and the loss."""

from typing import Any

import polars as pl
from matplotlib.figure import Figure

from isogloss.report.figures.axes import (
    dashed_line,
    language_rows,
    layer_axis,
    percent_axis,
    shape_legend,
    shared_legend,
    zero_line,
)
from isogloss.report.figures.marks import bars, estimates, span, spot, whiskers
from isogloss.report.figures.style import DASHES, FAINT, PALETTE, SHAPES, canvas, colour, language_look, marker
from isogloss.report.shared.aligned import at_target
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, named


def alignment_gain(tables: Tables, context: Context) -> Figure:
    """Gain of each language at the target layer of runs on several languages, and the means behind it (Fig. 4).

    Apart from one another: features held out of training, all features (in-sample), their mean activation before and
    after, and below, of both, what the reference keeps.
    """
    frame = at_target(tables["alignment_gain"], context, "several")
    runs = list(frame["run"].unique(maintain_order=True))
    codes = context.by_group(frame.filter(pl.col("lang") != context.reference)["lang"])
    tall, low = 0.9 + 0.27 * max(3, len(codes)), 1.15
    ratios = [tall, low] * len(runs)
    figure, axes = canvas(2 * len(runs), 3, height=0.7 + sum(ratios), height_ratios=ratios)
    for at, run in enumerate(runs):
        rows = frame.filter(run=run)
        _gains(axes[2 * at], rows, codes, context)
        axes[2 * at, 0].set_title(_heading(run, rows, context), pad=20)
        axes[2 * at, 1].sharex(axes[2 * at, 0])
        _retention(axes[2 * at + 1], rows.filter(lang=context.reference), context)
    shape_legend(figure, {"before": ("o", False), "after": ("o", True)})
    return figure


def _gains(panels: Any, rows: pl.DataFrame, codes: list[str], context: Context) -> None:
    held, whole, means = panels
    position = {panel: language_rows(panel, codes, context, labelled=panel is held) for panel in panels}[held]
    for row in rows.filter(pl.col("lang") != context.reference).iter_rows(named=True):
        code, at = row["lang"], position[row["lang"]]
        paint, shape = colour(code, context), marker(code, context)
        bars(held, at, row, "gain_held_out_pct", "held_out_ci", colour=paint, marker=shape)
        bars(whole, at, row, "gain_pct", "ci", colour=paint, marker=shape)
        span(means, (row["before"], row["after"]), at, paint)
        spot(means, row["before"], at, marker=shape, markerfacecolor="white", markeredgecolor=paint, zorder=3)
        spot(means, row["after"], at, marker=shape, color=paint)
    means.set_xlim(0, 1.06 * max([1e-9, *rows["before"].drop_nulls(), *rows["after"].drop_nulls()]))
    for panel, label in ((held, "gain of held-out features (%)"), (whole, "gain of all features,\nin-sample (%)")):
        zero_line(panel, "x")
        percent_axis(panel, "x", label)
        panel.locator_params(axis="x", nbins=4)
    means.set_xlabel("mean activation, all features\n(SAE units)")


def _retention(panels: Any, reference: pl.DataFrame, context: Context) -> None:
    """What the reference keeps of its activation, on held-out features and on all."""
    columns = (("retention_held_out_pct", "retention_held_out_ci"), ("retention_pct", "retention_ci"))
    for panel, (column, interval) in zip(panels, columns, strict=False):
        language_rows(panel, [context.reference], context, labelled=panel is panels[0])
        dashed_line(panel, 100, "x", color=FAINT)
        for row in reference.iter_rows(named=True):
            bars(panel, 0, row, column, interval, **language_look(context.reference, context))
        percent_axis(panel, "x", "kept of its activation (%)")
        panel.locator_params(axis="x", nbins=4)
        panel.set_ylim(0.6, -0.6)
    panels[2].set_visible(False)


def _heading(run: str, rows: pl.DataFrame, context: Context) -> str:
    """A run's target layer, its loss where it has one of its own, and how many features are held out."""
    settings = context.runs[run]
    loss = f", inactive: {settings['inactive']}" if settings["inactive"] else ""
    apart = rows["n_features_held_out"].drop_nulls()
    held = f"\n{apart[0]} held-out features" if len(apart) else ""
    return f"{run}, target layer {settings['target_layer']}{loss}{held}"


def alignment_gain_layers(tables: Tables, context: Context) -> Figure:
    """Gain and the reference's retention by target layer, of runs on a single language (Fig. 5, Tables 7, 8).

    Apart from one another: the gain of features held out of training, that of all, in-sample, and the retention, in
    which features held out of training are filled and all are hollow.
    """
    frame = at_target(tables["alignment_gain"], context, "single").filter(pl.col("lang") != context.reference)
    codes = context.by_group(frame["lang"])
    figure, axes = canvas(1, 3, height=4.1)
    held, whole, kept = axes[0]
    whole.sharey(held)
    for i, code in enumerate(codes):
        rows = frame.filter(lang=code).sort("layer")
        # Languages that were aligned at the same layer stand side by side.
        at = rows["layer"].to_numpy() + 0.24 * (i - (len(codes) - 1) / 2)
        look = language_look(code, context)
        hollow: dict[str, Any] = {**look, "markerfacecolor": "white", "markeredgecolor": look["colour"]}
        hollow |= {"markeredgewidth": 1.0}
        whiskers(held, at, *estimates(rows, "gain_held_out_pct", "held_out_ci"), **look, label=named(code))
        whiskers(whole, at, *estimates(rows, "gain_pct", "ci"), **hollow, label=f"{named(code)}, in-sample")
        whiskers(kept, at, *estimates(rows, "retention_held_out_pct", "retention_held_out_ci"), **look)
        whiskers(kept, at + 0.1, *estimates(rows, "retention_pct", "retention_ci"), **hollow)
    for panel in (held, whole, kept):
        layer_axis(panel, frame["layer"], 3)
        panel.set_xlabel("target layer\n(decoder layer, 0-based)")
    titles = ("held-out features", "all features, in-sample", f"what {name(context.reference)} keeps")
    for panel, title in zip((held, whole, kept), titles, strict=True):
        panel.set_title(title)
    for panel in (held, whole):
        zero_line(panel)
        percent_axis(panel, label="activation gain (%)")
    dashed_line(kept, 100, color=FAINT)
    percent_axis(kept, label="retention of the reference (%)")
    shared_legend(figure, [held, whole], columns=4)
    return figure


def alignment_loss(tables: Tables, context: Context) -> Figure:
    """Loss of each run, its two terms and the share of pairs with an inactive feature, by optimiser step."""
    unit = "squared SAE units" if context.settings["alignment"]["distance"] == "squared" else "SAE units"
    columns = {
        "loss": f"loss\n({unit})",
        "alignment_term": f"alignment term\n({unit})",
        "retention_term": f"retention term\n({unit})",
        "inactive_share": "pairs with the feature off (%)",
    }
    figure, axes = canvas(2, 2, height=5.6, sharex=True)
    for panel, (column, label) in zip(axes.flat, columns.items(), strict=True):
        for i, run in enumerate(context.runs):
            frame = tables[run].sort("step")
            values = frame[column] * (100 if column == "inactive_share" else 1)
            paint = PALETTE[i % len(PALETTE)]
            look: dict[str, Any] = {"linestyle": DASHES[i % len(DASHES)], "marker": SHAPES[i % len(SHAPES)]}
            look["markevery"] = (i * max(1, len(values) // 40), max(1, len(values) // 4))
            panel.plot(frame["step"], values, color=paint, alpha=0.15, linewidth=0.7)
            smooth = values.rolling_mean(max(1, len(values) // 10), min_samples=1, center=True)
            panel.plot(frame["step"], smooth, color=paint, label=run, **look)
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
    percent_axis(axes[1, 1])
    for panel in axes[1]:
        panel.set_xlabel("optimiser step")
    shared_legend(figure, [axes[0, 0]], columns=4)
    return figure
