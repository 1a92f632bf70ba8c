"""Figures of the activation gap (paper A, sec. 2.5): Figs 3, 7 and 8 and the gap's controls."""

from collections.abc import Mapping

import polars as pl
from matplotlib.figure import Figure

from isogloss.report.figures.style import (
    FAINT,
    PALETTE,
    Context,
    by_group,
    canvas,
    colour,
    curve,
    divide_groups,
    language_rows,
    layer_axis,
    marker,
    percent_axis,
    shape_legend,
    shared_legend,
    span,
    spot,
    whiskers,
    zero_line,
)
from isogloss.report.wording import named

VARIANTS = {"with_reference": "reference in high-resource", "without_reference": "reference left out"}
GROUPS = {"high_resource": "high-resource", "medium_low_resource": "medium-to-low-resource"}


def group_gap(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Gap between the groups by layer, both variants with intervals (Fig. 3, Table 1)."""
    frame = tables["group_gap"].sort("layer")
    figure, axes = canvas(height=3.9)
    panel = axes[0, 0]
    looks = {"with_reference": (PALETTE[0], "o", "-"), "without_reference": (PALETTE[1], "s", (0, (5, 2)))}
    for variant, (paint, shape, dash) in looks.items():
        rows = frame.filter(pl.col("variant") == variant)
        if not rows.is_empty():
            label = VARIANTS[variant] + (" (headline)" if variant == context.variant else "")
            curve(
                panel,
                rows["layer"],
                rows["gap_pct"],
                rows["ci_low"],
                rows["ci_high"],
                colour=paint,
                marker=shape,
                dash=dash,
                label=label,
            )
    zero_line(panel)
    layer_axis(panel, frame["layer"])
    percent_axis(panel)
    panel.set_ylabel("activation gap between the groups (%)")
    shared_legend(figure, [panel], columns=2)
    return figure


def group_activation(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Mean activation of each group by layer, a panel a variant (Fig. 8)."""
    frame = tables["group_activation"].sort("layer")
    variants = [v for v in VARIANTS if v in set(frame["variant"])]
    figure, axes = canvas(1, len(variants), height=3.9, sharey=True)
    looks = {"high_resource": (PALETTE[0], "o", "-"), "medium_low_resource": (PALETTE[1], "s", (0, (5, 2)))}
    for panel, variant in zip(axes[0], variants, strict=True):
        panel.set_title(VARIANTS[variant])
        for group, (paint, shape, dash) in looks.items():
            rows = frame.filter((pl.col("variant") == variant) & (pl.col("group") == group))
            curve(
                panel,
                rows["layer"],
                rows["mean_activation"],
                rows["ci_low"],
                rows["ci_high"],
                colour=paint,
                marker=shape,
                dash=dash,
                label=GROUPS[group],
            )
        layer_axis(panel, frame["layer"])
        panel.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("mean activation (SAE units)")
    shared_legend(figure, axes[0], columns=2)
    return figure


def language_gap(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Gap of each language against the reference by layer (Fig. 7), and its mean over layers (Table 10)."""
    frame = tables["language_gap"].filter(pl.col("lang") != context.reference).sort("layer")
    summary = tables["language_gap_summary"].filter(pl.col("lang") != context.reference)
    codes = by_group(frame["lang"], context)
    figure, axes = canvas(2, 2, height=6.9, height_ratios=[1.25, 1])
    for panel, (group, members) in zip(axes[0], context.groups.items(), strict=True):
        panel.set_title(group)
        for code in [c for c in codes if c in members]:
            rows = frame.filter(pl.col("lang") == code)
            curve(
                panel,
                rows["layer"],
                rows["gap_pct"],
                rows["ci_low"],
                rows["ci_high"],
                colour=colour(code),
                marker=marker(code),
                dash=context.dash(code),
                label=named(code),
            )
        zero_line(panel)
        layer_axis(panel, frame["layer"])
        percent_axis(panel)
    axes[0, 1].sharey(axes[0, 0])
    axes[0, 0].autoscale(axis="y")
    axes[0, 0].set_ylabel("gap to the reference (%)")
    for panel in axes[1]:
        panel.remove()
    below = figure.add_subplot(axes[1, 0].get_gridspec()[1, :])
    place = language_rows(below, codes)
    for row in summary.drop_nulls("mean_gap_pct").iter_rows(named=True):
        code, mean, deviation = row["lang"], row["mean_gap_pct"], row["std_gap_pct"] or 0.0  # null for one layer
        below.plot(
            [mean - deviation, mean + deviation],
            [place[code]] * 2,
            color=colour(code),
            alpha=0.25,
            linewidth=6,
            solid_capstyle="butt",
            zorder=2,
            label=f"interval {code}",
        )
        whiskers(
            below,
            [place[code]],
            [mean],
            [row["ci_low"]],
            [row["ci_high"]],
            colour=colour(code),
            marker=marker(code),
            horizontal=True,
        )
    divide_groups(below, codes, context)
    zero_line(below, "x")
    percent_axis(below, "x")
    below.set_xlabel("gap to the reference (%), mean over layers; broad bar: ± standard deviation over layers")
    shared_legend(figure, axes[0], columns=5)
    return figure


def activation_controls(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """The gap beside what would fake it: other features, longer texts, more tokens."""
    frame = tables["activation_controls"].filter(pl.col("lang") != context.reference).sort("layer")
    codes = by_group(frame["lang"], context)
    figure, axes = canvas(2, 2, height=7.0, height_ratios=[1, 1.1])
    for panel in axes[0]:
        panel.remove()
    above = figure.add_subplot(axes[0, 0].get_gridspec()[0, :])
    looks = {
        "gap_pct": ("own feature", PALETTE[0], "o", "-"),
        "gap_equal_tokens_pct": ("own feature,\nequal token counts", PALETTE[4], "D", (0, (5, 2))),
        "gap_shuffled_pct": ("feature of\nanother phrase", PALETTE[5], "^", (0, (1.5, 1.5))),
        "gap_random_pct": ("random feature", FAINT, "X", (0, (5, 2, 1.5, 2))),
    }
    means = frame.group_by("layer", maintain_order=True).agg(pl.col(list(looks)).mean())
    for column, (label, paint, shape, dash) in looks.items():
        curve(above, means["layer"], means[column], colour=paint, marker=shape, dash=dash, label=label)
    zero_line(above)
    layer_axis(above, frame["layer"])
    percent_axis(above)
    above.set_ylabel("gap to the reference,\nmean over languages (%)")
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.2)

    measured = ("gap_pct", "gap_equal_tokens_pct", "token_ratio", "characters_per_token")
    by_language = frame.group_by("lang", maintain_order=True).agg(pl.col(measured).mean())
    left, right = axes[1]
    place = language_rows(left, codes)
    language_rows(right, codes)
    right.set_yticklabels([])
    for row in by_language.iter_rows(named=True):
        paint, at = colour(row["lang"]), place[row["lang"]]
        span(left, (row["gap_pct"], row["gap_equal_tokens_pct"]), at, paint)
        spot(left, row["gap_equal_tokens_pct"], at, marker="D", color="white", markeredgecolor=paint, zorder=3)
        spot(left, row["gap_pct"], at, marker="o", color=paint, zorder=4)
        spot(right, row["token_ratio"], at, marker=marker(row["lang"]), color=paint, zorder=3)
        right.annotate(
            f"{row['characters_per_token']:.1f} characters/token",
            (row["token_ratio"], at),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    for panel in (left, right):
        divide_groups(panel, codes, context)
    zero_line(left, "x")
    percent_axis(left, "x")
    left.set_xlabel("gap, mean over layers (%)")
    right.axvline(1, color=FAINT, linewidth=0.9, zorder=1)
    ratios = by_language["token_ratio"].to_list()
    low, high = min(0.9, *ratios), max(1.1, *ratios)
    right.set_xlim(low - 0.1 * (high - low), high + 1.15 * (high - low))  # room for the annotations
    right.set_xlabel("tokens / reference's tokens")
    shape_legend(figure, {"as measured": ("o", True), "at equal token counts": ("D", False)})
    return figure
