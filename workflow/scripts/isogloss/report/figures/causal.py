"""Figure of the causal test: what the ablation of a language's features does to the loss of every language."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isogloss.report.figures.axes import legend, row_axis, zero_line
from isogloss.report.figures.marks import bars, square
from isogloss.report.figures.scripts import MOST_NAMED, blocks
from isogloss.report.figures.style import FAINT, INK, canvas, language_look
from isogloss.report.shared.ablated import METHOD_TITLES
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, number

MOST_WRITTEN = 6  # languages up to which cells have room for numbers
_COLOURS = "PuOr_r"
_MEAN = {"colour": INK, "marker": "D"}


def ablation(tables: Tables, context: Context) -> Figure:
    """What a language's features do to its own loss beyond that of the others, a column a method of choosing them.

    Above, the change of loss, ablated by measured language; dots mark changes whose interval excludes zero (not of
    more than forty languages). Below,
    the change in the own language less that in the others, and what is left of it beyond random features.
    """
    frame, summary = tables["ablation"], tables["ablation_summary"]
    codes = context.ordered(frame["lang"])
    methods = [method for method in METHOD_TITLES if method in set(frame["method"])]
    size, across = min(3.4, 6.6 / len(methods)), len(methods)
    heights = [size, 0.6 + 0.2 * (len(codes) + 1)]
    figure, axes = canvas(2, across, height=1.7 + sum(heights), height_ratios=heights)
    of_language = frame.filter(features="language")
    changes = of_language.group_by("method", "ablated", "lang", maintain_order=True).agg(
        pl.col("change", "ci_low", "ci_high").mean()
    )
    largest = changes["change"].abs().max()
    norm = Normalize(-(largest or 1.0), largest or 1.0)  # pyright: ignore[reportOperatorIssue, reportArgumentType]
    for panel, below, method in zip(axes[0], axes[1], methods, strict=True):
        _matrix(panel, changes.filter(method=method), codes, norm)
        panel.set_title(METHOD_TITLES[method], fontsize="small")
        panel.set_xlabel("loss measured in")
        _differences(below, summary.filter(method=method), codes, context, labelled=panel is axes[0, 0])
    axes[0, 0].set_ylabel("language whose features are off")
    figure.colorbar(ScalarMappable(norm, _COLOURS), ax=axes[0], label="change of loss\n(nats a token)", shrink=0.85)
    handles = [axes[1, 0].plot([], [], color=INK, **look)[0] for look in _LOOKS.values()]
    legend(figure, handles, ["own language less the others", "beyond random features that fire as often"], 2)
    return figure


_LOOKS: dict[str, dict[str, Any]] = {
    "difference": {"linestyle": "none", "marker": "o", "markerfacecolor": INK, "markersize": 5},
    "beyond_random": {"linestyle": "none", "marker": "o", "markerfacecolor": "white", "markersize": 5},
}


def _differences(panel: Axes, rows: pl.DataFrame, codes: Sequence[str], context: Context, *, labelled: bool) -> None:
    """A row a language and one of their mean: own less others, filled, and beyond random features, hollow."""
    heights = {None: 0, **{code: at for at, code in enumerate(codes, 1)}}
    row_axis(panel, ["mean", *map(name, codes)] if labelled else [""] * (len(codes) + 1), fontsize=8)
    for row in rows.iter_rows(named=True):
        look: dict[str, Any] = _MEAN if row["ablated"] is None else language_look(row["ablated"], context)
        at = heights[row["ablated"]]
        bars(panel, at - 0.15, row, "difference", "ci", markersize=5, capsize=0, **look)
        hollow = {"markersize": 4.5, "markerfacecolor": "white", "markeredgecolor": look["colour"], "capsize": 0}
        bars(panel, at + 0.2, row, "beyond_random", elinewidth=0.8, **look, **hollow)
    panel.axhline(0.5, color=FAINT, linewidth=0.8)
    zero_line(panel, "x")
    panel.locator_params(axis="x", nbins=4)
    panel.set_xlabel("difference of the change\nof loss (nats a token)", fontsize=8.5)


def _matrix(panel: Axes, rows: pl.DataFrame, codes: Sequence[str], norm: Normalize) -> None:
    values = square(rows.select("ablated", "lang", "change").drop_nulls().iter_rows(), codes)
    panel.imshow(np.ma.masked_invalid(values), norm=norm, cmap=_COLOURS)
    panel.grid(visible=False)
    panel.tick_params(length=0)
    if len(codes) > MOST_NAMED:
        runs = blocks(list(codes))
        middles, titles = [(first + last) / 2 for _, first, last in runs], [title for title, _, _ in runs]
        panel.set_xticks(middles, titles, fontsize=6, rotation=90)
        panel.set_yticks(middles, titles, fontsize=6)
        return
    long = len(codes) > 8 or any(len(code) > 3 for code in codes)
    panel.set_xticks(range(len(codes)), codes, fontsize=7 if len(codes) <= 16 else 5, rotation=90 if long else 0)
    panel.set_yticks(range(len(codes)), codes, fontsize=7 if len(codes) <= 16 else 5)
    empty = np.isnan(values).all(axis=1)
    middle = (len(codes) - 1) / 2
    if empty.all():
        panel.text(middle, middle, "no language has\nfeatures", ha="center", va="center", color=INK, fontsize=8)
    else:
        for at in np.flatnonzero(empty).tolist():
            panel.text(middle, at, "no features", ha="center", va="center", color=INK, fontsize=7)
    if len(codes) <= MOST_WRITTEN:
        for (ablated, lang), value in np.ndenumerate(values):
            if not np.isnan(value):
                paint = "white" if abs(norm(value) - 0.5) > 0.35 else INK
                panel.text(lang, ablated, number(value, 2), ha="center", va="center", fontsize=7, color=paint)
    else:
        apart = rows.drop_nulls("ci_low").filter((pl.col("ci_low") > 0) | (pl.col("ci_high") < 0))
        index = {code: at for at, code in enumerate(codes)}
        for ablated, lang in apart.select("ablated", "lang").iter_rows():
            panel.plot(index[lang], index[ablated], marker=".", color=INK, markersize=3, linestyle="none")
