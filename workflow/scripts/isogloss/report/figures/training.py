"""Figures of what the study stands on: the language model's training and the SAEs' quality."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from isogloss.report.figures.axes import language_rows, layer_axis, percent_axis, shape_legend
from isogloss.report.figures.marks import spot
from isogloss.report.figures.style import FAINT, INK, PALETTE, canvas, colour, marker
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.trained import realised_shares

MOST_BESIDE = 16
"""Up to so many languages, their shares stand beside the loss; of more, below it."""


def training(tables: Tables, context: Context) -> Figure:
    """Loss by training tokens, and the languages' realised shares of the tokens beside the configured ones."""
    frame = tables["training"].sort("step")
    configured: Mapping[str, float] = context.settings["models"][context.model]["shares"]
    realised = realised_shares(frame)
    codes = context.by_group(configured) + [code for code in configured if code not in context.languages]
    if len(codes) > MOST_BESIDE:
        below = 1.2 + 0.2 * len(codes)
        figure, axes = canvas(2, 1, height=3.6 + below, height_ratios=[3.6, below])
    else:
        figure, axes = canvas(1, 2, height=4.1, width_ratios=[1.25, 1])
    left, right = axes.flat
    millions = frame["tokens"] / 1e6
    left.plot(millions, frame["loss"], color=PALETTE[0], alpha=0.25, linewidth=0.8)
    smooth = frame["loss"].rolling_mean(max(1, len(frame) // 50), min_samples=1, center=True)
    left.plot(millions, smooth, color=PALETTE[0])
    left.set_xlabel("training tokens (millions)")
    left.set_ylabel("cross-entropy (nats a token)")
    position = language_rows(right, codes, context)
    for code in codes:
        spot(right, 100 * configured[code], position[code], marker="|", markersize=15, markeredgewidth=2, color=INK)
        spot(right, 100 * realised[code], position[code], marker=marker(code, context), color=colour(code, context))
    right.set_xlim(0, 108 * max(*configured.values(), *realised.values()))
    percent_axis(right, "x", "share of the training tokens (%)")
    shape_legend(figure, {"configured": ("|", True), "realised": ("o", True)})
    return figure


def sae_quality(tables: Tables, _: Context) -> Figure:
    """Unexplained variance, active features a token and dead features of each layer's SAE."""
    frame = tables["sae_quality"].sort("layer")
    panels = {
        "variance unexplained (%)": (100 * frame["fvu"], "o"),
        "active features a token (L0)": (frame["l0"], "s"),
        "dead features (%)": (100 * frame["dead_features"] / frame["features"], "D"),
    }
    figure, axes = canvas(1, 3, height=3.1)
    for panel, paint, (label, (values, shape)) in zip(axes[0], PALETTE, panels.items(), strict=False):
        panel.vlines(frame["layer"], 0, values, color=FAINT, linewidth=1.2)
        spot(panel, frame["layer"], values, marker=shape, color=paint, clip_on=False, zorder=4)
        layer_axis(panel, frame["layer"])
        panel.locator_params(axis="x", nbins=7)
        panel.set_ylabel(label)
        panel.set_ylim(0, max([5.0, *(1.12 * values.drop_nulls())]))
        if "%" in label:
            percent_axis(panel)
    return figure
