"""Charts within the page: each a specification in JSON, one runtime for all."""

from typing import Any

from markupsafe import escape

from isogloss.report.page.markup import json_script


def chart_fragment(name: str, chart: Any, alternative: str) -> str:
    """HTML of a chart, which charts.js draws."""
    spec = json_script(chart.to_dict())
    return (
        f'<div class="js-chart" id="chart-{escape(name)}" role="img" aria-label="{escape(alternative)}">'
        f'<script type="application/json">{spec}</script></div>'
    )


def runtime() -> str:
    """JavaScript that charts.js needs."""
    from vl_convert import javascript_bundle  # only where there are charts

    return javascript_bundle("window.vega = vega; window.vegaLite = vegaLite; window.vegaEmbed = vegaEmbed;")
