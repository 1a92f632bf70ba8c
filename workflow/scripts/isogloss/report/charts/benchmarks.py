"""Interactive charts of the benchmarks and the alignment (paper A, secs 2.3, 2.4 and 2.6)."""

from collections.abc import Mapping

import altair as alt
import polars as pl

from isogloss.report.charts.base import (
    Chart,
    Contexts,
    Key,
    Measure,
    Models,
    count_tip,
    fading,
    language_tip,
    model_tip,
    model_title,
    models,
    over_models,
    source,
    titled,
    values,
)
from isogloss.report.charts.marks import dashed, estimates, language_rows, row_height
from isogloss.report.charts.panels import arranged, finish, panels
from isogloss.report.figures.alignment import at_target
from isogloss.report.figures.marks import FEWEST_FOR_LINE, strength
from isogloss.report.figures.scripts import script_looks
from isogloss.report.figures.style import FAINT, PALETTE, Look


def _present(contexts: Contexts, frame: pl.DataFrame) -> Contexts:
    return {model: context for model, context in contexts.items() if model in set(frame["model"])}


def accuracy(tables: Models, contexts: Contexts) -> Chart | None:
    """Accuracy of the base models by language with intervals, models side by side, a panel a task; chance dashed."""
    measure = Measure("accuracy", "accuracy", "ci", share=True)
    columns = ("adapter", "task", "lang", *measure.columns, "chance", "n")
    frame = over_models(tables, "accuracy", *columns).filter(adapter="base").drop("adapter")
    return _by_language(frame, measure, contexts)


def answers(tables: Models, contexts: Contexts) -> Chart | None:
    """Accuracy on the parallel questions of every language with its interval, a panel a task; chance dashed."""
    measure = Measure("accuracy", "accuracy", share=True)
    columns = ("task", "lang", *measure.columns, "chance", "n")
    return _by_language(over_models(tables, "answers", *columns), measure, contexts)


def _by_language(frame: pl.DataFrame, measure: Measure, contexts: Contexts) -> Chart | None:
    frame = frame.drop_nulls(measure.column)
    if not frame.height:
        return None
    codes = _rows(frame, contexts)
    shown = panels(frame, contexts, "task")
    key = models(_present(contexts, frame))
    tips = [model_tip(), language_tip(), *measure.tips(), count_tip("n", "questions (n)")]
    scale = alt.Scale(domain=[0, 1])
    chart = estimates(shown.frame, language_rows(codes), measure, key, tips, scale=scale)
    if frame["chance"].drop_nulls().len():
        chart = alt.layer(dashed(chart, "x", "chance", ".2%"), chart)
    height = row_height(len(codes), len(key.looks))
    return finish(arranged(chart, shown, height), contexts, shown, codes)


def _rows(frame: pl.DataFrame, contexts: Contexts) -> list[str]:
    """The languages in the report's order."""
    return next(iter(contexts.values())).ordered(frame["lang"].drop_nulls())


def gap_accuracy_correlation(tables: Models, contexts: Contexts) -> Chart | None:
    """Mean gap of each language against its accuracy, a panel a task: models by colour, scripts by shape."""
    frame = over_models(tables, "gap_accuracy").drop_nulls(["mean_gap_pct", "accuracy"])
    if not frame.height:
        return None
    notes = {
        (row["task"], row["model"]): strength(row, "ci")
        for row in over_models(tables, "gap_accuracy_correlation").iter_rows(named=True)
    }
    looks = script_looks(frame["lang"], next(iter(contexts.values())))
    frame = frame.with_columns(script=pl.col("lang").replace_strict({code: look.label for code, look in looks.items()}))
    shown = panels(frame, contexts, "task")
    asked = frame["task"].unique(maintain_order=True)
    shown = shown._replace(titles=[_with_r(*one, notes, contexts) for one in zip(shown.titles, asked, strict=True)])
    present = models(_present(contexts, frame), "color")
    scripts = Key("script", "script", {look.label: look for look in looks.values()}, ("shape",))
    gap = Measure("mean_gap_pct", "mean gap over layers (%)")
    tips = [
        model_tip(),
        language_tip(),
        alt.Tooltip("script", type="nominal"),
        alt.Tooltip("mean_gap_pct", type="quantitative", title=gap.title, format=gap.digits),
        alt.Tooltip("accuracy", type="quantitative", format=".2%"),
    ]
    chart = _cloud(shown.frame, present, scripts, tips)
    return finish(arranged(chart, shown, 320), contexts, shown, _rows(frame, contexts))


def _with_r(title: str, task: str, notes: Mapping[tuple[str, str], str], contexts: Contexts) -> str:
    """The title of a panel, and r of each model that has the task."""
    there = [f"{model_title(model, contexts)}: {notes[task, model]}" for model in contexts if (task, model) in notes]
    return "\n".join([title, *there])


