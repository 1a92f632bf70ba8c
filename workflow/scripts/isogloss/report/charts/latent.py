"""Interactive charts of paper B: transfer and consistency, the lens on answers, states, steering."""

import altair as alt
import polars as pl

from isogloss.report.charts.base import (
    Chart,
    Contexts,
    Measure,
    Models,
    count_tip,
    fading,
    language_tip,
    languages,
    model_tip,
    over_models,
    source,
    titled,
    values,
)
from isogloss.report.charts.marks import by_layer, curves, estimates, named_rows, picked, row_height
from isogloss.report.charts.pairs import Pairs, matrices
from isogloss.report.charts.panels import Panels, arranged, finish, layer_slider, panels
from isogloss.report.figures.style import INK
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.wording import VECTOR_TITLES

MOST_POINTS = 8000
"""States in a chart; of more, each language and layer keeps the first of its questions."""

_LAYER_TIP = alt.Tooltip("layer", type="quantitative", title="layer", format="d")


def transfer(tables: Models, contexts: Contexts) -> Chart | None:
    """Positive transfer from the row's to the column's language, a matrix a model and task (paper B, eq. 2)."""
    return _pairs(tables, contexts, Measure("positive_transfer", "positive transfer", share=True), ("from", "to"))


def consistency(tables: Models, contexts: Contexts) -> Chart | None:
    """Consistency of every pair of languages, a matrix a model and task (paper B, eq. 1)."""
    return _pairs(tables, contexts, Measure("consistency", "consistency (Spearman's ρ)"), ("language", "with"))


def _pairs(tables: Models, contexts: Contexts, measure: Measure, titles: tuple[str, str]) -> Chart | None:
    chance = f"{measure.column}_chance"
    frame = over_models(tables, "transfer", "task", "lang_a", "lang_b", *measure.columns, chance, "n")
    tip = alt.Tooltip(chance, type="quantitative", title="by chance", format=measure.digits)
    tips = (tip,) if chance in frame.columns else ()
    return matrices(frame, Pairs(measure, titles, tips=tips, by=("model", "task")), contexts)


def latent(tables: Models, contexts: Contexts) -> Chart | None:
    """Log ratio of native to reference answers by layer: languages, and their mean with its interval (Fig. 2a)."""
    context = next(iter(contexts.values()))
    measure = Measure("log_ratio", "log ratio, native to reference (nats a token)")
    frame = over_models(tables, "latent", "task", "layer", "lang", *measure.columns, "n")
    frame = frame.filter(pl.col("lang") != context.reference).drop_nulls("log_ratio")
    if not frame.height:
        return None
    means = over_languages(frame, "log_ratio", context.confidence, ("model", "task", "layer"))
    means = means.select("model", "task", "layer", log_ratio="mean", log_ratio_low="low", log_ratio_high="high")
    codes = context.ordered(frame["lang"])
    both = pl.concat([frame, means], how="diagonal_relaxed")
    shown = panels(both.sort("layer", maintain_order=True), contexts, "model", "task")
    tips = [model_tip(), language_tip(), _LAYER_TIP, *measure.tips(), count_tip("n", "questions (n)")]
    x = by_layer(frame["layer"])
    alone = curves(shown.frame, x, measure, [languages(codes, context)], tips, banded=False, zero=True)
    alone = alone.transform_filter("isValid(datum.lang)")
    whole = titled(measure.with_interval(alt.Chart(alone.data))).transform_filter("!isValid(datum.lang)").encode(x=x)
    y = alt.Y("log_ratio", type="quantitative", title=measure.title)
    low = alt.Y("log_ratio_low", type="quantitative", title=measure.title)
    what = alt.Tooltip("what", type="nominal", title="of")
    said = [model_tip(), what, _LAYER_TIP, *measure.tips()]
    mean = whole.transform_calculate(what="'mean over languages'")
    bars = mean.mark_area(color=INK, opacity=0.15).encode(y=low, y2="log_ratio_high")
    line = mean.mark_line(color=INK, strokeWidth=3, point={"color": INK, "size": 40}).encode(y=y, tooltip=said)
    chart = alt.layer(bars, alone, line)
    note = "Thick line: mean over languages, with interval."
    return finish(arranged(chart, shown, 320), contexts, shown, codes, note=note)


_ANSWERS = {
    "accuracy_native": "native answers",
    "accuracy_reference": "the reference language's answers",
    "accuracy_letters": "letters of the choices",
}


def latent_accuracy(tables: Models, contexts: Contexts) -> Chart | None:
    """Accuracy of the native and the reference answers by layer, mean over languages with intervals (Fig. 2b)."""
    context = next(iter(contexts.values()))
    frame = over_models(tables, "latent").filter(pl.col("lang") != context.reference)
    parts = [
        over_languages(frame, column, context.confidence, ("model", "task", "layer")).with_columns(what=pl.lit(title))
        for column, title in _ANSWERS.items()
        if column in frame.columns
    ]
    means = pl.concat(parts) if parts else pl.DataFrame()
    if not means.height:
        return None
    means = means.rename({"mean": "accuracy", "low": "accuracy_low", "high": "accuracy_high"})
    measure = Measure("accuracy", "accuracy, mean over languages", share=True)
    shown = panels(means.sort("layer", maintain_order=True), contexts, "model", "task")
    what = alt.Tooltip("what", type="nominal", title="answers")
    tips = [model_tip(), what, _LAYER_TIP, *measure.tips(), count_tip("n", "languages (n)")]
    key = values([title for title in _ANSWERS.values() if title in set(means["what"])], "answers")
    chart = curves(shown.frame, by_layer(means["layer"]), measure, [key], tips)
    return finish(arranged(chart, shown, 300), contexts, shown)


