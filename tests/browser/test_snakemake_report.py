"""report.html, which Snakemake makes: no text of a study or table ends the scripts that hold it."""

import json
from pathlib import Path

import pytest
from jinja2 import Environment, PackageLoader
from snakemake.report.html_reporter import data
from snakemake.report.html_reporter.common import get_resource_as_string

from isogloss.report.page.inert import write_inert

pytestmark = pytest.mark.browser
END = "</script><script>window.pwned=1;alert(1)</script><!-- <img src=x onerror=alert(1)> ]]> {{ 7*7 }} \u202e\u2028"


def snakemake_report(path: Path) -> None:
    """A report by Snakemake's own template, with `END` wherever a study's text can stand."""
    environment = Environment(
        loader=PackageLoader("snakemake", "report/html_reporter/template"), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["get_resource_as_string"] = get_resource_as_string
    safe = END.replace("<", "&lt;")
    figure = {"name": "gap.svg", "labels": {"model": END}, "caption": f"<p>{safe}</p>", "size": "10 bytes"}
    figure |= {"job_properties": {"rule": "gap", "wildcards": f"model={END}", "params": END}}
    figure |= {"mime_type": "image/svg+xml", "data_uri": "data:,", "filename": "gap.svg"}
    page = environment.get_template("index.html.jinja2").render(
        results=json.dumps({"gap.svg": figure}),
        categories=json.dumps({"1 Gap": {"Figures": ["gap.svg"]}}),
        rulegraph=data.render_rulegraph([], [], []),
        rules=json.dumps({"gap": {"code": END, "input": [END], "output": [], "n_jobs": 1}}),
        workflow_desc=json.dumps(f"<div>{safe}</div>"),
        runtimes=json.dumps([{"rule": END, "runtime": 1.0}]),
        timeline=json.dumps([]),
        packages=data.get_packages(),
        metadata=json.dumps({"title": END}),
        pygments_css="",
        custom_stylesheet=None,
        logo="data:,",
        now="now",
    )
    path.write_text(page, encoding="utf-8")


def test_no_text_ends_a_script_of_the_report(tmp_path, visit):
    made, output = tmp_path / "made.html", tmp_path / "report.html"
    snakemake_report(made)
    write_inert(made, output)
    opened = visit(output)
    read = "[results['gap.svg'].job_properties.params, rules.gap.code, runtimes_spec[0].rule, metadata.title]"
    assert opened.page.evaluate(read) == [END] * 4
    assert "</script><script>window.pwned=1" in opened.page.locator("#app").inner_text()  # to read, not to run


def test_as_snakemake_makes_it_such_a_text_runs(tmp_path, chromium):
    """Should this fail, Snakemake has mended it, and `write_inert` can go."""
    snakemake_report(tmp_path / "made.html")
    page = chromium.new_page()
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.goto((tmp_path / "made.html").as_uri())
    assert page.evaluate("window.pwned") == 1
    page.close()