def _cloud(frame: pl.DataFrame, of_model: Key, of_script: Key, tips: list[alt.Tooltip]) -> Chart:
    """Points with the languages' codes, and a line through those of each model."""
    near = alt.Scale(zero=False, padding=12)
    x = alt.X("mean_gap_pct", type="quantitative", title="mean gap over layers (%)", scale=near)
    axis = alt.Axis(format="~%", title="accuracy")
    y = alt.Y("accuracy", type="quantitative", axis=axis, scale=near)
    base = titled(source(frame))
    points = base.mark_point(filled=True, size=75).encode(
        x=x, y=y, opacity=fading(), tooltip=tips, **of_model.encodings("color"), **of_script.encodings("shape")
    )
    colour = of_model.encodings("color")
    codes = base.mark_text(dx=11, fontSize=10).encode(x=x, y=y, text="lang:N", opacity=fading(), **colour)
    layers: list[alt.Chart] = []
    if frame.group_by("model", "panel").len()["len"].max() >= FEWEST_FOR_LINE:  # pyright: ignore
        line = base.transform_regression("mean_gap_pct", "accuracy", groupby=["model"])
        layers.append(line.mark_line(strokeWidth=1.2, opacity=0.7).encode(x=x, y=y, **colour))
    return alt.layer(*layers, points, codes)


_GAINS = {
    "held-out features": ("gain_held_out_pct", "held_out_ci"),
    "all features (in-sample)": ("gain_pct", "ci"),
}
GAIN_LOOKS = {"held-out features": Look(PALETTE[0], "o"), "all features (in-sample)": Look(FAINT, "D")}


def alignment_gain(tables: Models, contexts: Contexts) -> Chart | None:
    """Gain of each language at the target layer of runs on several languages: held-out features, and in-sample."""
    frame = gains(tables, contexts, "several")
    if not frame.height:
        return None
    codes = _rows(frame, contexts)
    shown = panels(frame, contexts, "model", "run")
    measure = Measure("gain_pct", "activation gain (%)", "gain")
    key = Key("what", "features", GAIN_LOOKS, ("color", "shape"))
    tips = [
        model_tip(),
        language_tip(),
        alt.Tooltip("what", type="nominal", title="features"),
        *measure.tips(),
        alt.Tooltip("before", type="quantitative", title="mean activation before", format=".4~r"),
        alt.Tooltip("after", type="quantitative", title="mean activation after", format=".4~r"),
        count_tip("n_features", "features (n)"),
        count_tip("n_features_held_out", "held-out features (n)"),
        alt.Tooltip("layer", type="quantitative", title="target layer", format="d"),
    ]
    chart = estimates(shown.frame, language_rows(codes), measure, key, tips, zero=True)
    return finish(arranged(chart, shown, row_height(len(codes), 2)), contexts, shown, codes)


def gains(tables: Models, contexts: Contexts, kind: str) -> pl.DataFrame:
    """Gains at the target layer of the runs on `several` languages or on a `single` one, a row a kind of features."""
    parts: list[pl.DataFrame] = []
    for model, context in contexts.items():
        at = at_target(tables[model]["alignment_gain"], context, kind)
        parts += [_gain(at, model, title, *columns) for title, columns in _GAINS.items() if columns[0] in at.columns]
    return pl.concat(parts, how="diagonal_relaxed").drop_nulls("gain_pct") if parts else pl.DataFrame()


def _gain(rows: pl.DataFrame, model: str, what: str, column: str, interval: str) -> pl.DataFrame:
    kept = ("run", "layer", "lang", "before", "after", "n_features", "n_features_held_out")
    return rows.select(
        pl.lit(model).alias("model"), *(one for one in kept if one in rows.columns), pl.lit(what).alias("what"),
        gain_pct=column, gain_low=f"{interval}_low", gain_high=f"{interval}_high",
    )  # fmt: skip


def accuracy_change(tables: Models, contexts: Contexts) -> Chart | None:
    """Accuracy of each adapter minus the base model's, paired by question, a panel a model and task."""
    measure = Measure("difference", "change of accuracy (percentage points)", "difference_ci", share=True)
    columns = ("adapter", "task", "lang", *measure.columns, "n", "p_adjusted")
    frame = over_models(tables, "accuracy", *columns).filter(pl.col("adapter") != "base").drop_nulls("difference")
    if not frame.height:
        return None
    frame = frame.with_columns(what="adapter")
    codes = _rows(frame, contexts)
    shown = panels(frame, contexts, "model", "task")
    key: Key = values(frame["what"].unique(maintain_order=True), "run", "color", "shape")
    run = alt.Tooltip("what", type="nominal", title="run")
    p = alt.Tooltip("p_adjusted", type="quantitative", title="p, adjusted", format=".4~r")
    tips = [model_tip(), language_tip(), run, *measure.tips(), p, count_tip("n", "questions (n)")]
    chart = estimates(shown.frame, language_rows(codes), measure, key, tips, zero=True)
    return finish(arranged(chart, shown, row_height(len(codes), len(key.looks))), contexts, shown, codes)