def projection(tables: Models, contexts: Contexts) -> Chart | None:
    """States at the last prompt token on two principal components at the layer that the slider shows (Fig. 3)."""
    context = next(iter(contexts.values()))
    columns = ("task", "layer", "lang", "pc1", "pc2", "explained_1", "explained_2")
    frame = over_models(tables, "projection", *columns).drop_nulls(["pc1", "pc2"])
    if not frame.height:
        return None
    frame, note = _thinned(frame)
    codes = context.ordered(frame["lang"])
    shown = panels(frame, contexts, "model", "task")
    slider = layer_slider(frame["layer"])
    key = languages(codes, context)
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    scale = alt.Scale(zero=False, nice=False, padding=12)
    x, y = (
        kind(f"pc{i}", type="quantitative", title=f"component {i}", axis=axis, scale=scale)
        for i, kind in ((1, alt.X), (2, alt.Y))
    )
    shares = [
        alt.Tooltip(f"explained_{i}", type="quantitative", title=f"variance in component {i}", format=".2%")
        for i in (1, 2)
    ]
    base = titled(source(shown.frame)).transform_filter(slider.test)
    dots = base.mark_point(filled=True, size=34)
    dots = dots.encode(
        x=x,
        y=y,
        opacity=fading(0.08, 0.75),
        tooltip=[model_tip(), language_tip(), _LAYER_TIP, *shares],
        **key.encodings("color", "shape"),
    )
    chart = arranged(alt.layer(picked(dots, [key])), shown, 340)
    return finish(chart, contexts, shown, codes, [slider], note)


def _thinned(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The states that are drawn, and how many they are where they are not all."""
    if frame.height <= MOST_POINTS:
        return frame, ""
    at = ("model", "task", "layer", "lang")
    groups = frame.select(at).n_unique()
    kept = max(1, MOST_POINTS // groups)
    few = frame.filter(pl.int_range(pl.len()).over(at) < kept)
    return few, f"The first {kept} questions of each language and layer: {frame.height:,} states are too many to show."


_JUDGED = {
    "change_judged": "judged on the other questions",
    "at_own": "judged there, in the own vectors' setting",
    "change_chosen": "on the questions that chose layer and γ",
}


def steering_judged(tables: Models, contexts: Contexts) -> Chart | None:
    """Change of accuracy by steering vector, mean over languages: where it was chosen, and where it was judged."""
    whole = over_models(tables, "steering_judged").filter(pl.col("lang").is_null())
    empty = pl.lit(None, dtype=pl.Float64)
    parts = [
        whole.select(
            "model", "task", pl.col("vector").replace(VECTOR_TITLES).alias("row"), pl.lit(title).alias("what"),
            pl.col(column).alias("change"),
            *((pl.col(f"{column}_{end}") if f"{column}_{end}" in whole.columns else empty).alias(f"change_{end}")
              for end in ("low", "high")),
            "n_languages", "n",
        )
        for column, title in _JUDGED.items()
    ]  # fmt: skip
    frame = pl.concat(parts, how="diagonal_relaxed").drop_nulls("change")
    if not frame.height:
        return None
    rows = [title for title in VECTOR_TITLES.values() if title in set(frame["row"])]
    shown = panels(frame, contexts, "model", "task")
    measure = Measure("change", "change of accuracy (percentage points)", share=True)
    key = values([title for title in _JUDGED.values() if title in set(frame["what"])], "", "color", "shape")
    said = [alt.Tooltip("row", type="nominal", title="vector"), alt.Tooltip("what", type="nominal", title="questions")]
    counts = [count_tip("n_languages", "languages (n)"), count_tip("n", "questions (n)")]
    tips = [model_tip(), *said, *measure.tips(), *counts]
    height = row_height(len(rows), len(key.looks))
    chart = estimates(shown.frame, named_rows(rows), measure, key, tips, zero=True)
    return finish(arranged(chart, shown, height), contexts, shown)


_LAYERED = {
    "consistency": "consistency (ρ)",
    "positive_transfer": "positive transfer (0 to 1)",
    "negative_transfer": "negative transfer (0 to 1)",
    "transfer_above_chance": "transfer above chance (0 to 1)",
}


def transfer_layers(tables: Models, contexts: Contexts) -> Chart | None:
    """Consistency and transfer by layer, means over all pairs of languages, a panel a measure, a line a task."""
    whole = over_models(tables, "transfer_layers").sort("layer", maintain_order=True)
    parts = [
        whole.select(
            "model", "task", "layer", "n", pl.lit(title).alias("measure"),
            value=column, value_low=f"{column}_low", value_high=f"{column}_high",
        )
        for column, title in _LAYERED.items()
    ]  # fmt: skip
    frame = pl.concat(parts).drop_nulls("value")
    if not frame.height:
        return None
    shown: Panels = panels(frame, contexts, "model", "measure")
    measure = Measure("value", "")
    key = values(frame["task"].unique(maintain_order=True), "task")._replace(column="task")
    said = [alt.Tooltip("measure", type="nominal"), alt.Tooltip("task", type="nominal"), _LAYER_TIP]
    tips = [model_tip(), *said, *measure.tips(), count_tip("n", "questions (n)")]
    chart = curves(shown.frame, by_layer(frame["layer"]), measure, [key], tips)
    return finish(arranged(chart, shown, 180, y="independent"), contexts, shown)
