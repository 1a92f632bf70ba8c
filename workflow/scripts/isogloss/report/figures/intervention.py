"""Figure of injected features (paper C): what they do to perplexity."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import row_axis, shared_legend, zero_line
from isogloss.report.figures.marks import bars
from isogloss.report.figures.style import FAINT, RULE, canvas, class_look
from isogloss.report.shared.classes import class_order, class_title, language_order
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import named, number


def intervention(tables: Tables, context: Context) -> Figure:
    """Change of perplexity against no injection by language and injected class, a panel a setting (Tables 1, 4)."""
    frame = tables["intervention_summary"]
    baseline = dict(frame.filter(pl.col("class") == "none").select("lang", "perplexity").iter_rows())
    frame = frame.filter(pl.col("class") != "none")
    alphas, counts = (sorted(frame[column].unique()) for column in ("alpha", "n_features"))
    groups = [*language_order(frame["lang"], context.bilingual_languages), "all"]
    classes = class_order(frame["class"], context.bilingual_languages)
    settings = [(alpha, n) for alpha in alphas for n in counts]
    down, across = (1, len(alphas)) if len(counts) == 1 else (len(alphas), len(counts))
    height = 0.55 + len(groups) * max(0.5, 0.17 * len(classes) + 0.08)
    figure, axes = canvas(
        down, across, height=0.9 + down * height, sharey=True, sharex="row" if len(counts) > 1 else "none"
    )
    titles = {group: "all documents" if group == "all" else named(group) for group in groups}
    before = {lang: f"\nperplexity {number(value, 2)}" for lang, value in baseline.items() if value is not None}
    labels = [title + before.get(group, "") for group, title in titles.items()]
    for (alpha, n), panel in zip(settings, axes.flat, strict=True):
        _change_rows(panel, frame.filter(alpha=alpha, n_features=n), groups, classes, context)
        panel.set_title(f"α = {alpha:g}, N = {n:,}", fontsize="small")
        row_axis(panel, labels)
        panel.locator_params(axis="x", nbins=7 if across == 1 else 5 if across == 2 else 4)
    for panel in axes[-1]:
        panel.set_xlabel("change of perplexity" + ("\n" if across > 1 else " ") + "(below zero: better)")
    shared_legend(figure, axes.flat, columns=min(5, len(classes)))
    return figure


def _change_rows(
    axes: Axes, rows: pl.DataFrame, groups: Sequence[str], classes: Sequence[str], context: Context
) -> None:
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
