"""The interactive charts in a browser: values under the pointer, the highlight, controls, downloads, print."""

import csv
from pathlib import Path

import polars as pl
import pytest

from isogloss.report import wanted
from isogloss.report.catalogue import FIGURES
from isogloss.report.charts import embed
from isogloss.report.entry import load
from isogloss.report.shared.context import Context
from synthetic import make_tables, settings

pytestmark = pytest.mark.browser
PAGE = Path(__file__).parents[2] / "workflow" / "report"
NAMES = ("language_gap", "similarity_pairs", "gap_accuracy_correlation", "accuracy", "group_gap")
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
TITLE = '</script><img src=x onerror="window.pwned=1"><b>Skewed</b>'
HEIGHT = 900  # of the window


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, pl.DataFrame]]:
    return {model: make_tables(settings(), model) for model in ("skewed", "equal")}


@pytest.fixture(scope="module")
def page_of_charts(tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = settings()
    config["models"]["skewed"]["title"] = TITLE
    own = wanted.figure_settings(config)
    parts = []
    for name in NAMES:
        having = [model for model in config["models"] if wanted.wanted(FIGURES[name].needs, config, model)]
        frames = {model: tables[model] for model in having}
        chart = load(FIGURES[name].chart)(frames, {model: Context(model, own) for model in having})
        parts.append(f"<h2>{FIGURES[name].title}</h2>")
        parts.append(embed.chart_fragment(name, chart, f"What {name} shows"))
    context = Context("skewed", own)
    chips = embed.highlighter(context.languages, context)
    scripts = "".join(f"<script>{text}</script>" for text in (embed.runtime(), (PAGE / "charts.js").read_text()))
    path = tmp_path_factory.mktemp("charts") / "page.html"
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Charts</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<style>{(PAGE / 'charts.css').read_text()}</style>{chips}{''.join(parts)}{scripts}",
        encoding="utf-8",
    )
    return path


def drawn(page, name: str):
    """A chart of the page, scrolled to and drawn."""
    chart = page.locator(f"#chart-{name}")
    chart.scroll_into_view_if_needed()
    page.wait_for_selector(f"#chart-{name}.drawn")
    return chart


def shown(page, mark) -> dict[str, str]:
    """What the tooltip of a mark says."""
    mark.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    rows = page.locator("#vg-tooltip-element tr").all()
    return {row.locator(".key").inner_text().strip(): row.locator(".value").inner_text().strip() for row in rows}


def test_the_pointer_reads_the_tables_values(page_of_charts, visit, tables):
    page = visit(page_of_charts).page
    chart = drawn(page, "language_gap")
    mark = chart.locator(".mark-symbol.role-mark path").last  # of the last panel, its last language and layer
    said = shown(page, mark)
    code = said["language"].rpartition("(")[2].rstrip(")")
    model = "equal" if said["model"] == "Equal shares" else "skewed"
    row = tables[model]["language_gap"].filter(lang=code, layer=int(said["layer"])).row(0, named=True)
    value, low, high = (float(f"{row[name]:.4g}") for name in ("gap_pct", "ci_low", "ci_high"))
    assert float(said["gap to the reference (%)"].replace("−", "-")) == value
    bounds = said["interval"].replace("−", "-").partition(",")[0].split(" to ")
    assert [float(bound) for bound in bounds] == [low, high]
    assert said["interval"].endswith("95% interval")
    assert int(said["features (n)"]) == row["n_features"]


def test_a_language_is_highlighted_in_every_chart(page_of_charts, visit):
    page = visit(page_of_charts).page
    for name in NAMES:
        drawn(page, name)
    chip = page.locator('.chips button[data-lang="hi"]')
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    faint = '.mark-symbol.role-mark path[opacity="0.12"]'
    for name in ("language_gap", "accuracy", "gap_accuracy_correlation"):
        page.wait_for_selector(f"#chart-{name} {faint}")
        marks = page.locator(f"#chart-{name} .mark-symbol.role-mark path")
        assert 0 < marks.count() - page.locator(f"#chart-{name} {faint}").count() < marks.count() / 2
    assert page.locator(f"#chart-group_gap {faint}").count() == 0  # it has no languages
    chip.press("Enter")
    assert chip.get_attribute("aria-pressed") == "false"
    page.wait_for_function(f"document.querySelectorAll('{faint}').length === 0")
    page.locator("#chart-language_gap .role-legend-label text", has_text="Hindi").click()
    page.wait_for_selector('.chips button[data-lang="hi"][aria-pressed="true"]')


def test_the_slider_shows_another_layer(page_of_charts, visit, tables):
    page = visit(page_of_charts).page
    chart = drawn(page, "similarity_pairs")
    slider = chart.locator('input[type="range"]')
    slider.focus()
    slider.press("Home")
    said = shown(page, chart.locator(".mark-rect.role-mark path").first)
    assert said["layer"] == "0"
    pair = {said[name].rpartition("(")[2].rstrip(")") for name in said if name == "language"}
    assert pair
    cosines = set(tables["skewed"]["similarity_pairs"].filter(layer=0)["cosine"].round(4))
    assert round(float(said["cosine similarity"]), 4) in cosines


def test_the_data_of_a_chart_are_the_tables_to_the_last_digit(page_of_charts, visit, tables, tmp_path):
    page = visit(page_of_charts).page
    chart = drawn(page, "language_gap")
    chart.locator("summary").click()
    with page.expect_download() as download:
        chart.get_by_text("Save data as CSV").click()
    download.value.save_as(tmp_path / "data.csv")
    with (tmp_path / "data.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    values = {(row["model"], row["lang"], int(row["layer"])): float(row["gap_pct"]) for row in rows}
    for model, frames in tables.items():
        for lang, layer, gap in frames["language_gap"].select("lang", "layer", "gap_pct").iter_rows():
            assert lang == "en" or values[model, lang, layer] == gap


def test_print_draws_what_was_not_seen(page_of_charts, visit, tmp_path):
    page = visit(page_of_charts, viewport={"width": 1280, "height": 120}).page  # the last charts are far below it
    page.wait_for_selector(".js-chart.drawn")
    assert page.locator(".js-chart.drawn").count() < len(NAMES)
    page.evaluate(
        "addEventListener('afterprint', () => { window.printed = document.querySelectorAll('.drawn').length })"
    )
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert page.evaluate("window.printed") == len(NAMES)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_charts_fit_and_follow_the_theme(page_of_charts, visit, width, scheme):
    page = visit(page_of_charts, viewport={"width": width, "height": HEIGHT}, color_scheme=scheme).page
    for name in NAMES:
        box = drawn(page, name).locator("svg.marks").bounding_box()
        assert box
        assert 0.6 * width < box["x"] + box["width"] <= width or name == "similarity_pairs"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("text", has_text="<b>Skewed</b>").count() > 0  # as letters
