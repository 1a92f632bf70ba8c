"""Interactive charts of paper C and of the causal test: classes over training, injection, ablation."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl

from isogloss.config.base import middle
from isogloss.report.charts.base import Chart, Contexts, Key, Measure, Models, count_tip, model_tip, over_models
from isogloss.report.charts.marks import by_step, curves, estimates, named_rows, row_height
from isogloss.report.charts.pairs import Pairs, matrices
from isogloss.report.charts.panels import arranged, finish, layer_slider, panels
from isogloss.report.figures.style import DASHED, Look, class_look, depth_colours
from isogloss.report.shared.ablated import METHOD_TITLES
from isogloss.report.shared.classes import class_order, class_title, language_order
from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import named, number

_STEP_TIP = alt.Tooltip("step", type="quantitative", title="training step", format=",d")
_LAYER_TIP = alt.Tooltip("layer", type="quantitative", title="layer", format="d")
_OVER_TRAINING = {
    "share": "share of the features that fire (0 to 1)",
    "monosemanticity": "monosemanticity as published (0 to 1)",
    "monosemanticity_calibrated_excess": "monosemanticity beyond chance",
}


def _classes(codes: list[str], context: Context) -> Key:
    """Classes of features by their looks, in the column `what` by title."""
    looks = {}
    for code in codes:
        look = class_look(code, context)
        looks[class_title(code)] = Look(look.colour, look.marker, DASHED if code == "all" else "-")
    return Key("what", "features", looks)


def _long(whole: pl.DataFrame, measures: Mapping[str, str], *kept: str) -> pl.DataFrame:
    """A row a measure and row of a table, the measure's title in `measure`, its value and interval in `value`."""
    parts = [
        whole.select(
            "model", *kept, pl.lit(title).alias("measure"),
            value=column, value_low=f"{column}_low", value_high=f"{column}_high",
        )
        for column, title in measures.items()
        if column in whole.columns
    ]  # fmt: skip
    return pl.concat(parts).drop_nulls("value") if parts else pl.DataFrame()


def selectivity(tables: Models, contexts: Contexts) -> Chart | None:
    """Share of each class, its monosemanticity, and that beyond chance over training, at one layer (Fig. 3)."""
    context = next(iter(contexts.values()))
    whole = over_models(tables, "selectivity").filter(pl.col("class") != "silent").sort("step", maintain_order=True)
    frame = _long(whole, _OVER_TRAINING, "layer", "step", "class", "n_features")
    frame = frame.filter((pl.col("class") != "all") | (pl.col("measure") != _OVER_TRAINING["share"]))
    if not frame.height:
        return None
    codes = class_order(frame["class"], context.bilingual_languages)
    frame = frame.with_columns(what=pl.col("class").replace_strict({code: class_title(code) for code in codes}))
    frame = frame.rename({"class": "lang"})
    shown = panels(frame, contexts, "model", "measure")
    slider = layer_slider(frame["layer"], middle(frame["layer"]))
    measure = Measure("value", "")
    said = [alt.Tooltip("measure", type="nominal"), alt.Tooltip("what", type="nominal", title="features")]
    tips = [model_tip(), *said, _LAYER_TIP, _STEP_TIP, *measure.tips(), count_tip("n_features", "features (n)")]
    chart = curves(shown.frame, by_step(frame["step"]), measure, [_classes(codes, context)], tips)
    chart = arranged(chart.transform_filter(slider.test), shown, 260, most=3, y="independent")
    highlighted = [code for code in codes if code in language_order(codes)]
    return finish(chart, contexts, shown, highlighted, [slider])


def selectivity_layers(tables: Models, contexts: Contexts) -> Chart | None:
    """Share of mixed features and monosemanticity of all features over training, a line a layer (Figs 5, 8)."""
    whole = over_models(tables, "selectivity")
    share = {"share": "share of mixed features (0 to 1)"}
    senses = {"monosemanticity": "monosemanticity of all features (0 to 1)"}
    mixed, every = (whole.filter(pl.col("class") == code) for code in ("mixed", "all"))
    kept = ("layer", "step", "n_features")
    return _by_depth([_long(mixed, share, *kept), _long(every, senses, *kept)], contexts)


def span_length(tables: Models, contexts: Contexts) -> Chart | None:
    """Mean number of consecutive tokens on which a feature is active over training, a line a layer (Figs 6, 9)."""
    every = over_models(tables, "selectivity").filter(pl.col("class") == "all")
    titles = {"span_length": "span length of all features (tokens)"}
    return _by_depth([_long(every, titles, "layer", "step", "n_features")], contexts, scale=alt.Scale(zero=False))


