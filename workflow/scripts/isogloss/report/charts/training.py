"""Interactive charts of the SAEs' training: their quality, the checkpoints' SAEs, the search of the learning rate."""

from collections.abc import Mapping
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
    model_tip,
    models,
    over_models,
    titled,
    values,
)
from isogloss.report.charts.marks import by_layer, by_step, curves
from isogloss.report.charts.panels import arranged, finish, panels
from isogloss.report.figures.style import INK, Look, depth_colours

_QUALITY = {
    "fvu": "variance unexplained (0 to 1)",
    "l0": "active features a token (L0)",
    "dead_features": "dead features (n)",
}
_SEARCHED = {"loss": "validation loss (squared error a token)", "fvu": "variance unexplained (0 to 1)"}


def long(whole: pl.DataFrame, measures: Mapping[str, str], *kept: str) -> pl.DataFrame:
    """A row a measure and row of a table, the measure's title in `measure`, its value in `value`; no undefined ones."""
    present = [name for name in kept if name in whole.columns]
    parts = [
        whole.select(*present, pl.lit(title).alias("measure"), value=pl.col(column).cast(pl.Float64))
        for column, title in measures.items()
        if column in whole.columns
    ]
    frame = pl.concat(parts) if parts else pl.DataFrame()
    return frame.filter(pl.col("value").is_finite()) if frame.height else frame


def _tips(*first: alt.Tooltip) -> list[alt.Tooltip]:
    return [
        model_tip(),
        alt.Tooltip("measure", type="nominal"),
        *first,
        alt.Tooltip("value", type="quantitative", format=".4~r"),
        count_tip("features", "features (n)"),
        count_tip("n_tokens", "tokens (n)"),
        alt.Tooltip("learning_rate", type="quantitative", title="learning rate", format=".4~r"),
    ]


_LAYER = alt.Tooltip("layer", type="quantitative", title="layer", format="d")
_STEP = alt.Tooltip("step", type="quantitative", title="training step", format=",d")


def sae_quality(tables: Models, contexts: Contexts) -> Chart | None:
    """Unexplained variance, active features a token and dead features by layer, models overlaid, a panel a measure."""
    whole = over_models(tables, "sae_quality")
    frame = long(whole, _QUALITY, "model", "layer", "features", "n_tokens")
    if not frame.height:
        return None
    frame = frame.sort("layer", maintain_order=True)
    shown = panels(frame, contexts, "measure")
    key = models({model: contexts[model] for model in frame["model"].unique(maintain_order=True)})
    chart = curves(shown.frame, by_layer(frame["layer"]), Measure("value", ""), [key], _tips(_LAYER), banded=False)
    return finish(arranged(chart, shown, 200, most=3, y="independent"), contexts, shown)


def sae_training(tables: Models, contexts: Contexts) -> Chart | None:
    """The same of the checkpoints' SAEs over training, a line a layer."""
    whole = over_models(tables, "sae_training")
    frame = long(whole, _QUALITY, "model", "layer", "step", "features", "n_tokens", "learning_rate")
    if not frame.height:
        return None
    frame = frame.sort("step", maintain_order=True)
    shown = panels(frame, contexts, "model", "measure")
    looks = {layer: Look(paint, "o") for layer, paint in depth_colours(frame["layer"]).items()}
    key = Key("layer", "layer", looks, ("color",))
    chart = curves(shown.frame, by_step(frame["step"]), Measure("value", ""), [key], _tips(_LAYER, _STEP), banded=False)
    return finish(arranged(chart, shown, 200, most=3, y="independent"), contexts, shown)


def learning_rates(tables: Models, contexts: Contexts) -> Chart | None:
    """Validation loss and unexplained variance against the learning rate, the chosen one ringed (paper C, Fig. 11)."""
    whole = over_models(tables, "learning_rates").sort("learning_rate", nulls_last=True, maintain_order=True)
    frame = long(whole, _SEARCHED, "model", "layer", "step", "learning_rate", "chosen")
    frame = frame.filter(pl.col("learning_rate") > 0) if frame.height else frame
    if not frame.height:
        return None
    shown = panels(frame, contexts, "model", "measure")
    rates = sorted(set(frame["learning_rate"]))
    axis = alt.Axis(title="learning rate of the SAE (log scale)", values=rates, format="~g", grid=False)
    x = alt.X("learning_rate", type="quantitative", axis=axis, scale=alt.Scale(type="log", nice=False, padding=12))
    near: dict[str, Any] = {"scale": alt.Scale(zero=False)}
    key = values(["rates tried"], "", "color", "shape")._replace(legend=False)
    chart = curves(
        shown.frame.with_columns(what=pl.lit("rates tried")),
        x,
        Measure("value", ""),
        [key],
        _tips(_LAYER, _STEP),
        banded=False,
        **near,
    )
    rings = titled(alt.Chart(chart.data)).transform_filter("datum.chosen").mark_point(size=260, color=INK)
    rings = rings.encode(x=x, y=alt.Y("value", type="quantitative", axis=alt.Axis(title=None), **near))
    note = "The ring: the rate that was chosen. A rate at which training diverged has no point."
    chart = arranged(alt.layer(chart, rings), shown, 240, y="independent")
    return finish(chart, contexts, shown, note=note)
