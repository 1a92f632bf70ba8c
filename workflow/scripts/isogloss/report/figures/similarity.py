"""Figures of embedding similarity (paper A, sec. 2.2): Fig. 1 and the matrices of app. C.1."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isogloss.languages import in_order
from isogloss.report.figures.style import (
    INK,
    Context,
    by_group,
    canvas,
    colour,
    curve,
    layer_axis,
    marker,
    shared_legend,
)
from isogloss.report.wording import named, number

MOST_MATRICES = 9


def similarity(tables: Mapping[str, pl.DataFrame], context: Context) -> Figure:
    """Cosine of each language with the reference by layer, a panel a group (Fig. 1); shuffled pairs dotted."""
    frame = tables["similarity"].filter(pl.col("lang") != context.reference).sort("layer")
    figure, axes = canvas(1, 2, height=4.3, sharey=True)
    for panel, (group, group_members) in zip(axes[0], context.groups.items(), strict=True):
        panel.set_title(group)
        for code in by_group(set(group_members) & set(frame["lang"]), context):
            rows = frame.filter(pl.col("lang") == code)
            look = {"colour": colour(code), "marker": marker(code), "label": named(code)}
            curve(
                panel, rows["layer"], rows["cosine"], rows["ci_low"], rows["ci_high"], dash=context.dash(code), **look
            )
            panel.plot(rows["layer"], rows["cosine_shuffled"], color=colour(code), linestyle=":", zorder=2)
        layer_axis(panel, frame["layer"])
    axes[0, 0].set_ylabel("cosine similarity to the reference")
    axes[0, 1].plot([], [], color=INK, linestyle=":", label="shuffled pairs, same colours")
    shared_legend(figure, axes[0], columns=4)
    return figure


def similarity_pairs(tables: Mapping[str, pl.DataFrame], _: Context) -> Figure:
    """Cosine of all pairs of languages, a matrix a layer (app. C.1); of many layers, nine evenly spaced."""
    frame = tables["similarity_pairs"]
    layers = sorted(frame["layer"].unique())
    shown = [
        layers[i]
        for i in np.unique(np.linspace(0, len(layers) - 1, min(len(layers), MOST_MATRICES)).round().astype(int))
    ]
    codes = in_order(list({*frame["lang_a"], *frame["lang_b"]}))
    import seaborn as sns  # brings pandas and scipy.stats, which no other figure waits for

    columns = min(len(shown), 2 if len(shown) <= 4 else 3)
    rows = -(-len(shown) // columns)
    written = columns <= 2  # numbers are legible only in large cells
    figure, axes = canvas(rows, columns, height=0.5 + rows * (3.7 if written else 2.7))
    cosines = frame.filter(pl.col("lang_a") != pl.col("lang_b"))["cosine"]
    norm = Normalize(min(cosines.to_list(), default=0), 1)
    for panel, layer in zip(axes.flat, shown, strict=False):
        matrix = _matrix(frame.filter(pl.col("layer") == layer), codes)
        sns.heatmap(
            matrix,
            ax=panel,
            norm=norm,
            cmap="cividis",
            square=True,
            cbar=False,
            annot=_written(matrix) if written else None,
            fmt="",
            annot_kws={"fontsize": 7},
            xticklabels=codes,
            yticklabels=codes,
        )
        panel.tick_params(rotation=0)
        panel.set_title(f"decoder layer {layer}")
        panel.set_xlabel("language")
        panel.set_ylabel("language")
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    figure.colorbar(
        ScalarMappable(norm, "cividis"), ax=axes, label="cosine similarity", shrink=0.6, aspect=30, location="right"
    )
    return figure


def _written(matrix: np.ndarray) -> np.ndarray:
    """What stands in the cells of other languages' pairs: the cosine to two digits, without its 0."""
    return np.array(
        [
            [
                "" if row == column or np.isnan(value) else number(value, 2).replace("0.", ".", 1)
                for column, value in its
            ]
            for row, its in enumerate(map(enumerate, matrix))
        ]
    )


def _matrix(rows: pl.DataFrame, codes: list[str]) -> np.ndarray:
    """The symmetric matrix of one layer's cosines, ones on the diagonal, NaN where a pair is missing."""
    place = {code: i for i, code in enumerate(codes)}
    matrix = np.full((len(codes), len(codes)), np.nan)
    np.fill_diagonal(matrix, 1.0)
    for a, b, cosine in rows.select("lang_a", "lang_b", "cosine").iter_rows():
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = cosine
    return matrix
