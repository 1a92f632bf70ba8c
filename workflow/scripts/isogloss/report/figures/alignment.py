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
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import named
from isogloss.report.wanted import runs_for


def at_target(frame: pl.DataFrame, context: Context, kind: str) -> pl.DataFrame:
    """The rows of a kind's runs at each run's target layer, for the languages that it aligned and the reference."""
    aligned = [
        (run, context.runs[run]["target_layer"], code)
        for run in runs_for(context.settings, kind)
        for code in [context.reference, *context.runs[run]["languages"]]
    ]
    keys = {"run": pl.String, "layer": frame["layer"].dtype, "lang": pl.String}
    return pl.DataFrame(aligned, schema=keys, orient="row").join(frame, on=list(keys), maintain_order="left")


def alignment_gain(tables: Tables, context: Context) -> Figure:
    """Gain of each language at the target layer of runs on several languages, and the means behind it (Fig. 4).

    In the language's colour the gain of held-out features, in grey beside it the in-sample one.
    """
    frame = at_target(tables["alignment_gain"], context, "several")
    runs = list(frame["run"].unique(maintain_order=True))
    codes = context.by_group(frame["lang"])
    figure, axes = canvas(len(runs), 2, height=0.9 + len(runs) * (1.0 + 0.4 * len(codes)), width_ratios=[1.35, 1])
    for (left, right), run in zip(axes, runs, strict=True):
        rows = frame.filter(run=run)
        left.set_title(_heading(run, rows, context), pad=16)
        position = language_rows(left, codes, context)
        language_rows(right, codes, context, labelled=False)
        for row in rows.iter_rows(named=True):
            code, at = row["lang"], position[row["lang"]]
            paint, shape = colour(code, context), marker(code, context)
            bars(left, at - 0.12, row, "gain_held_out_pct", "held_out_ci", colour=paint, marker=shape, markersize=7)
            bars(left, at + 0.24, row, "gain_pct", "ci", **_IN_SAMPLE)
            span(right, (row["before"], row["after"]), at, paint)
            spot(right, row["before"], at, marker=shape, markerfacecolor="white", markeredgecolor=paint, zorder=3)
            spot(right, row["after"], at, marker=shape, color=paint)
        right.set_xlim(0, 1.06 * max([1e-9, *rows["before"].drop_nulls(), *rows["after"].drop_nulls()]))
        zero_line(left, "x")
        percent_axis(left, "x", "activation gain (%)")
        right.set_xlabel("mean activation, all features (SAE units)")
    gains = {"held-out features": ("o", True), "in-sample (grey)": ("D", True)}
    shape_legend(figure, {**gains, "right: before": ("o", False), "right: after": ("o", True)})
    return figure


_IN_SAMPLE: dict[str, Any] = {"colour": FAINT, "marker": "D", "markersize": 4.5, "elinewidth": 1.0}


def _heading(run: str, rows: pl.DataFrame, context: Context) -> str:
    """A run's target layer, its loss where it has one of its own, and how many features are held out."""
    settings = context.runs[run]
    loss = f", inactive: {settings['inactive']}" if settings["inactive"] else ""
    apart = rows["n_features_held_out"].drop_nulls()
    held = f"\n{apart[0]} held-out features" if len(apart) else ""
    return f"{run}, target layer {settings['target_layer']}{loss}{held}"


def alignment_gain_layers(tables: Tables, context: Context) -> Figure:
    """Gain and the reference's retention by target layer, of runs on a single language (Fig. 5, Tables 7, 8).

    In the language's colour those of held-out features, hollow beside them the in-sample ones.
    """
    frame = at_target(tables["alignment_gain"], context, "single").filter(pl.col("lang") != context.reference)
    codes = context.by_group(frame["lang"])
    figure, axes = canvas(1, 2, height=4.1)
    left, right = axes[0]
    for i, code in enumerate(codes):
        rows = frame.filter(lang=code).sort("layer")
        # Languages that were aligned at the same layer stand side by side.
        at = rows["layer"].to_numpy() + 0.24 * (i - (len(codes) - 1) / 2)
        look = language_look(code, context)
        hollow: dict[str, Any] = {**look, "markerfacecolor": "white", "markeredgecolor": look["colour"]}
        hollow |= {"markersize": 4.5, "elinewidth": 0.8, "markeredgewidth": 1.0}
        for panel, column, interval in ((left, "gain", ""), (right, "retention", "retention_")):
            held = estimates(rows, f"{column}_held_out_pct", f"{interval}held_out_ci")
            whiskers(panel, at, *held, **look, label=named(code))
            whole = estimates(rows, f"{column}_pct", f"{interval}ci")
            whiskers(panel, at + 0.1, *whole, **hollow, label=f"{named(code)}, in-sample")
    for panel in (left, right):
        layer_axis(panel, frame["layer"])
        panel.set_xlabel("target layer (decoder layer, 0-based)")
    zero_line(left)
    percent_axis(left, label="activation gain (%)")
    dashed_line(right, 100, color=FAINT)
    percent_axis(right, label="retention of the reference (%)")
    shared_legend(figure, [left], columns=4)
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
