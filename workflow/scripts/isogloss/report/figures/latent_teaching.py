"""Figure of the toy world's latent measures by where a fact was taught, pooled over languages."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.report.figures.axes import accuracy_axis, headed, legend, row_axis, tasks_of, zero_line
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.labels import HALO
from isogloss.report.figures.marks import whiskers
from isogloss.report.figures.style import FAINT, INK, PALETTE, canvas
from isogloss.report.shared.answered import FEW
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.taught import MEASURES, TAUGHT, questions
from isogloss.report.shared.wording import signed

_LOOKS = {"all": ("o", PALETTE[0]), "reference": ("s", PALETTE[1]), "none": ("D", "#6b6b6b")}
_LANGUAGE: dict[str, Any] = {"linestyle": "none", "marker": ".", "markersize": 5, "color": FAINT, "zorder": 2}


def latent_by_teaching(tables: Tables, context: Context) -> Figure:
    """Accuracy, consistency, transfer, log ratio and steering's change by where the fact was taught.

    Means over the languages beside the reference with Student's interval, each language as a dot; n is questions.
    """
    frame = tables["latent_by_teaching"]
    if not frame.filter(pl.col("lang") != context.reference).height:
        return in_words("No language beside the reference was asked.")
    tasks = tasks_of(frame)
    shown = {
        column: measure
        for column, measure in MEASURES.items()
        if column == "accuracy" or (column in frame.columns and frame[column].drop_nulls().len())
    }
    down, across = -(-len(shown) // 3), min(3, max(1, len(shown)))
    rows = max(1, down * len(tasks))
    figure, axes = canvas(rows, across, height=0.9 + 2.0 * rows)
    for block, task in enumerate(tasks):
        panels = list(axes[block * down : (block + 1) * down].flat)
        for i, (panel, column) in enumerate(zip(panels, shown, strict=False)):
            _panel(panel, frame.filter(task=task), column, context, labelled=not i % across)
        headed(panels[0], context.task(task) if len(tasks) > 1 else "")
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
    steered = frame.drop_nulls(["steered_accuracy_change", "layer", "gamma"]) if "layer" in frame.columns else frame[:0]
    if steered.height:
        setting = steered.row(0, named=True)
        panel = axes.flat[list(shown).index("steered_accuracy_change")]
        headed(panel, "", f"layer {setting['layer']}, γ = {signed(setting['gamma'])}")
    edge = {"linestyle": "none", "color": INK, "markersize": 6}
    handles = [Line2D([], [], **_LANGUAGE), Line2D([], [], marker="o", **edge)]
    labels = ["a language", "mean over languages, its interval"]
    handles.append(Line2D([], [], marker="o", markerfacecolor="white", **edge))
    legend(figure, handles, [*labels, f"mean of fewer than {FEW} questions each"], 3)
    return figure


def _panel(panel: Axes, rows: pl.DataFrame, column: str, context: Context, *, labelled: bool) -> None:
    label, factor = MEASURES[column]
    present = [taught for taught in TAUGHT if taught in set(rows["taught"])]
    counts = questions(rows, column, context.reference)
    others = rows.filter(pl.col("lang") != context.reference)
    row_axis(panel, [TAUGHT[taught] for taught in present] if labelled else [""] * len(present))
    for at, taught in enumerate(present):
        shape, paint = _LOOKS[taught]
        values = factor * others.filter(taught=taught)[column].drop_nulls().cast(pl.Float64).to_numpy()
        panel.plot(values, np.full(len(values), at + 0.22), **_LANGUAGE)
        for mean in over_languages(others.filter(taught=taught), column, context.confidence, ["taught"]).to_dicts():
            bounds = [np.nan if mean[end] is None else factor * mean[end] for end in ("mean", "low", "high")]
            face = "white" if counts.get(taught, FEW) < FEW else paint
            look: dict[str, Any] = {"colour": paint, "marker": shape, "markerfacecolor": face, "markeredgecolor": paint}
            whiskers(panel, at - 0.05, *bounds, horizontal=True, **look)
        if taught in counts and len(values):
            note: dict[str, Any] = {"transform": panel.get_yaxis_transform(), "fontsize": 7, "path_effects": HALO}
            panel.text(0.99, at - 0.3, f"n = {counts[taught]:,}", ha="right", va="center", **note)
    panel.set_xlabel(label)
    if column in ("log_ratio", "steered_accuracy_change"):
        zero_line(panel, "x")
    elif factor == 100:
        accuracy_axis(panel, (0, 50, 100))
        return
    panel.locator_params(axis="x", nbins=4)
