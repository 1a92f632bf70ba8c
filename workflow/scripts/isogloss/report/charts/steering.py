"""Interactive charts of the sweeps of steering (paper B, sec. 4.3): by strength, by layer, and by language."""

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
    model_tip,
    values,
)
from isogloss.report.charts.marks import by_layer, curves, estimates, language_rows, row_height
from isogloss.report.charts.panels import arranged, finish, panels
from isogloss.report.figures.style import PALETTE, Look, depth_colours
from isogloss.report.shared.steered import MEASURES, beyond_random, controlled, judged_by_language, strongest
from isogloss.report.shared.wording import signed

_LAYER = alt.Tooltip("layer", type="quantitative", title="layer", format="d")
_GAMMA = alt.Tooltip("gamma", type="quantitative", title="γ", format="~g")
_BANDED = 4  # up to so many lines have bands


def steering(tables: Models, contexts: Contexts) -> Chart | None:
    """What own vectors change beyond a random direction against γ, a line a layer, a panel a measure (Figs 4, 7)."""
    frame = _changes(tables, contexts)
    if not frame.height:
        return None
    looks = {layer: Look(paint, "o") for layer, paint in depth_colours(frame["layer"]).items()}
    axis = alt.Axis(title="γ (above 0: towards the reference)", format="~g", grid=False)
    x = alt.X("gamma", type="quantitative", axis=axis, scale=alt.Scale(nice=False, padding=12))
    return _sweep(frame.sort("gamma", maintain_order=True), x, Key("layer", "layer", looks, ("color",)), contexts)


def steering_layers(tables: Models, contexts: Contexts) -> Chart | None:
    """The same against the layer steered, at one γ of either sign (Fig. 8)."""
    frame = _changes(tables, contexts)
    if not frame.height:
        return None
    wanted = next(iter(contexts.values())).settings["latent"]["steering"]["gamma_shown"]
    shown = strongest(frame["gamma"], wanted)
    titles = {gamma: f"γ = {signed(gamma)}, {'towards' if gamma > 0 else 'away from'} the reference" for gamma in shown}
    frame = frame.filter(pl.col("gamma").is_in(shown)).with_columns(
        what=pl.col("gamma").replace_strict(titles, default="", return_dtype=pl.String)
    )
    if not frame.height:
        return None
    frame = frame.sort("layer", maintain_order=True)
    return _sweep(frame, by_layer(frame["layer"]), values(titles.values(), "strength"), contexts)


def _changes(tables: Models, contexts: Contexts) -> pl.DataFrame:
    """Means over languages of what own vectors change beyond a random direction, a row a measure and setting."""
    parts: list[pl.DataFrame] = []
    for model, context in contexts.items():
        frame = tables[model]["steering"]
        beside = "beyond a random direction" if controlled(frame) else "no random control"
        for column, (what, unit, factor) in MEASURES.items():
            changes = beyond_random(frame, column, context.confidence)
            parts.append(
                changes.select(
                    pl.lit(model).alias("model"), "task", "layer", "gamma", "n",
                    pl.lit(f"change of {what} ({unit}), {beside}").alias("measure"),
                    value=factor * pl.col("mean"), value_low=factor * pl.col("low"), value_high=factor * pl.col("high"),
                )
            )  # fmt: skip
    return pl.concat(parts).drop_nulls(["value", "gamma"]) if parts else pl.DataFrame()


def _sweep(frame: pl.DataFrame, x: alt.X, key: Key, contexts: Contexts) -> Chart:
    tasks = ["task"] if frame["task"].n_unique() > 1 else []
    shown = panels(frame, contexts, "model", *tasks, "measure")
    measure = Measure("value", "")
    said = [alt.Tooltip("task", type="nominal"), alt.Tooltip("measure", type="nominal"), _LAYER, _GAMMA]
    tips = [model_tip(), *said, *measure.tips(), count_tip("n", "languages (n)")]
    chart = curves(shown.frame, x, measure, [key], tips, banded=len(key.looks) <= _BANDED, zero=True)
    return finish(arranged(chart, shown, 220, y="independent"), contexts, shown)


def steering_languages(tables: Models, contexts: Contexts) -> Chart | None:
    """Change of accuracy by each language's own vector less that by random directions, a panel a model and task."""
    parts = [
        judged_by_language(tables[model]["steering_judged"]).with_columns(pl.lit(model).alias("model"))
        for model in contexts
    ]
    frame = pl.concat(parts, how="diagonal_relaxed").drop_nulls("own_less") if parts else pl.DataFrame()
    if not frame.height:
        return None
    kept = ("model", "task", "lang", "own_less", "own_less_low", "own_less_high", "n", "n_directions", "n_as_large")
    frame = frame.select(one for one in kept if one in frame.columns).with_columns(what=pl.lit("own vector"))
    means = frame.group_by("lang", maintain_order=True).agg(pl.col("own_less").mean())
    codes = means.sort("own_less", descending=True, maintain_order=True)["lang"].to_list()
    shown = panels(frame, contexts, "model", "task")
    measure = Measure("own_less", "own vector minus random directions (percentage points)", share=True)
    key = Key("what", "", {"own vector": Look(PALETTE[0], "o")}, ("color",))
    counts = [count_tip("n", "questions (n)"), count_tip("n_directions", "random directions (n)")]
    as_large = count_tip("n_as_large", "of these do as well")
    tips = [model_tip(), language_tip(), *measure.tips(), *counts, as_large]
    chart = estimates(shown.frame, language_rows(codes), measure, key, tips, zero=True)
    return finish(arranged(chart, shown, row_height(len(codes), 1)), contexts, shown, codes)
