"""Interactive charts that compare: the planted truth, every instrument against accuracy, and models."""

import altair as alt
import numpy as np
import polars as pl

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.joined.measures import MEASURES
from isogloss.report.charts.base import (
    Chart,
    Contexts,
    Key,
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
from isogloss.report.charts.marks import estimates, level, named_rows, picked, row_height
from isogloss.report.charts.panels import Panels, arranged, finish, panels
from isogloss.report.figures.style import FAINT, INK, PALETTE, Look
from isogloss.report.shared.wording import SIZE_TITLES, number

_STEPS = 9  # of the band of a slope


def planted_truth_languages(tables: Models, contexts: Contexts) -> Chart | None:
    """For each measure a panel: planted minus control by ratio of shares, and the slope with its interval."""
    context = contexts[""]
    truth, points = (tables[""][f"comparison/{one}"] for one in ("planted_truth", "planted_truth_points"))
    by_name = {measure.name: measure for measure in MEASURES}
    rows = sorted(truth.iter_rows(named=True), key=lambda row: not by_name[row["measure"]].judged)
    parts, titles = [], []
    for row in rows:
        of_row = points.filter(pl.col("measure") == row["measure"], pl.col("layer").eq_missing(row["layer"]))
        of_row = of_row.drop_nulls(["log_ratio", "difference"])
        if not of_row.height:
            continue
        dots = of_row.select("lang", "seed", "share", "log_ratio", "value", "control_value", "difference")
        both = pl.concat([dots, _slope(of_row, row)], how="diagonal_relaxed")
        parts.append(both.with_columns(panel=pl.lit(len(titles))))
        layer = "" if row["layer"] is None else f" at layer {row['layer']}"
        titles.append(f"{by_name[row['measure']].title}{layer}: {_verdict(row)}")
    if not parts:
        return None
    frame = pl.concat(parts, how="diagonal_relaxed")
    codes = context.ordered(frame["lang"].drop_nulls())
    key = languages(codes, context)
    axis = alt.Axis(title="planted / equal share (log scale)", labelExpr="format(exp(datum.value), '.2~r')", grid=False)
    x = alt.X("log_ratio", type="quantitative", axis=axis)
    base = titled(source(frame)).encode(x=x)
    y = alt.Y("difference", type="quantitative", title="planted − equal")
    tips = [
        language_tip(),
        alt.Tooltip("difference", type="quantitative", title="planted − equal", format=".4~r"),
        alt.Tooltip("value", type="quantitative", title="with planted shares", format=".4~r"),
        alt.Tooltip("control_value", type="quantitative", title="with equal shares", format=".4~r"),
        alt.Tooltip("share", type="quantitative", title="planted share", format=".2%"),
        alt.Tooltip("seed", type="quantitative", title="seed", format="d"),
    ]
    band = base.transform_filter("isValid(datum.low)").mark_area(color=FAINT, opacity=0.25)
    line = base.transform_filter("isValid(datum.line)").mark_line(color=INK, strokeWidth=1.6)
    dots = base.transform_filter("isValid(datum.lang)").mark_point(filled=True, size=52)
    dots = dots.encode(y=y, tooltip=tips, opacity=fading(), **key.encodings("color", "shape"))
    title = "planted − equal"
    layers = [
        level(base, "y"),
        band.encode(y=alt.Y("low", type="quantitative", title=title), y2="high"),
        line.encode(y=alt.Y("line", type="quantitative", title=title)),
        picked(dots, [key]),
    ]
    shown = Panels(frame, titles)
    chart = arranged(alt.layer(*layers), shown, 170, most=3, y="independent")
    return finish(chart, contexts, shown, codes)


def _slope(points: pl.DataFrame, row: dict) -> pl.DataFrame:
    """A slope through the middle of its points, and those of its interval; no rows where it is not defined."""
    if row["slope"] is None:
        return pl.DataFrame()
    x = points["log_ratio"].to_numpy()
    ends, level_ = np.linspace(x.min(), x.max(), _STEPS), float(points["difference"].mean())  # pyright: ignore
    columns = {"log_ratio": ends, "line": level_ + row["slope"] * (ends - x.mean())}
    if row["ci_low"] is not None:
        columns |= {one: level_ + row[f"ci_{one}"] * (ends - x.mean()) for one in ("low", "high")}
    return pl.DataFrame(columns)


def _verdict(row: dict) -> str:
    """`passes, slope −5.24 [−7.00, −3.08]`."""
    word = row["verdict"] or "not judged"
    if row["slope"] is None:
        return f"{word}, no slope"
    bounds = "" if row["ci_low"] is None else f" [{number(row['ci_low'], 2)}, {number(row['ci_high'], 2)}]"
    return f"{word}, slope {number(row['slope'], 2)}{bounds}"


_CORRELATED = {"r": "r", "partial_r": "r given tokens and script"}


def joined_correlations(tables: Models, contexts: Contexts) -> Chart | None:
    """r of every instrument with accuracy over languages, and r given tokens and script, a panel a model."""
    whole = over_models(tables, "joined_correlations")
    titles = {one.column: one.title for one in INSTRUMENTS}
    parts = [
        whole.select(
            "model", pl.col("instrument").replace(titles).alias("row"), pl.lit(title).alias("what"),
            r=column, r_low=f"{start}ci_low", r_high=f"{start}ci_high", p_adjusted=f"{start}p_adjusted", n=f"{start}n",
        )
        for (column, title), start in zip(_CORRELATED.items(), ("", "partial_"), strict=True)
    ]  # fmt: skip
    frame = pl.concat(parts).drop_nulls("r")
    if not frame.height:
        return None
    rows = [title for title in titles.values() if title in set(frame["row"])]
    absent = [title for title in titles.values() if title not in rows]
    shown = panels(frame, contexts, "model")
    measure = Measure("r", "r with accuracy over languages")
    looks = {"r": Look(FAINT, "o"), "r given tokens and script": Look(PALETTE[0], "D")}
    said = [alt.Tooltip("row", type="nominal", title="instrument"), alt.Tooltip("what", type="nominal", title="r")]
    p = alt.Tooltip("p_adjusted", type="quantitative", title="p, adjusted", format=".4~r")
    tips = [model_tip(), *said, *measure.tips(), p, count_tip("n", "languages (n)")]
    key, scale = Key("what", "", looks, ("color", "shape")), alt.Scale(domain=[-1, 1])
    chart = estimates(shown.frame, named_rows(rows), measure, key, tips, zero=True, scale=scale)
    note = f"Not defined in any model: {', '.join(absent)}." if absent else ""
    return finish(arranged(chart, shown, row_height(len(rows), 2)), contexts, shown, note=note)


def models(tables: Models, contexts: Contexts) -> Chart | None:
    """A panel a measure, a row a model, the smallest first; questions apart by colour and shape."""
    context = contexts[""]
    behaviour, sizes = tables[""]["comparison/models"], tables[""]["comparison/sizes"]
    order = behaviour.select("model", "n_parameters").unique("model", maintain_order=True)
    order = order.sort("n_parameters", nulls_last=True, maintain_order=True)["model"].to_list()
    parallel = pl.when(pl.col("analysis") == "latent").then(pl.lit(", parallel questions")).otherwise(pl.lit(""))
    task = pl.col("task").replace({code: context.panel(code) for code in behaviour["task"].drop_nulls().unique()})
    parts = [
        behaviour.drop_nulls([column, "task"]).select(
            "model", "n_parameters", pl.lit(title).alias("measure"), pl.concat_str(task, parallel).alias("what"),
            value=column, value_low=f"{column}_low", value_high=f"{column}_high", chance=f"{column}_chance",
        )
        for column, title in _COMPARED.items()
    ]  # fmt: skip
    features = sizes.drop_nulls("value").select(
        "model", "n_parameters", pl.col("measure").replace(dict(SIZE_TITLES)), pl.lit("features").alias("what"),
        "value", "value_low", "value_high",
    )  # fmt: skip
    frame = pl.concat([*parts, features], how="diagonal_relaxed")
    if not frame.height:
        return None
    names = {model: context.title(model) for model in order}
    everyone = dict.fromkeys(order, contexts[""])
    shown = panels(frame, everyone, "measure")
    axis = alt.Axis(title=None, labelExpr="models[datum.value]", grid=False)
    rows = alt.Y("model", type="nominal", sort=list(names), axis=axis)
    measure = Measure("value", "")
    key = values(frame["what"].unique(maintain_order=True), "of", "color", "shape")
    size = count_tip("n_parameters", "parameters")
    chance = alt.Tooltip("chance", type="quantitative", title="by chance", format=".4~r")
    tips = [model_tip(), size, alt.Tooltip("what", type="nominal", title="of"), *measure.tips(), chance]
    chart = estimates(shown.frame, rows, measure, key, tips)
    height = row_height(len(order), len(key.looks))
    return finish(arranged(chart, shown, height, most=3, x="independent"), everyone, shown)


_COMPARED = {
    "accuracy": "Accuracy (0 to 1)",
    "consistency": "Consistency (ρ)",
    "positive_transfer": "Positive transfer (0 to 1)",
}
