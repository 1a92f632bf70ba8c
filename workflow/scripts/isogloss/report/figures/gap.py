"""Figures of the activation gap (paper A, sec. 2.5): Figs 3, 7 and 8 and the gap's controls."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import (
    language_rows,
    layer_axis,
    percent_axis,
    percent_by_layer,
    shape_legend,
    shared_legend,
    zero_line,
)
from isogloss.report.figures.marks import bars, curve, estimates, lines_by_group, span, spot, whiskers
from isogloss.report.figures.style import DASHES, FAINT, INK, PALETTE, Look, canvas, colour, language_look, marker
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import GROUP_TITLES, name

_LOOKS = (Look(PALETTE[0], "o"), Look(PALETTE[1], "s", DASHES[1]))
CORRECTED, PUBLISHED = "without_reference", "with_reference"  # variants of the group gap


def group_gap(tables: Tables, context: Context) -> Figure:
    """Gap between the groups by layer, corrected and as published (Fig. 3, Table 1), and what the latter adds."""
    frame, reference = tables["group_gap"].sort("layer"), name(context.reference)
    figure, axes = canvas(1, 2, height=3.9, width_ratios=[1.7, 1])
    left, right = axes[0]
    titles = {
        CORRECTED: f"{reference} left out (corrected)",
        PUBLISHED: f"{reference} among the high-resource\n(as published; too large by selection)",
    }
    _two_lines(left, frame, "variant", titles, "gap_pct")
    percent_by_layer(left, frame["layer"], "activation gap between the groups (%)")
    pairs = frame.filter(variant=CORRECTED).join(frame.filter(variant=PUBLISHED), on="layer", suffix="_published")
    added = pairs.select("layer", added=pl.col("gap_pct_published") - pl.col("gap_pct")).drop_nulls()
    right.vlines(added["layer"], 0, added["added"], color=FAINT, linewidth=1.2, zorder=2)
    spot(right, added["layer"], added["added"], marker="D", color=INK, zorder=3)
    percent_by_layer(right, frame["layer"])
    right.yaxis.set_major_formatter("{x:g}")
    right.set_ylabel(f"what {reference} adds (points)")
    shared_legend(figure, [left], columns=2)
    return figure


def group_activation(tables: Tables, context: Context) -> Figure:
    """Mean activation of each group by layer, a panel a variant, the corrected one first (Fig. 8)."""
    frame, reference = tables["group_activation"].sort("layer"), name(context.reference)
    titles = {CORRECTED: f"{reference} left out (corrected)", PUBLISHED: f"{reference} among the high-resource"}
    variants = [variant for variant in titles if variant in set(frame["variant"])]
    figure, axes = canvas(1, len(variants), height=3.9, sharey=True)
    for panel, variant in zip(axes[0], variants, strict=True):
        panel.set_title(titles[variant])
        _two_lines(panel, frame.filter(variant=variant), "group", GROUP_TITLES, "mean_activation")
        layer_axis(panel, frame["layer"])
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("mean activation (SAE units)")
    shared_legend(figure, axes[0], columns=2)
    return figure


def _two_lines(panel: Axes, frame: pl.DataFrame, by: str, titles: Mapping[str, str], column: str) -> None:
    """A column over layers, a line for each of two values of `by` that has rows."""
    for look, (value, title) in zip(_LOOKS, titles.items(), strict=True):
        rows = frame.filter(pl.col(by) == value)
        if rows.height:
            values = estimates(rows, column, "ci")
            curve(panel, rows["layer"], *values, **look._replace(label=title)._asdict())
            if rows.height == 1:  # a band has no width there
                whiskers(panel, rows["layer"], *values, colour=look.colour, marker=look.marker)


def language_gap(tables: Tables, context: Context) -> Figure:
    """Gap of each language to the reference by layer (Fig. 7); its mean over layers (Table 10) beside the tokens."""
    frame = tables["language_gap"].filter(pl.col("lang") != context.reference).sort("layer")
    summary = tables["language_gap_summary"].filter(pl.col("lang") != context.reference)
    codes = context.by_group(frame["lang"])
    below = 0.8 + 0.3 * max(3, len(codes))
    figure, axes = canvas(2, 2, height=3.4 + below, height_ratios=[3.2, below])
    lines_by_group(axes[0], frame, "gap_pct", context)
    for panel in axes[0]:
        percent_by_layer(panel, frame["layer"])
    axes[0, 1].sharey(axes[0, 0])
    axes[0, 0].autoscale(axis="y")
    axes[0, 0].set_ylabel(f"gap to {name(context.reference)} (%)")
    means, tokens = _split_row(figure, axes, 1)
    _means_over_layers(means, summary, codes, context)
    taken = tables["activation_controls"].group_by("lang", maintain_order=True).agg(pl.col("token_ratio").mean())
    position = language_rows(tokens, codes, context, labelled=False)
    for code, ratio in taken.filter(pl.col("lang").is_in(codes)).iter_rows():
        spot(tokens, ratio, position[code], marker=marker(code, context), color=colour(code, context), zorder=3)
    tokens.axvline(1, color=FAINT, linewidth=0.9, zorder=1)
    tokens.margins(x=0.2)
    tokens.locator_params(axis="x", nbins=4)
    tokens.set_xlabel(f"tokens /\n{name(context.reference)}'s tokens")
    shared_legend(figure, axes[0], columns=5)
    return figure


def _split_row(figure: Figure, axes: Any, row: int) -> tuple[Axes, Axes]:
    """A wide and a narrow panel in place of the two of a row."""
    for panel in axes[row]:
        panel.remove()
    inner = axes[row, 0].get_gridspec()[row, :].subgridspec(1, 2, width_ratios=[3.2, 1])
    return figure.add_subplot(inner[0, 0]), figure.add_subplot(inner[0, 1])


def _whole_row(figure: Figure, axes: Any, row: int) -> Axes:
    """One panel in place of the two of a row."""
    for panel in axes[row]:
        panel.remove()
    return figure.add_subplot(axes[row, 0].get_gridspec()[row, :])


def _means_over_layers(panel: Axes, summary: pl.DataFrame, codes: Sequence[str], context: Context) -> None:
    position = language_rows(panel, codes, context)
    for row in summary.drop_nulls("mean_gap_pct").iter_rows(named=True):
        code, mean, deviation = row["lang"], row["mean_gap_pct"], row["std_gap_pct"] or 0.0  # null for one layer
        broad: dict[str, Any] = {"alpha": 0.25, "linewidth": 6, "solid_capstyle": "butt"}
        ends = [mean - deviation, mean + deviation]
        panel.plot(ends, [position[code]] * 2, zorder=2, color=colour(code, context), label=f"interval {code}", **broad)
        bars(panel, position[code], row, "mean_gap_pct", "ci", **language_look(code, context))
    zero_line(panel, "x")
    percent_axis(
        panel, "x", f"gap to {name(context.reference)} (%), mean over layers;\nbroad bar: ± standard deviation"
    )


CONTROLS = {
    "gap_pct": Look(PALETTE[0], "o", "-", "own feature"),
    "gap_equal_tokens_pct": Look(PALETTE[4], "D", DASHES[1], "own feature,\nequal token counts"),
    "gap_shuffled_pct": Look(PALETTE[3], "^", DASHES[2], "feature of\nanother phrase"),
    "gap_random_pct": Look(FAINT, "X", DASHES[3], "random feature"),
}


def activation_controls(tables: Tables, context: Context) -> Figure:
    """The gap beside what would fake it: other features, longer texts, more tokens."""
    frame = tables["activation_controls"].filter(pl.col("lang") != context.reference).sort("layer")
    codes = context.by_group(frame["lang"])
    below = max(3.3, 0.7 + 0.2 * len(codes))
    figure, axes = canvas(2, 2, height=3.7 + below, height_ratios=[1, below / 3])
    above = _whole_row(figure, axes, 0)
    means = frame.group_by("layer", maintain_order=True).agg(pl.col(list(CONTROLS)).mean())
    for column, look in CONTROLS.items():
        curve(above, means["layer"], means[column], **look._asdict())
    percent_by_layer(above, frame["layer"], "gap to the reference (%),\nmean over languages")
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.2)

    measured = ("gap_pct", "gap_equal_tokens_pct", "token_ratio", "characters_per_token")
    by_language = frame.group_by("lang", maintain_order=True).agg(pl.col(measured).mean())
    _controls_by_language(axes[1], by_language, codes, context)
    shape_legend(figure, {"as measured": ("o", True), "at equal token counts": ("D", False)})
    return figure


def _controls_by_language(panels: Sequence[Axes], means: pl.DataFrame, codes: Sequence[str], context: Context) -> None:
    """On the left the gap as measured and at equal token counts, on the right how many tokens a language takes."""
    left, right = panels
    position = language_rows(left, codes, context)
    language_rows(right, codes, context, labelled=False)
    for row in means.iter_rows(named=True):
        paint, at = colour(row["lang"], context), position[row["lang"]]
        span(left, (row["gap_pct"], row["gap_equal_tokens_pct"]), at, paint)
        spot(left, row["gap_equal_tokens_pct"], at, marker="D", color="white", markeredgecolor=paint, zorder=3)
        spot(left, row["gap_pct"], at, marker="o", color=paint, zorder=4)
        spot(right, row["token_ratio"], at, marker=marker(row["lang"], context), color=paint, zorder=3)
        note, point = f"{row['characters_per_token']:.1f} characters/token", (row["token_ratio"], at)
        right.annotate(note, point, xytext=(8, 0), textcoords="offset points", va="center", fontsize=7.5)
    zero_line(left, "x")
    percent_axis(left, "x", "gap, mean over layers (%)")
    right.axvline(1, color=FAINT, linewidth=0.9, zorder=1)
    ratios = means["token_ratio"].to_list()
    low, high = min(0.9, *ratios), max(1.1, *ratios)
    right.set_xlim(low - 0.1 * (high - low), high + 1.15 * (high - low))  # room for the annotations
    right.set_xlabel(f"tokens / {name(context.reference)}'s tokens")
