"""Marks of the interactive charts: lines with bands, rows of estimates with intervals, matrices."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from isogloss.report.charts.base import LAYER, MOST_NAMED, Chart, Key, Measure, fading, source, titled
from isogloss.report.figures.style import FAINT, INK

MOST_TICKS = 14  # of layers

_WORDS = ("Language", "Model", "Row", "Column", "interval")
"""What a chart computes of its rows for tooltips."""


def curves(
    frame: pl.DataFrame,
    x: alt.X,
    measure: Measure,
    keys: Sequence[Key],
    tips: Sequence[alt.Tooltip],
    *,
    banded: bool = True,
    zero: bool = False,
    **look: Any,
) -> Chart:
    """Lines over x with their intervals as bands, as bars where there is a single x; points answer to the pointer."""
    base = titled(measure.with_interval(source(frame))).encode(x=x)
    y = alt.Y(measure.column, type="quantitative", axis=alt.Axis(**measure.axis), **look)
    low = alt.Y(measure.low, type="quantitative", axis=alt.Axis(**measure.axis))
    of: dict[str, dict[str, Any]] = {"line": {}, "point": {}}
    for key in keys:
        of["line"] |= key.encodings("color", "strokeDash")
        of["point"] |= key.encodings("color", "shape")
    alone = frame[str(x.shorthand)].n_unique() < 2
    detail = [alt.Detail(key.column, type="nominal") for key in keys]
    many = any(key.column == "lang" and len(key.looks) > MOST_NAMED for key in keys)
    layers: list[Any] = []
    if banded and not many and measure.low in frame.columns:
        ends = base.transform_filter(f"isValid(datum[{measure.low!r}])")
        mark = ends.mark_rule(strokeWidth=1.6) if alone else ends.mark_area()
        opacity = fading(full=0.9) if alone else fading(0.02, 0.13)
        colour = {channel: one for channel, one in of["line"].items() if channel == "color"}
        layers.append(mark.encode(y=low, y2=measure.high, detail=detail, opacity=opacity, **colour))
    layers.append(
        base.mark_line(strokeWidth=0.8 if many else 1.8).encode(y=y, detail=detail, opacity=fading(), **of["line"])
    )
    points = base.mark_point(filled=True, size=18 if many else 52).encode(
        y=y, opacity=fading(), tooltip=_there(tips, frame), **of["point"]
    )
    layers.append(picked(points, keys))
    return alt.layer(*([level(base, "y")] if zero else []), *layers)


def _there(tips: Sequence[alt.Tooltip], frame: pl.DataFrame) -> list[alt.Tooltip]:
    """The tooltips of columns that the rows have; older tables lack some."""
    return [tip for tip in tips if str(tip.shorthand) in {*frame.columns, *_WORDS}]


def picked(chart: alt.Chart, keys: Sequence[Key]) -> alt.Chart:
    """A chart whose legend of languages can be clicked, if it has one: charts.js listens to the selection `pick`."""
    if any(key.column == "lang" and key.legend and len(key.looks) > 1 for key in keys):
        return chart.add_params(alt.selection_point(name="pick", fields=["lang"], bind="legend", toggle=False))
    return chart


def level(beside: Any, way: str, value: float = 0, **look: Any) -> alt.Chart:
    """A line in each panel of a chart, at a value of the axis `way`: zero, which an interval has to exclude, chance."""
    once = alt.Chart(beside.data).transform_aggregate(rows="count()")
    mark = once.mark_rule(**{"color": INK, "strokeWidth": 1, "opacity": 0.7} | look)
    where: dict[str, Any] = {way: alt.datum(value)}
    return mark.encode(**where)


def estimates(
    frame: pl.DataFrame,
    rows: alt.Y,
    measure: Measure,
    key: Key,
    tips: Sequence[alt.Tooltip],
    *,
    zero: bool = False,
    faint: Any = None,
    **look: Any,
) -> Chart:
    """A point a row with its interval as a bar; the values of `key` stand below one another in a row."""
    base = titled(measure.with_interval(source(frame))).encode(y=rows)
    if len(key.looks) > 1:
        base = base.encode(yOffset=alt.YOffset(key.column, type="nominal", sort=list(key.looks)))
    x = alt.X(measure.column, type="quantitative", axis=alt.Axis(**measure.axis), **look)
    low = alt.X(measure.low, type="quantitative", axis=alt.Axis(**measure.axis))
    opacity = faint or fading()
    layers: list[Any] = [level(base, "x")] if zero else []
    if measure.low in frame.columns:
        bars = base.transform_filter(f"isValid(datum[{measure.low!r}])").mark_rule(strokeWidth=1.6)
        layers.append(bars.encode(x=low, x2=measure.high, opacity=opacity, **key.encodings("color")))
    points = base.mark_point(filled=True, size=60)
    points = points.encode(x=x, opacity=opacity, tooltip=_there(tips, frame), **key.encodings("color", "shape"))
    return alt.layer(*layers, picked(points, [key]))


def language_rows(codes: Sequence[str]) -> alt.Y:
    """Rows of languages by name, in this order."""
    axis = alt.Axis(title=None, labelExpr="languages[datum.value] || datum.label", grid=False)
    return alt.Y("lang", type="nominal", sort=list(codes), axis=axis)


def named_rows(titles: Sequence[str], column: str = "row") -> alt.Y:
    """Rows of other things, in this order."""
    return alt.Y(column, type="nominal", sort=list(titles), axis=alt.Axis(title=None, grid=False))


def row_height(rows: int, series: int) -> int:
    """Height of so many rows with so many points in each, in pixels; less a row where the rows are many."""
    if rows > 40:
        return rows * max(13, 5 * series + 4)
    return max(40, rows * (22 if series < 2 else 10 * series + 8))


def by_layer(layers: Sequence[int] | pl.Series) -> alt.X:
    """The axis of decoder layers, with a little room beside the first and the last."""
    present = sorted(set(layers)) or [0]
    room = max(0.3, 0.03 * (present[-1] - present[0]))
    scale = alt.Scale(domain=[present[0] - room, present[-1] + room], nice=False)
    ticks = present[:: -(-len(present) // MOST_TICKS)]
    axis = alt.Axis(title=LAYER, format="d", values=ticks, labelOverlap=True, grid=False)
    return alt.X("layer", type="quantitative", axis=axis, scale=scale)


def by_step(steps: Sequence[int] | pl.Series) -> alt.X:
    """The axis of training steps, logarithmic from 1 on."""
    present = sorted(set(steps))
    axis = alt.Axis(title="training step (log scale)", format=",d", values=present, labelOverlap="greedy", grid=False)
    scale = alt.Scale(type="symlog", constant=1, domain=[present[0], present[-1]] if present else [0, 1], nice=False)
    return alt.X("step", type="quantitative", axis=axis, scale=scale)


def cells(
    frame: pl.DataFrame,
    order: Sequence[str],
    names: tuple[str, str],
    titles: tuple[str, str],
    measure: Measure,
    colour: alt.Scale,
    tips: Sequence[alt.Tooltip],
    test: str = "true",
) -> Chart:
    """A matrix of languages or scripts: a cell for each pair, those of the highlighted language full."""
    base = measure.with_interval(source(frame)).transform_filter(test)
    base = base.transform_calculate(
        Row=f"languages[datum[{names[0]!r}]] || datum[{names[0]!r}]",
        Column=f"languages[datum[{names[1]!r}]] || datum[{names[1]!r}]",
        Model="models[datum.model]",
    )
    small = len(order) > 24
    axis: dict[str, Any] = {"labelOverlap": small, "grid": False, "ticks": False, "domain": False}
    y = alt.Y(names[0], type="nominal", sort=list(order), axis=alt.Axis(title=titles[0], **axis))
    x = alt.X(names[1], type="nominal", sort=list(order), axis=alt.Axis(title=titles[1], labelAngle=-90, **axis))
    legend = alt.Legend(**measure.axis, orient="bottom", direction="horizontal")
    paint = alt.Color(measure.column, type="quantitative", scale=colour, legend=legend)
    either = f"datum[{names[0]!r}] === language || datum[{names[1]!r}] === language"
    pair = [alt.Tooltip("Row", type="nominal", title=titles[0]), alt.Tooltip("Column", type="nominal", title=titles[1])]
    rects = base.mark_rect().encode(
        x=x, y=y, color=paint, opacity=fading(0.25, test=either), tooltip=_there([*pair, *measure.tips(), *tips], frame)
    )
    return alt.layer(rects)


def dashed(beside: Any, way: str, column: str, format: str) -> alt.Chart:
    """A dashed line in each panel of a chart at the mean of a column: chance."""
    mark = alt.Chart(beside.data).mark_rule(color=FAINT, strokeDash=[4, 3], strokeWidth=1.3)
    kind = alt.Y if way == "y" else alt.X
    tip = alt.Tooltip(column, aggregate="mean", type="quantitative", title="by chance", format=format)
    where: dict[str, Any] = {way: kind(column, aggregate="mean", type="quantitative")}
    return mark.encode(**where, tooltip=tip)
