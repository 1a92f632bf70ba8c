"""Charts within a page: their specification as JSON, the chips that highlight a language, and Vega itself.

A page needs, once each, `runtime()`, workflow/report/charts.css and charts.js, and of `chart_fragment` one a chart.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
from markupsafe import Markup

from isogloss.report.charts.base import MOST_NAMED, Chart, shape
from isogloss.report.figures.scripts import script_looks
from isogloss.report.figures.style import colour, marker
from isogloss.report.shared.context import Context
from isogloss.report.shared.json_script import json_script
from isogloss.report.shared.wording import name, named


def runtime() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script of 0.9 MB, which sets window.vegaEmbed and asks for no file."""
    from vl_convert import javascript_bundle  # only where there are charts

    return javascript_bundle()  # pyright: ignore[reportCallIssue]


def specification(chart: Chart, validate: bool = False) -> dict[str, Any]:
    """A chart in Vega-Lite; its colours and fonts are charts.js's. The tests hold every chart against the schema.

    Raises:
        altair.utils.schemapi.SchemaValidationError: to `validate`, if it is no Vega-Lite.
    """
    with alt.data_transformers.enable("default", max_rows=None):
        spec = chart.to_dict(validate=validate)
    spec.pop("config", None)
    spec.pop("$schema", None)
    return spec


def chart_fragment(name: str, chart: Chart, alternative: str) -> Markup:
    """A chart as an element that charts.js draws.

    `name` is the catalogue's; `alternative` is what a reader who cannot see the chart is told.
    """
    spec = specification(chart)
    note = spec["usermeta"].get("note", "")
    said = Markup('<p class="chart-note">{}</p>').format(note) if note else ""
    view = Markup('<div class="chart-view"></div><p class="chart-empty">This chart needs scripts.</p>{}')
    head = Markup('<div class="js-chart" id="chart-{}" data-name="{}" data-description="{}">')
    return head.format(name, name, alternative) + view.format(said) + json_script(spec) + Markup("</div>")


def highlighter(codes: Sequence[str], context: Context) -> Markup:
    """The chips that highlight a language in every chart of a page; a list where the languages are many."""
    if not codes:
        return Markup("")
    label = Markup('<span class="chips-label">Highlight</span>')
    if len(codes) > 2 * MOST_NAMED:
        option = Markup('<option value="{}">{}</option>')
        options = [Markup('<option value="">none</option>'), *(option.format(code, named(code)) for code in codes)]
        chosen = Markup('<label class="js-languages chips" data-nosearch>{}<select>{}</select></label>')
        return chosen.format(label, Markup("").join(options)) + _scripts(codes, context)
    chip = Markup('<button type="button" data-lang="{}" aria-pressed="false" title="{}">{}{}</button>')
    chips = Markup("").join(chip.format(code, named(code), _swatch(code, context), name(code)) for code in codes)
    group = Markup('<div class="js-languages chips" data-nosearch role="group" aria-label="{}">{}{}</div>')
    return group.format("Highlight a language in every chart", label, chips)


def _scripts(codes: Sequence[str], context: Context) -> Markup:
    """What the colours of many languages mean: their scripts; a shade of one is a family."""
    looks = {look.label: look.colour for look in script_looks(codes, context).values()}
    mark = Markup('<span><svg aria-hidden="true" viewBox="-1.1 -1.1 2.2 2.2"><path d="{}" fill="{}"/></svg> {}</span>')
    items = Markup(" ").join(mark.format(_PATHS["circle"], paint, title) for title, paint in looks.items())
    return Markup('<p class="scripts js-languages" data-nosearch>Colour: script; shade: family. {}</p>').format(items)


_PATHS = {
    "circle": "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z",
    "square": "M-.85,-.85H.85V.85H-.85Z",
    "diamond": "M0,-1L.8,0L0,1L-.8,0Z",
    "triangle-up": "M0,-.9L1,.8H-1Z",
    "triangle-down": "M0,.9L1,-.8H-1Z",
    "triangle-left": "M-.9,0L.8,-1V1Z",
    "triangle-right": "M.9,0L-.8,-1V1Z",
    "cross": "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
}


def _swatch(code: str, context: Context) -> Markup:
    """The colour and marker of a language."""
    path = shape(marker(code, context))
    mark = Markup('<svg aria-hidden="true" viewBox="-1.1 -1.1 2.2 2.2"><path d="{}" fill="{}"/></svg>')
    return mark.format(_PATHS.get(path, path), colour(code, context))
