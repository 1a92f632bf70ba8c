"""Interactive charts of paper A's similarity and gap (secs 2.2 and 2.5): by layer, a panel a model or language."""

from typing import Any

import altair as alt
import polars as pl

from isogloss.report.charts.base import (
    Chart,
    Contexts,
    Key,
    Measure,
    Models,
    count_tip,
    language_tip,
    languages,
    model_tip,
    models,
    over_models,
    values,
)
from isogloss.report.charts.marks import by_layer, curves, level
from isogloss.report.charts.pairs import Pairs, matrices
from isogloss.report.charts.panels import arranged, finish, layer_slider, model_choice, panels
from isogloss.report.figures.looks import MOST_OWN
from isogloss.report.figures.reciprocal import by_script
from isogloss.report.figures.style import DASHES, FAINT, INK, PALETTE, Look
from isogloss.report.shared.wording import VARIANT_TITLES, name

MOST_OVERLAID = 3
"""Up to so many models, lines with bands share a panel."""

_LAYER_TIP = alt.Tooltip("layer", type="quantitative", title="layer", format="d")


def similarity(tables: Models, contexts: Contexts) -> Chart | None:
    """Cosine of each language with the reference by layer (paper A, Fig. 1); shuffled pairs in the tooltip."""
    more = [alt.Tooltip("cosine_shuffled", type="quantitative", title="cosine of shuffled pairs", format=".4~r")]
    measure = Measure("cosine", "cosine similarity to the reference", "ci")
    near: dict[str, Any] = {"scale": alt.Scale(zero=False)}
    return _of_languages(tables, contexts, "similarity", measure, more, "n", "texts", **near)


def retrieval(tables: Models, contexts: Contexts) -> Chart | None:
    """Mean reciprocal rank of the reference's text by layer, each language asking; chance dashed."""
    measure = Measure("retrieval", "mean reciprocal rank", "retrieval_ci")
    more = [alt.Tooltip("retrieval_chance", type="quantitative", title="by chance", format=".4~r")]
    return _of_languages(tables, contexts, "similarity", measure, more, "retrieval_n", "texts", "retrieval_chance")


def language_gap(tables: Models, contexts: Contexts) -> Chart | None:
    """Gap of each language to the reference by layer (paper A, Fig. 7)."""
    measure = Measure("gap_pct", "gap to the reference (%)", "ci")
    return _of_languages(tables, contexts, "language_gap", measure, [], "n_features", "features", zero=True)


def _of_languages(
    tables: Models,
    contexts: Contexts,
    table: str,
    measure: Measure,
    more: list[alt.Tooltip],
    count: str,
    counted: str,
    chance: str = "",
    zero: bool = False,
    **y: Any,
) -> Chart | None:
    context = next(iter(contexts.values()))
    columns = [*measure.columns, *(str(tip.shorthand) for tip in more), count]
    frame = over_models(tables, table, "layer", "lang", *columns).filter(pl.col("lang") != context.reference)
    if measure.column not in frame.columns or frame[measure.column].null_count() == frame.height:
        return None
    codes = context.ordered(frame["lang"])
    shown = panels(frame.sort("layer", maintain_order=True), contexts, "model")
    there = [tip for tip in more if str(tip.shorthand) in frame.columns]
    counts = [count_tip(count, f"{counted} (n)")] if count in frame.columns else []
    tips = [model_tip(), language_tip(), _LAYER_TIP, *measure.tips(), *there, *counts]
    chart = curves(shown.frame, by_layer(frame["layer"]), measure, [languages(codes, context)], tips, zero=zero, **y)
    if chance and chance in frame.columns and (by_chance := frame[chance].mean()) is not None:
        look = {"color": FAINT, "strokeDash": [4, 3], "strokeWidth": 1.4}
        chart = alt.layer(level(chart, "y", float(by_chance), **look), chart)  # pyright: ignore[reportArgumentType]
    return finish(arranged(chart, shown, 320), contexts, shown, codes)