def _by_depth(parts: list[pl.DataFrame], contexts: Contexts, **y: Any) -> Chart | None:
    frame = pl.concat([part for part in parts if part.height] or [pl.DataFrame()])
    if not frame.height:
        return None
    frame = frame.sort("step", maintain_order=True)
    shown = panels(frame, contexts, "model", "measure")
    looks = {layer: Look(paint, "o") for layer, paint in depth_colours(frame["layer"]).items()}
    measure = Measure("value", "")
    said = [alt.Tooltip("measure", type="nominal"), _LAYER_TIP, _STEP_TIP]
    tips = [model_tip(), *said, *measure.tips(), count_tip("n_features", "features (n)")]
    key = Key("layer", "layer", looks, ("color",))
    chart = curves(shown.frame, by_step(frame["step"]), measure, [key], tips, banded=len(looks) <= 6, **y)
    return finish(arranged(chart, shown, 280, y="independent"), contexts, shown)


_INJECTED = ("ci_low", "ci_high", "perplexity", "n_features", "n")


def intervention(tables: Models, contexts: Contexts) -> Chart | None:
    """Change of perplexity against no injection by language and injected class, a panel a setting (Tables 1, 4)."""
    context = next(iter(contexts.values()))
    frame = over_models(tables, "intervention_summary").filter(pl.col("class") != "none").drop_nulls("change")
    if not frame.height:
        return None
    codes = class_order(frame["class"], context.bilingual_languages)
    rows = {code: named(code) for code in language_order(frame["lang"], context.bilingual_languages)}
    rows["all"] = "all documents"
    frame = frame.select(
        "model", "lang", "change", *(one for one in _INJECTED if one in frame.columns),
        row=pl.col("lang").replace_strict(rows),
        what=pl.col("class").replace_strict({code: class_title(code) for code in codes}),
        setting=pl.concat_str(
            pl.lit("α = "), pl.col("alpha").map_elements(lambda one: f"{one:g}", return_dtype=pl.String),
            pl.lit(", N = "), pl.col("n_features").map_elements(lambda one: number(one, 0), return_dtype=pl.String),
        ),
    )  # fmt: skip
    shown = panels(frame, contexts, "model", "setting")
    measure = Measure("change", "change of perplexity", "ci")
    row = alt.Tooltip("row", type="nominal", title="documents")
    what = alt.Tooltip("what", type="nominal", title="injected")
    after = alt.Tooltip("perplexity", type="quantitative", title="perplexity", format=".4~r")
    counts = [count_tip("n_features", "features injected (n)"), count_tip("n", "documents (n)")]
    tips = [model_tip(), row, what, *measure.tips(), after, *counts]
    order = [title for code, title in rows.items() if code in set(frame["lang"])]
    key = _classes(codes, context)
    chart = estimates(shown.frame, named_rows(order), measure, key, tips, zero=True)
    height = row_height(len(order), len(key.looks))
    highlighted = language_order(frame["lang"], context.bilingual_languages)
    return finish(arranged(chart, shown, height, most=3, x="independent"), contexts, shown, highlighted)


def ablation(tables: Models, contexts: Contexts) -> Chart | None:
    """Change of loss, ablated language by measured language, a panel a model, method and choice of features."""
    columns = ("layer", "ablated", "method", "features", "lang", "change", "ci_low", "ci_high", "n_features", "n_texts")
    whole = over_models(tables, "ablation", *columns)
    # Random features are drawn several times; of the language's own there is a single row, and the mean is that row.
    frame = whole.group_by("model", "layer", "method", "features", "ablated", "lang", maintain_order=True).agg(
        pl.col("change", "ci_low", "ci_high").mean(), pl.col("n_features", "n_texts").first()
    )
    chosen = {"language": "the language's features off", "random": "random ones off"}
    frame = frame.with_columns(pl.col("method").replace(METHOD_TITLES), pl.col("features").replace(chosen))
    measure = Measure("change", "change of loss (nats a token)", "ci")
    tips = (count_tip("n_features", "features (n)"), count_tip("n_texts", "texts (n)"))
    note = "A language without features by a method has an empty row."
    names, by = ("ablated", "lang"), ("model", "method", "features")
    pairs = Pairs(measure, ("features of", "loss in"), layer_slider, tips, names, by, diverging=True, note=note)
    return matrices(frame, pairs, contexts)
