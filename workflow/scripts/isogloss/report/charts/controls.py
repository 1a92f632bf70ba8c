"""Interactive chart of the controls of the gap (paper A, sec. 2.5): what would fake it, beside it."""

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
    over_models,
)
from isogloss.report.charts.marks import estimates, language_rows, row_height
from isogloss.report.charts.panels import arranged, finish, layer_slider, panels
from isogloss.report.figures.gap import CONTROLS
from isogloss.report.figures.style import spaced

MOST_ROWS = 6000
"""Estimates in the chart; of more, layers that lie evenly are kept."""

_INTERVALS = {
    "gap_pct": "gap_ci",
    "gap_equal_tokens_pct": "gap_equal_tokens_ci",
    "gap_shuffled_pct": "gap_shuffled_ci",
    "gap_random_pct": "gap_random_ci",
}


def activation_controls(tables: Models, contexts: Contexts) -> Chart | None:
    """The gap of each language and its controls at the layer that the slider shows, a panel a model."""
    context = next(iter(contexts.values()))
    looks = {" ".join(look.label.split()): look for look in CONTROLS.values()}
    whole = over_models(tables, "activation_controls").filter(pl.col("lang") != context.reference)
    parts = [
        whole.select(
            "model", "layer", "lang", "token_ratio", "characters_per_token", "n", pl.lit(title).alias("what"),
            gap_pct=column, gap_low=f"{_INTERVALS[column]}_low", gap_high=f"{_INTERVALS[column]}_high",
        )
        for title, column in zip(looks, CONTROLS, strict=True)
    ]  # fmt: skip
    frame = pl.concat(parts).drop_nulls("gap_pct")
    if not frame.height:
        return None
    frame, note = _thinned(frame)
    codes = context.by_group(frame["lang"])
    shown = panels(frame, contexts, "model")
    slider = layer_slider(frame["layer"])
    measure = Measure("gap_pct", "gap to the reference (%)", "gap")
    tips = [
        model_tip(),
        language_tip(),
        alt.Tooltip("what", type="nominal", title="measured on"),
        alt.Tooltip("layer", type="quantitative", title="layer", format="d"),
        *measure.tips(),
        alt.Tooltip("token_ratio", type="quantitative", title="tokens / the reference's tokens", format=".4~r"),
        alt.Tooltip("characters_per_token", type="quantitative", title="characters a token", format=".4~r"),
        count_tip("n", "phrases (n)"),
    ]
    key = Key("what", "measured on", looks, ("color", "shape"))
    chart = estimates(shown.frame, language_rows(codes), measure, key, tips, zero=True).transform_filter(slider.test)
    height = row_height(len(codes), len(looks))
    return finish(arranged(chart, shown, height), contexts, shown, codes, [slider], note)


def _thinned(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The rows of the layers that are shown, and how many they are where they are not all."""
    layers = sorted(set(frame["layer"]))
    if frame.height <= MOST_ROWS or len(layers) < 3:
        return frame, ""
    kept = spaced(layers, max(2, len(layers) * MOST_ROWS // frame.height))
    return frame.filter(pl.col("layer").is_in(kept)), f"{len(kept)} of {len(layers)} layers; the table has all."