def group_gap(tables: Models, contexts: Contexts) -> Chart | None:
    """Gap between the groups by layer, models overlaid, the two variants by marker and dash (paper A, Fig. 3)."""
    measure = Measure("gap_pct", "gap between the groups (%)", "ci")
    frame = over_models(tables, "group_gap", "layer", "variant", *measure.columns, "n_features")
    frame = frame.with_columns(what=pl.col("variant").replace(VARIANT_TITLES)).sort("layer", maintain_order=True)
    if frame["gap_pct"].null_count() == frame.height:
        return None
    titles = [title for title in VARIANT_TITLES.values() if title in set(frame["what"])]
    variants = values(titles, "reference", "shape", "strokeDash")
    variant = alt.Tooltip("what", type="nominal", title="reference")
    tips = [model_tip(), variant, _LAYER_TIP, *measure.tips(), count_tip("n_features", "features (n)")]
    many = frame["model"].n_unique() > MOST_OVERLAID
    shown = panels(frame, contexts, *(["model"] if many else []))
    keys = [models({one: contexts[one] for one in frame["model"].unique(maintain_order=True)}, "color"), variants]
    chart = curves(shown.frame, by_layer(frame["layer"]), measure, keys, tips, zero=True)
    return finish(arranged(chart, shown, 320), contexts, shown)


def reciprocal_gap(tables: Models, contexts: Contexts) -> Chart | None:
    """The gap chosen in the reference, that chosen in each language, and half their difference, a panel a language."""
    context = next(iter(contexts.values()))
    reference = name(context.reference)
    measures = {
        "gap_from_reference": (f"chosen in {reference}", Look(PALETTE[0], "o")),
        "gap_from_lang": ("chosen in the language", Look(PALETTE[1], "s", DASHES[1])),
        "symmetric_gap": ("symmetric: half the difference", Look(INK, "D")),
        "ceiling": (f"ceiling: another wording in {reference}", Look(FAINT, "^", DASHES[2])),
        "floor": ("floor: another text", Look(FAINT, "v", DASHES[3])),
    }
    whole = over_models(tables, "reciprocal_gap").sort("layer", maintain_order=True)
    codes = context.ordered(whole["lang"])
    pooled = len(codes) > MOST_OWN
    if pooled:
        whole = by_script(whole, context, "model", "layer")
    parts = [
        whole.select(
            "model", "layer", "lang", pl.lit(title).alias("what"),
            gap_pct=f"{one}_pct", gap_low=f"{one}_ci_low", gap_high=f"{one}_ci_high",
        )
        for one, (title, _) in measures.items()
        if f"{one}_pct" in whole.columns
    ]  # fmt: skip
    frame = pl.concat(parts).drop_nulls("gap_pct")
    if not frame.height:
        return None
    order = {code: rank for rank, code in enumerate(codes)}
    if not pooled:
        frame = frame.sort(pl.col("lang").replace_strict(order, default=len(order)), maintain_order=True)
    shown = panels(frame, contexts, "lang", titles={code: name(code) for code in codes})
    chosen = model_choice(contexts, frame["model"].unique(maintain_order=True))
    measure = Measure("gap_pct", "gap (%)", "gap")
    key = Key("what", "features", dict(measures.values()))
    what = alt.Tooltip("what", type="nominal", title="features")
    tips = [model_tip(), language_tip(), what, _LAYER_TIP, *measure.tips()]
    chart = curves(shown.frame, by_layer(frame["layer"]), measure, [key], tips, zero=True)
    chart = arranged(chart.transform_filter(chosen.test), shown, 170, most=3)
    note = f"Means over the languages of a script: {len(codes)} languages are too many to show." if pooled else ""
    return finish(chart, contexts, shown, [] if pooled else codes, [chosen], note)


def similarity_pairs(tables: Models, contexts: Contexts) -> Chart | None:
    """Cosine of every pair of languages, a matrix a model, at the layer that the slider shows (paper A, app. C.1)."""
    frame = over_models(tables, "similarity_pairs", "layer", "lang_a", "lang_b", "cosine", "n")
    swapped = frame.rename({"lang_a": "lang_b", "lang_b": "lang_a"}).select(frame.columns)
    both = pl.concat([frame, swapped])
    measure = Measure("cosine", "cosine similarity")
    return matrices(both, Pairs(measure, ("language", "language"), sliding=layer_slider), contexts)
