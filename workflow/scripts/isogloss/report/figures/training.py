"""Figures of what the study stands on: the language model's training and the SAEs' quality."""

from collections.abc import Mapping

import polars as pl
from matplotlib.figure import Figure

from isogloss.report.figures.style import (
    FAINT,
    INK,
    PALETTE,
    Context,
    by_group,
    canvas,
    colour,
    divide_groups,
    language_rows,
    layer_axis,
    marker,
    percent_axis,
    shape_legend,
)


def realised_shares(training: pl.DataFrame) -> dict[str, float]:
    """Share of the training tokens that each language had at the end, from the columns `share_{lang}`."""
    last = training.sort("step").row(-1, named=True)
    return {column.removeprefix("share_"): last[column] for column in training.columns if column.startswith("share_")}


def training(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Loss by training tokens, and the languages' realised shares of the tokens beside the configured ones."""
    frame = tables["training"].sort("step")
    configured: Mapping[str, float] = context.settings["models"][context.model]["shares"]
    realised = realised_shares(frame)
    figure, axes = canvas(1, 2, height=4.1, width_ratios=[1.25, 1])
    left, right = axes[0]
    millions = frame["tokens"] / 1e6
    left.plot(millions, frame["loss"], color=PALETTE[0], alpha=0.25, linewidth=0.8)
    smooth = frame["loss"].rolling_mean(max(1, len(frame) // 50), min_samples=1, center=True)
    left.plot(millions, smooth, color=PALETTE[0])
    left.set_xlabel("training tokens (millions)")
    left.set_ylabel("cross-entropy (nats a token)")
    codes = by_group(configured, context) + [c for c in configured if c not in context.languages]
    place = language_rows(right, codes)
    for code in codes:
        right.plot(
            100 * configured[code],
            place[code],
            marker="|",
            markersize=15,
            markeredgewidth=2,
            color=INK,
            linestyle="none",
        )
        right.plot(
            100 * realised[code], place[code], marker=marker(code), markersize=6, color=colour(code), linestyle="none"
        )
    divide_groups(right, codes, context)
    right.set_xlim(0, 108 * max(*configured.values(), *realised.values()))
    percent_axis(right, "x")
    right.set_xlabel("share of the training tokens (%)")
    shape_legend(figure, {"configured": ("|", True), "realised": ("o", True)})
    return figure


def sae_quality(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Unexplained variance, active features a token and dead features of each layer's SAE."""
    frame = tables["sae_quality"].sort("layer")
    dead = 100 * frame["dead_features"] / frame["features"]
    panels = {
        "variance unexplained (%)": (100 * frame["fvu"], "o"),
        "active features a token (L0)": (frame["l0"], "s"),
        "dead features (%)": (dead, "D"),
    }
    figure, axes = canvas(1, 3, height=3.1)
    for i, (panel, (label, (values, shape))) in enumerate(zip(axes[0], panels.items(), strict=True)):
        panel.vlines(frame["layer"], 0, values, color=FAINT, linewidth=1.2)
        panel.plot(
            frame["layer"],
            values,
            marker=shape,
            markersize=6,
            color=PALETTE[i],
            linestyle="none",
            clip_on=False,
            zorder=4,
        )
        layer_axis(panel, frame["layer"])
        panel.locator_params(axis="x", nbins=7)
        panel.set_ylabel(label)
        panel.set_ylim(0, max(5.0, 1.12 * max(values.to_list())))
        if "%" in label:
            percent_axis(panel)
    return figure
