"""Figures of embedding similarity (paper A, sec. 2.2): Fig. 1 and the matrices of app. C.1."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isogloss.languages import in_order
from isogloss.report.figures.axes import dashed_line, layer_axis, shared_legend
from isogloss.report.figures.marks import lines_by_group, square
from isogloss.report.figures.style import DASHED, INK, canvas, spaced
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number

MOST_MATRICES = 9


def similarity(tables: Tables, context: Context) -> Figure:
    """Cosine of each language with the reference by layer, a panel a group (Fig. 1); shuffled pairs dotted."""
    frame = tables["similarity"].filter(pl.col("lang") != context.reference).sort("layer")
    figure, axes = canvas(1, 2, height=4.3, sharey=True)
    lines_by_group(axes[0], frame, "cosine", context, dotted="cosine_shuffled")
    for panel in axes[0]:
        layer_axis(panel, frame["layer"])
    axes[0, 0].set_ylabel("cosine similarity to the reference")
    axes[0, len(context.groups) - 1].plot([], [], color=INK, linestyle=":", label="shuffled pairs, same colours")
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


def similarity_pairs(tables: Tables, _: Context) -> Figure:
    """Cosine of all pairs of languages, a matrix a layer (app. C.1); of many layers, nine evenly spaced."""
    import seaborn as sns  # brings pandas and scipy.stats, which no other figure waits for

    frame = tables["similarity_pairs"]
    layers = spaced(sorted(frame["layer"].unique()), MOST_MATRICES)
    codes = in_order(list({*frame["lang_a"], *frame["lang_b"]}))
    columns = min(len(layers), 2 if len(layers) <= 4 else 3)
    rows = -(-len(layers) // columns)
    written = columns <= 2  # numbers are legible only in large cells
    figure, axes = canvas(rows, columns, height=0.5 + rows * (3.7 if written else 2.7))
    cosines = frame.filter(pl.col("lang_a") != pl.col("lang_b"))["cosine"]
    names: dict[str, Any] = {"xticklabels": codes, "yticklabels": codes}
    norm = Normalize(min(cosines.to_list(), default=0), 1)
    for panel, layer in zip(axes.flat, layers, strict=False):
        pairs = frame.filter(layer=layer).select("lang_a", "lang_b", "cosine").rows()
        both = [*((code, code, 1.0) for code in codes), *pairs, *((b, a, cosine) for a, b, cosine in pairs)]
        matrix = square(both, codes)
        cells = {"annot": _written(matrix) if written else None, "fmt": "", "annot_kws": {"fontsize": 7}, **names}
        sns.heatmap(matrix, ax=panel, norm=norm, cmap="cividis", square=True, cbar=False, **cells)
        panel.tick_params(rotation=0)
        panel.set(xlabel="language", ylabel="language", title=f"decoder layer {layer}")
    for panel in axes.flat[len(layers) :]:
        panel.set_visible(False)
    bar: dict[str, Any] = {"label": "cosine similarity", "shrink": 0.6, "aspect": 30, "location": "right"}
    figure.colorbar(ScalarMappable(norm, "cividis"), ax=axes, **bar)
    return figure


def _written(matrix: np.ndarray) -> np.ndarray:
    """What stands in the cells of other languages' pairs: the cosine to two digits, without its 0."""
    cells = np.full(matrix.shape, "", dtype=object)
    for (row, column), value in np.ndenumerate(matrix):
        if row != column and not np.isnan(value):
            cells[row, column] = number(value, 2).replace("0.", ".", 1)
    return cells
