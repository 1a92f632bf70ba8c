"""Interactive charts of the alignment's runs (paper A, sec. 2.6): their loss, and the gain by target layer."""

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
from isogloss.report.charts.benchmarks import GAIN_LOOKS, gains
from isogloss.report.charts.marks import by_layer, curves
from isogloss.report.charts.panels import arranged, finish, panels
from isogloss.report.charts.training import long
from isogloss.report.shared.wording import name

MOST_STEPS = 60
"""Up to so many optimiser steps, each is a point; of more, so many blocks of steps that follow one another."""


def alignment_loss(tables: Models, contexts: Contexts) -> Chart | None:
    """Loss of each run, its two terms and the share of pairs with an inactive feature, by optimiser step."""
    context = next(iter(contexts.values()))
    unit = "squared SAE units" if context.settings["alignment"]["distance"] == "squared" else "SAE units"
    measures = {
        "loss": f"loss ({unit})",
        "alignment_term": f"alignment term ({unit})",
        "retention_term": f"retention term ({unit})",
        "inactive_share": "pairs with the feature off (0 to 1)",
    }
    parts = [
        blocks(tables[model][run], [one for one in measures if one in tables[model][run].columns]).with_columns(
            model=pl.lit(model), what=pl.lit(run)
        )
        for model in contexts
        for run in contexts[model].runs
        if run in tables[model]
    ]
    frame = long(pl.concat(parts), measures, "model", "what", "step", "steps") if parts else pl.DataFrame()
    if not frame.height:
        return None
    shown = panels(frame, contexts, "model", "measure")
    axis = alt.Axis(title="optimiser step", format=",d", grid=False)
    x = alt.X("step", type="quantitative", axis=axis, scale=alt.Scale(nice=False))
    key = values(frame["what"].unique(maintain_order=True), "run")
    tips = [
        model_tip(),
        alt.Tooltip("what", type="nominal", title="run"),
        alt.Tooltip("measure", type="nominal"),
        alt.Tooltip("step", type="quantitative", format=",.1~f"),
        alt.Tooltip("value", type="quantitative", format=".4~r"),
        count_tip("steps", "steps (n)"),
    ]
    chart = curves(shown.frame, x, Measure("value", ""), [key], tips, banded=False)
    most = int(frame["steps"].max())  # type: ignore[arg-type]
    note = f"Each point is the mean of up to {most} steps that follow one another." if most > 1 else ""
    return finish(arranged(chart, shown, 200, y="independent"), contexts, shown, note=note)


def blocks(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Means of blocks of steps (columns `step` and those given), and how many steps each has in `steps`."""
    size = -(-frame.height // MOST_STEPS) or 1
    whole = frame.sort("step").select(pl.col("step").cast(pl.Float64), pl.col(columns))
    means = whole.group_by(block=pl.int_range(pl.len()) // size, maintain_order=True).agg(
        pl.col("step", *columns).mean(), steps=pl.len()
    )
    return means.drop("block").with_columns(pl.col(columns).round_sig_figs(6)) if size > 1 else means.drop("block")


def alignment_gain_layers(tables: Models, contexts: Contexts) -> Chart | None:
    """Gain of runs on a single language by target layer, held-out and all features, a panel a language (Fig. 5)."""
    frame = gains(tables, contexts, "single")
    if not frame.height:
        return None
    context = next(iter(contexts.values()))
    order = {code: at for at, code in enumerate(context.ordered(frame["lang"]))}
    frame = frame.sort(pl.col("lang").replace_strict(order), "layer", maintain_order=True)
    shown = panels(frame, contexts, "model", "lang", titles={code: name(code) for code in order})
    key = Key("what", "features", GAIN_LOOKS, ("color", "shape"))
    measure = Measure("gain_pct", "activation gain (%)", "gain")
    tips = [
        model_tip(),
        language_tip(),
        alt.Tooltip("what", type="nominal", title="features"),
        alt.Tooltip("layer", type="quantitative", title="target layer", format="d"),
        *measure.tips(),
        count_tip("n_features_held_out", "held-out features (n)"),
    ]
    chart = curves(shown.frame, by_layer(frame["layer"]), measure, [key], tips, zero=True)
    return finish(arranged(chart, shown, 240), contexts, shown, list(order))
