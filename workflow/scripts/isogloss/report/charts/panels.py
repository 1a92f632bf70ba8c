"""Panels, controls and parameters of the interactive charts: what turns marks into a chart of the page."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from isogloss.report.charts.base import Chart, Contexts, model_title
from isogloss.report.shared.wording import named


class Panels(NamedTuple):
    """Rows with the number of the panel that each stands in, and the panels' titles, which may have several lines."""

    frame: pl.DataFrame
    titles: list[str]


def panels(frame: pl.DataFrame, contexts: Contexts, *by: str, titles: Mapping[str, str] | None = None) -> Panels:
    """A panel for each combination of the columns `by`, in the order of the rows; `titles` calls values by name.

    A single model is named, too.
    """
    if "model" not in by and frame["model"].n_unique() == 1:  # no legend names it
        by = (*by, "model")
    if not by:
        return Panels(frame.with_columns(panel=pl.lit(0)), [""])
    keys = frame.select(by).unique(maintain_order=True).with_row_index("panel")
    first = next(iter(contexts.values()))

    def called(column: str, value: Any) -> str:
        if column == "model":
            return model_title(value, contexts)
        given = (titles or {}).get(value)
        return given if given is not None else first.panel(value) if column == "task" else str(value)

    texts = [
        ", ".join(text for column, value in zip(by, row[1:], strict=True) if (text := called(column, value)))
        for row in keys.iter_rows()
    ]
    return Panels(frame.join(keys, on=by, how="left", nulls_equal=True, maintain_order="left"), texts)


class Choice(NamedTuple):
    """A control below a chart, and the rows that it leaves."""

    parameter: dict[str, Any] | None
    test: str


def layer_slider(layers: Iterable[int], start: int | None = None) -> Choice:
    """A slider over layers where they lie evenly, else a list of them; nothing of a single layer."""
    present = sorted(set(layers))
    if len(present) < 2:
        return Choice(None, "true")
    step = present[1] - present[0]
    even = all(b - a == step for a, b in pairwise(present))
    bind: dict[str, Any] = {"input": "select", "options": present, "name": "layer "}
    if even:
        bind = {"input": "range", "min": present[0], "max": present[-1], "step": step, "name": "layer "}
    first = present[len(present) // 2] if start is None else start
    return Choice({"name": "layer", "value": first, "bind": bind}, "datum.layer === layer")


def model_choice(contexts: Contexts, present: Iterable[str]) -> Choice:
    """A list of models where several are present."""
    names = list(dict.fromkeys(present))
    if len(names) < 2:
        return Choice(None, "true")
    labels = [model_title(model, contexts) for model in names]
    bind = {"input": "select", "options": names, "labels": labels, "name": "model "}
    return Choice({"name": "model", "value": names[0], "bind": bind}, "datum.model === model")


def arranged(chart: Any, shown: Panels, height: Any, most: int = 2, square: int = 0, **scales: str) -> Chart:
    """A chart as wide as the page, or its panels side by side, at most `most`; `scales` that each panel has alone.

    `square` is the number of rows of a square matrix. charts.js reads it and `most` from `usermeta`, and breaks the
    lines of the titles.
    """
    meta: dict[str, Any] = {"columns": min(most, len(shown.titles))}
    if square:
        meta["square"] = square
    if len(shown.titles) < 2:
        titled = {"title": alt.TitleParams(shown.titles[0].split("\n"))} if any(shown.titles) else {}
        fit = alt.AutoSizeParams(type="fit-x", contains="padding")
        return chart.properties(width="container", height=height, autosize=fit, usermeta=meta, **titled)
    header = alt.Header(title=None, labelExpr="split(panels[datum.value], '\\n')")
    facet = alt.Facet("panel", type="ordinal", header=header, title=None)
    whole = chart.properties(width=300, height=height).facet(facet=facet, columns=meta["columns"])
    whole = whole.properties(usermeta=meta)
    whole = whole.resolve_axis(x="independent", y="independent")
    return whole.resolve_scale(**scales) if scales else whole


def finish(
    chart: Any,
    contexts: Contexts,
    shown: Panels,
    codes: Iterable[str] = (),
    choices: Sequence[Choice] = (),
    note: str = "",
) -> Chart:
    """The chart with the parameters that its expressions read; `codes` are the languages that it can highlight."""
    present = [code for code in dict.fromkeys(codes) if code]
    parameters: list[dict[str, Any]] = [
        {"name": "language", "value": ""},
        {"name": "languages", "value": {code: named(code) for code in present}},
        {"name": "models", "value": {model: model_title(model, contexts) for model in contexts if model}},
        {"name": "panels", "value": shown.titles},
        {"name": "confidence", "value": f"{next(iter(contexts.values())).confidence:.0%} interval"},
        *(choice.parameter for choice in choices if choice.parameter),
    ]
    known = chart.params if isinstance(chart.params, list) else []
    chart.params = [*known, *(alt.VariableParameter(**one) for one in parameters)]
    chart.usermeta = {**chart.usermeta, "languages": present}
    if note:
        chart.usermeta["note"] = note
    return chart
