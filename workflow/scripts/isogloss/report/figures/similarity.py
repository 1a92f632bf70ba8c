"""Figures of embedding similarity (paper A, sec. 2.2): Fig. 1 and the matrices of app. C.1."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isogloss.report.figures.axes import dashed_line, layer_axis, shared_legend
from isogloss.report.figures.looks import MOST_OWN
from isogloss.report.figures.marks import lines_by_group, square
from isogloss.report.figures.scripts import MOST_NAMED, blocks, rule_off
from isogloss.report.figures.style import DASHED, INK, canvas, spaced
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number

MOST_MATRICES = 9
MOST_WRITTEN = 7
"""Up to so many languages, a pair's cell has room for a number that can be read."""


def similarity(tables: Tables, context: Context) -> Figure:
    """Cosine of each language with the reference by layer, a panel a group (Fig. 1); shuffled pairs dotted."""
    frame = tables["similarity"].filter(pl.col("lang") != context.reference).sort("layer")
    figure, axes = canvas(1, 2, height=4.3, sharey=True)
    lines_by_group(axes[0], frame, "cosine", context, dotted="cosine_shuffled")
    for panel in axes[0]:
        layer_axis(panel, frame["layer"])
    axes[0, 0].set_ylabel("cosine similarity to the reference")
    label = "shuffled pairs, " + ("mean" if frame["lang"].n_unique() > MOST_OWN else "same colours")
    axes[0, len(context.groups) - 1].plot([], [], color=INK, linestyle=":", label=label)
    shared_legend(figure, axes[0], columns=4)
    return figure


def retrieval(tables: Tables, context: Context) -> Figure:
    """Mean reciprocal rank of the reference's text by layer, each language asking, a panel a group; chance dashed."""
    frame = tables["similarity"].filter(pl.col("lang") != context.reference).sort("layer")
    figure, axes = canvas(1, 2, height=4.3, sharey=True)
    lines_by_group(axes[0], frame, "retrieval", context, interval="retrieval_ci")
    for panel in axes[0]:
        layer_axis(panel, frame["layer"])
        dashed_line(panel, frame["retrieval_chance"][0])  # that of one pool of texts at every layer
    axes[0, 0].set_ylabel("mean reciprocal rank of the reference's text")
    axes[0, 0].set_ylim(0, 1.03)
    axes[0, len(context.groups) - 1].plot([], [], color=INK, linestyle=DASHED, label="chance")
    shared_legend(figure, axes[0], columns=4)
    return figure


def similarity_pairs(tables: Tables, context: Context) -> Figure:
    """Cosine of all pairs of languages by script and family, a matrix a layer (app. C.1); of many layers, nine.

    A pair stands once, below the diagonal.
    """
    frame = tables["similarity_pairs"].filter(pl.col("lang_a") != pl.col("lang_b"))
    layers = spaced(sorted(frame["layer"].unique()), MOST_MATRICES)
    codes = context.ordered({*frame["lang_a"], *frame["lang_b"]})
    columns = max(1, min(len(layers), 2 if len(layers) <= 4 else 3))
    rows = max(1, -(-len(layers) // columns))
    figure, axes = canvas(rows, columns, height=0.3 + rows * (7.6 / columns + 0.15 if columns > 1 else 5.4))
    values = frame["cosine"].drop_nulls().to_list()
    norm = Normalize(min(values, default=0.0), max([*values, min(values, default=0.0) + 1e-9]))
    drawn = list(axes.flat)
    for panel in drawn[len(layers) :]:
        panel.set_visible(False)
    for panel, layer in zip(drawn, layers, strict=False):
        pairs = frame.filter(layer=layer).select("lang_a", "lang_b", "cosine").rows()
        matrix = square([*pairs, *((b, a, cosine) for a, b, cosine in pairs)], codes)
        matrix[np.triu_indices(len(codes))] = np.nan
        _triangle(panel, matrix, codes, norm, written=len(codes) <= MOST_WRITTEN)
        panel.set_title(f"decoder layer {layer}")
    for panel in axes[:, 0]:
        panel.set_ylabel("language")
    for panel in axes[-1]:
        panel.set_xlabel("language")
    bar: dict[str, Any] = {"label": "cosine similarity", "shrink": 0.6, "aspect": 30, "location": "right"}
    figure.colorbar(ScalarMappable(norm, "cividis"), ax=axes, **bar)
    return figure


def _triangle(panel: Axes, matrix: np.ndarray, codes: list[str], norm: Normalize, *, written: bool) -> None:
    panel.imshow(np.ma.masked_invalid(matrix), cmap="cividis", norm=norm, interpolation="nearest")
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    if len(codes) <= MOST_NAMED:
        size = 8 if len(codes) <= 12 else 5.5
        panel.set_xticks(range(len(codes)), codes, fontsize=size, rotation=90 if len(codes) > 12 else 0)
        panel.set_yticks(range(len(codes)), codes, fontsize=size)
    else:
        runs = blocks(codes)
        middles, titles = [(first + last) / 2 for _, first, last in runs], [title for title, _, _ in runs]
        panel.set_xticks(middles, titles, fontsize=6.5, rotation=60, ha="right", rotation_mode="anchor")
        panel.set_yticks(middles, titles, fontsize=6.5)
    rule_off(panel, codes)
    for (row, column), value in np.ndenumerate(matrix):
        if written and not np.isnan(value):
            text = number(float(value), 2).replace("0.", ".", 1)
            paint = "white" if norm(value) < 0.55 else INK
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=paint)
