"""Interactive matrices of all pairs of languages, a panel a model and task, of many languages by script."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import altair as alt
import polars as pl

from isogloss.languages import language
from isogloss.report.charts.base import Chart, Contexts, Measure, count_tip, model_tip
from isogloss.report.charts.marks import cells
from isogloss.report.charts.panels import Choice, arranged, finish, panels
from isogloss.report.figures.scripts import script_title
from isogloss.report.figures.style import spaced
from isogloss.report.shared.context import Context

MOST_CELLS = 12_000
"""Up to so many in a chart; of more, languages are pooled by script, then layers are left out."""


class Pairs(NamedTuple):
    """What a matrix of pairs shows."""

    measure: Measure
    titles: tuple[str, str]  # of rows and columns
    sliding: Callable[[Iterable[int]], Choice] | None = None  # the control over layers, of a table that has them
    tips: tuple[alt.Tooltip, ...] = ()
    names: tuple[str, str] = ("lang_a", "lang_b")
    by: tuple[str, ...] = ("model",)
    diverging: bool = False
    note: str = ""


def matrices(frame: pl.DataFrame, shown: Pairs, contexts: Contexts) -> Chart | None:
    """A matrix a panel of a table with a row a pair of languages; None where no pair has a value."""
    frame = frame.drop_nulls(shown.measure.column)
    if not frame.height:
        return None
    frame, order, note = _pooled(frame, shown, next(iter(contexts.values())))
    low, high = (float(value) for value in (frame[shown.measure.column].min(), frame[shown.measure.column].max()))  # pyright: ignore
    scale = alt.Scale(scheme="cividis", domain=[low, high if high > low else low + 1e-9])
    if shown.diverging:
        reach = max(abs(low), abs(high)) or 1.0
        scale = alt.Scale(scheme="purpleorange", domain=[-reach, reach])
    choice = shown.sliding(frame["layer"]) if shown.sliding else Choice(None, "true")
    split = panels(frame, contexts, *shown.by)
    counts = [count_tip("n", "texts or questions (n)")] if "n" in frame.columns else []
    counts += [count_tip("pairs", "pairs of languages (n)")] if "pairs" in frame.columns else []
    layer = [alt.Tooltip("layer", type="quantitative", format="d")] if "layer" in frame.columns else []
    tips = [*shown.tips, *layer, *counts, model_tip()]
    chart = cells(split.frame, order, shown.names, shown.titles, shown.measure, scale, tips, choice.test)
    height = min(520, max(150, 24 * len(order)))
    codes = [] if "pairs" in frame.columns else order
    whole = arranged(chart, split, height, square=len(order))
    return finish(whole, contexts, split, codes, [choice], f"{shown.note} {note}".strip())


def _pooled(frame: pl.DataFrame, shown: Pairs, context: Context) -> tuple[pl.DataFrame, list[str], str]:
    """The rows that are drawn, their languages or scripts in order, and what was done if they were too many."""
    order, note = context.ordered({*frame[shown.names[0]], *frame[shown.names[1]]}), ""
    if frame.height <= MOST_CELLS:
        return frame, order, note
    scripts = {code: script_title(language(code).script) for code in order}
    at = [name for name in (*shown.by, "layer") if name in frame.columns]
    pooled = (
        frame.with_columns(pl.col(shown.names).replace_strict(scripts))
        .group_by(*dict.fromkeys([*at, *shown.names]), maintain_order=True)
        .agg(pl.col(shown.measure.column).mean(), pairs=pl.len())
    )
    note = f"Means over the pairs of languages of two scripts: {frame.height:,} pairs are too many to show."
    if pooled.height > MOST_CELLS and "layer" in pooled.columns:
        layers = sorted(set(pooled["layer"]))
        kept = spaced(layers, max(2, len(layers) * MOST_CELLS // pooled.height))
        pooled = pooled.filter(pl.col("layer").is_in(kept))
        note += f" {len(kept)} of {len(layers)} layers."
    return pooled, list(dict.fromkeys(scripts.values())), note
