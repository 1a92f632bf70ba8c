"""Figure of injected features (paper C): what they do to perplexity."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from isogloss.report.figures.axes import row_axis, shared_legend, zero_line
from isogloss.report.figures.marks import bars
from isogloss.report.figures.style import FAINT, INK, RULE, canvas, class_look
from isogloss.report.shared.classes import LOOKS, class_order, class_title, language_order
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import named, number


def intervention(tables: Tables, context: Context) -> Figure:
    """What injected features do to perplexity: mixed less matched random ones first, then every class (Tables 1, 4).

    A setting is a strength α and a number N of features. The first panel is of all documents, with two intervals:
    over documents and over draws of the matched features. Below, a panel a setting: languages by injected class.
    """
    frame = tables["intervention_summary"]
    baseline = dict(frame.filter(pl.col("class") == "none").select("lang", "perplexity").iter_rows())
    frame = frame.filter(pl.col("class") != "none")
    alphas, counts = (sorted(frame[column].unique()) for column in ("alpha", "n_features"))
    groups = [*language_order(frame["lang"], context.bilingual_languages), "all"]
    settings = [(alpha, n) for alpha in alphas for n in counts]
    down, across = (1, len(alphas)) if len(counts) == 1 else (len(alphas), len(counts))
    heights = [0.75 + len(groups) * max(0.5, 0.17 * frame["class"].n_unique() + 0.08)] * down
    matched = frame.filter(pl.col("class") == "mixed", lang="all").drop_nulls("beyond_matched")
    heights = [0.8 + 0.34 * len(settings), *heights] if matched.height else heights
    figure, axes = canvas(height=0.9 + sum(heights))
    axes[0, 0].remove()
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    panels = _panels(figure, grid, len(heights) - down, (down, across))
    labels = [_label(group, baseline) for group in groups]
    for (alpha, n), panel in zip(settings, panels.flat, strict=True):
        _change_rows(panel, frame.filter(alpha=alpha, n_features=n), groups, context)
        panel.set_title(f"α = {alpha:g}, N = {n:,}", fontsize="small", fontweight="normal")
        row_axis(panel, labels if panel in panels[:, 0] else [""] * len(labels))
        panel.locator_params(axis="x", nbins=7 if across == 1 else 5 if across == 2 else 4)
    for panel in panels[-1]:
        panel.set_xlabel("change of perplexity" + ("\n" if across > 1 else " ") + "(below zero: better)")
    if matched.height:
        _beyond_matched(figure.add_subplot(grid[0, :]), matched, settings)
    shared_legend(figure, figure.axes, columns=3)
    return figure


def _panels(figure: Figure, grid: GridSpec, skipped: int, shape: tuple[int, int]) -> np.ndarray:
    """The panels of the settings, below `skipped` rows; those of one number of features share their x axis."""
    panels = np.empty(shape, object)
    for row, column in np.ndindex(*shape):
        first = panels[row, 0] if column and shape[0] > 1 else None
        panels[row, column] = figure.add_subplot(grid[skipped + row, column], sharex=first)
    return panels


def _label(group: str, baseline: Mapping[str, float | None]) -> str:
    title = "all documents" if group == "all" else named(group)
    before = baseline.get(group)
    return title if before is None else f"{title}\nperplexity {number(before, 2)}"


def _beyond_matched(panel: Axes, rows: pl.DataFrame, settings: Sequence[tuple[float, int]]) -> None:
    """Mixed less matched features in every setting, with the interval over documents and the one over draws."""
    looks = {
        "beyond_matched": ("over documents", LOOKS["mixed"].colour, "D", -0.13),
        "beyond_matched_draws": ("over draws of matched features", INK, "s", 0.13),
    }
    for interval, (label, paint, marker, shift) in looks.items():
        at = [settings.index(key) + shift for key in rows.select("alpha", "n_features").iter_rows()]
        look: dict[str, Any] = {"colour": paint, "marker": marker, "markersize": 5, "label": f"interval, {label}"}
        bars(panel, at, rows, "beyond_matched", interval, **look)
    row_axis(panel, [f"α = {alpha:g}, N = {n:,}" for alpha, n in settings])
    zero_line(panel, "x")
    title = "Mixed features less random ones that fire as often, at the same dose; all documents"
    panel.set_title(title, fontsize="small")
    panel.set_xlabel("difference of perplexity (below zero: mixed features help more)")


def _classes(present: Iterable[str], first: Sequence[str]) -> list[str]:
    """Mixed features and their matched control in front of the languages and of the random ones."""
    front = ["mixed", "matched"]
    codes = class_order(present, first)
    return [code for code in front if code in codes] + [code for code in codes if code not in front]


def _change_rows(axes: Axes, rows: pl.DataFrame, groups: Sequence[str], context: Context) -> None:
    classes = _classes(rows["class"], context.bilingual_languages)
    zero_line(axes, "x")
    for at in range(1, len(groups)):
        axes.axhline(at - 0.5, color=FAINT, linewidth=0.7, linestyle=RULE, zorder=1)
    for i, code in enumerate(classes):
        look, changes = class_look(code, context), rows.filter(pl.col("class") == code).drop_nulls("change")
        if not changes.height:
            continue
        shift = 0.8 * (i - (len(classes) - 1) / 2) / max(1, len(classes))
        at = [groups.index(lang) + shift for lang in changes["lang"]]
        points: dict[str, Any] = {"colour": look.colour, "marker": look.marker, "label": class_title(code)}
        points |= {} if look.filled else {"markerfacecolor": "white", "markeredgecolor": look.colour}
        bars(axes, at, changes, "change", "ci", markersize=5, **points)
