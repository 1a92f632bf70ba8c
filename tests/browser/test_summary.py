"""results/summary.html in a browser: what a reader sees, reaches, sorts, downloads and prints; in light and dark."""

import re
from pathlib import Path

import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from report_pages import Made, demo, make_page

pytestmark = pytest.mark.browser
MEGABYTE = 1_000_000
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"
A4 = {"width": 695, "height": 1016}  # CSS pixels of a page less its margins, as summary.css has them
ACROSS = 1016  # CSS pixels of a page that is turned, for tables of many columns


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_page(tmp_path_factory.mktemp("demo"), demo())


def complaints(page, *rules: str) -> list[str]:
    """Findings of axe-core that are serious or critical, with the elements; of some rules only where given.

    Of long tables and lists of contexts the first speak for the others, which would take axe-core minutes: these are
    taken out of the page, and so are drawings, which axe-core takes for one image each.
    """
    long = "tbody tr:nth-child(n+6), .f ~ .f, svg.marks > *"
    page.evaluate(f"document.querySelectorAll('{long}').forEach((one) => one.remove())")
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = Axe().run(page, options=options).response
    return [
        f"{one['id']}, {one['impact']}: {node['html'][:200]} ({node['failureSummary'][:300]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def too_wide(page) -> list[str]:
    """What reaches beyond the window's right edge and is not in a box that scrolls; nothing where the page fits."""
    return page.evaluate(
        """() => {
          const edge = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= edge) return [];
          const boxed = (one) => /auto|scroll|hidden|clip/.test(getComputedStyle(one).overflowX);
          const scrolls = (one) => one && one !== document.body && (boxed(one) || scrolls(one.parentElement));
          return [...document.body.querySelectorAll("*")]
            .filter((one) => one.getBoundingClientRect().right > edge + 1 && !scrolls(one.parentElement))
            .map((one) => `${one.tagName}.${one.className}#${one.id}: ${Math.round(one.getBoundingClientRect().right)}`)
            .slice(0, 8).concat([`the page is ${document.documentElement.scrollWidth} wide`]);
        }"""
    )


def test_the_page_is_small_and_paints_soon(made, visit, record_property):
    size = made.page.stat().st_size
    assert size <= 6 * MEGABYTE
    opened = visit(made.page)
    paints = opened.page.evaluate("performance.getEntriesByType('paint').map(one => [one.name, one.startTime])")
    record_property("first paint (ms)", dict(paints))
    print(f"{size / MEGABYTE:.2f} MB, first paint {dict(paints)} ms")
    assert dict(paints)["first-contentful-paint"] > 0


def test_the_first_minute_is_short(made, visit):
    page = visit(made.page).page
    rows = page.locator("table.scorecard tbody tr")
    assert 1 <= rows.count() <= 10
    for row in rows.all():
        cells = row.locator("th, td").all_inner_texts()
        assert len(cells) == 4
        assert all(cell.strip() for cell in cells), cells
    text = page.locator(".landing").evaluate(
        """(landing) => {
          const copy = landing.cloneNode(true);
          const left = "details, script, style, svg, .js-chart, [data-nosearch]";
          copy.querySelectorAll(left).forEach((one) => one.remove());
          return copy.textContent;
        }"""
    )
    words = [word for word in text.split() if re.search(r"[^\W\d_]", word)]  # numbers are not words
    print(f"{len(words)} words before the fold-outs")
    assert len(words) <= 600


def test_links_within_the_page_lead_somewhere_and_open_what_is_folded(made, visit):
    page = visit(made.page).page
    lost = page.evaluate(
        """() => [...document.querySelectorAll('a[href^="#"]')].map((one) => one.getAttribute("href").slice(1))
          .filter((id) => id && !document.getElementById(id))"""
    )
    assert lost == []
    doubled = page.evaluate(
        """() => { const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
          return ids.filter((id, at) => ids.indexOf(id) !== at); }"""
    )
    assert doubled == []
    folded = page.locator("details figure[id]").first.get_attribute("id")
    linked = visit(Path(made.page)).page
    linked.goto(f"{made.page.as_uri()}#{folded}")
    linked.reload()
    linked.locator(f"#{folded}").wait_for(state="visible")


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_axe_has_nothing_serious_to_say(made, visit, scheme, rules):
    page = visit(made.page, color_scheme=scheme).page
    page.evaluate(OPEN_ALL)
    assert complaints(page, *rules) == []


def test_a_phone_shows_the_page_without_sideways_scroll(made, visit):
    page = visit(made.page, viewport={"width": 390, "height": 844}, device_scale_factor=1, has_touch=True).page
    assert too_wide(page) == []
    page.evaluate(OPEN_ALL)
    assert too_wide(page) == []


def test_keys_alone_reach_contents_folds_and_columns(made, visit):
    page = visit(made.page).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached: set[str] = set()
    page.evaluate("document.querySelector('.contents a').focus()")
    for _ in range(400):
        page.keyboard.press("Tab")
        what = page.evaluate(
            "document.activeElement.tagName + ' ' + (document.activeElement.closest('th') ? 'th' : '')"
        )
        reached.add(what.strip())
        if what.strip() == "SUMMARY" and not page.evaluate("document.activeElement.parentElement.open"):
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.parentElement.open")
        if what == "BUTTON th":
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
            break
    assert {"A", "SUMMARY", "BUTTON th"} <= reached


def fold(page, name: str, model: str = "skewed"):
    """A table on the page, whatever it was folded under opened."""
    page.evaluate(OPEN_ALL)
    table = page.locator(f"#table-{name}-{model}")
    table.scroll_into_view_if_needed()
    return table


def test_a_table_sorts_by_its_values_and_goes_back(made, visit):
    page = visit(made.page).page
    table = fold(page, "language_gap")
    first = table.locator("tbody tr").all_inner_texts()
    column = table.locator("thead th").all_inner_texts()
    at = next(number for number, head in enumerate(column) if "gap" in head.lower())
    button = table.locator("thead th").nth(at).locator("button")

    def values() -> list[float]:
        cells = table.locator(f"tbody tr > :nth-child({at + 1})").all_inner_texts()
        return [float(cell.replace("−", "-").replace(",", "")) for cell in cells if cell != "–"]

    button.click()
    rising = values()
    assert rising == sorted(rising)
    button.click()
    assert values() == rising[::-1]
    button.click()
    assert table.locator("tbody tr").all_inner_texts() == first
    shown = made.table("language_gap")["gap_pct"].drop_nulls().sort().to_list()
    assert rising == pytest.approx(shown, abs=0.051)


def test_a_filter_leaves_the_rows_with_its_words(made, visit):
    page = visit(made.page).page
    table = fold(page, "language_gap")
    table.locator("input[type=search]").fill("Malayalam")
    rows = [row for row in table.locator("tbody tr").all() if row.is_visible()]
    assert len(rows) == made.table("language_gap").filter(lang="ml").height
    assert all("Malayalam" in row.inner_text() for row in rows)


def test_downloads_are_the_tables_whole(made, visit, tmp_path):
    page = visit(made.page, accept_downloads=True).page
    table = fold(page, "language_gap")
    for label, name in (("CSV", "got.csv"), ("Parquet", "got.parquet")):
        with page.expect_download() as download:
            table.get_by_text(label, exact=True).click()
        download.value.save_as(tmp_path / name)
    expected = made.table("language_gap")
    assert (tmp_path / "got.csv").read_bytes() == expected.write_csv().encode()
    assert (tmp_path / "got.parquet").read_bytes() == (
        made.folder / "results/skewed/tables/language_gap.parquet"
    ).read_bytes()
    assert pl.read_parquet(tmp_path / "got.parquet").equals(expected)


def test_the_search_finds_words_of_folded_parts(made, visit):
    page = visit(made.page).page
    folded = page.locator("details.section:not([open]) figure").last
    page.locator("#search").fill(folded.locator(".figure-title").evaluate("one => one.firstChild.textContent.trim()"))
    page.locator("#search").press("Enter")
    expect(page.locator("output.matches")).to_have_text(re.compile("[1-9]"))


def test_the_search_finds_features_of_the_explorer_by_their_texts_and_numbers(made, visit):
    page = visit(made.page).page
    page.locator("#search").fill("मैड्रिड")
    said = page.locator("output.matches")
    expect(said).to_have_text(re.compile(r"1 of \d+ \(feature \d+\)"))
    shown = page.locator(".explorer-text.matched").first
    expect(shown).to_be_in_viewport()
    assert "मैड्रिड" in shown.inner_text()
    page.locator("#search").press("Enter")
    expect(said).to_have_text(re.compile(r"2 of "))
    page.locator("#search").fill("feature 30")
    expect(page.locator(".explorer-detail h3")).to_contain_text("Feature 30 ")
    expect(said).to_contain_text("(feature 30)")
    page.locator("#search").fill("")
    expect(page.locator(".explorer-text.matched")).to_have_count(0)
    expect(said).to_have_text("")


def test_a_percent_sign_in_the_address_is_one(made, visit):
    """`visit` checks that the page writes no error, neither as it opens nor later."""
    page = visit(made.page).page
    page.evaluate("location.hash = '#100%'")
    page.reload()
    page.evaluate("location.hash = '#%E0%A4'")
    expect(page.locator(".explorer-detail h3")).to_contain_text("Feature ")


@pytest.mark.parametrize(
    ("asked", "marked"),
    [("istiklal", "İSTiklal"), ("İstiklal", "İSTiklal"), ("7b", "7B"), ("οδοσ", "ΟΔΟΣ"), ("οδος", "ΟΔΟΣ")],
)
def test_the_search_marks_the_letters_that_it_found(made, visit, asked, marked):
    """The small letter of the Turkish capital I with a dot is two characters, and a sigma is another at the end."""
    page = visit(made.page).page
    text = "İİİİ İSTiklal, İ 7B"
    put = "p => document.getElementById('main').insertAdjacentHTML('beforeend', `<p class=put>${p}</p>`)"
    page.evaluate(put, text + " ΟΔΟΣ")
    page.locator("#search").fill(asked)
    expect(page.locator(".put mark")).to_have_text([marked])


def test_the_chips_of_ten_languages_stand_in_one_row(made, visit):
    page = visit(made.page).page
    tops = (
        page.locator(".chips")
        .first.locator("button")
        .evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
    )
    assert len(tops) == 10
    assert len(set(tops)) == 1


def chart(page, name: str):
    """A drawn chart that the window shows."""
    page.evaluate(OPEN_ALL)
    drawn = page.locator(f"#figure-{name} .js-chart.drawn")
    page.locator(f"#figure-{name} .js-chart").scroll_into_view_if_needed()
    drawn.locator("svg.marks").wait_for()
    return drawn


def test_the_pointer_shows_the_tables_values(made, visit):
    page = visit(made.page).page
    points = chart(page, "accuracy").locator(".mark-symbol.role-mark path")
    table = made.table("accuracy").filter(adapter="base")
    for at in (0, 7):
        points.nth(at).hover(force=True)
        shown = page.locator("#vg-tooltip-element.visible")
        shown.wait_for()
        cells = dict(map(str.strip, row.inner_text().split("\t")) for row in shown.locator("tr").all())
        lang = re.search(r"\((.*)\)", cells["language"])[1]
        rows = table.filter(lang=lang).select("accuracy", "ci_low", "ci_high", "n").rows()
        as_shown = [
            (f"{100 * value:.2f}%", f"{100 * low:.2f}% to {100 * high:.2f}%, 95% interval", f"{n:,}")
            for value, low, high, n in rows
        ]
        assert (cells["accuracy"], cells["interval"], cells["questions (n)"]) in as_shown
        page.mouse.move(0, 0)


def test_one_language_is_highlighted_in_every_chart(made, visit):
    page = visit(made.page).page
    faint = "all => all.filter((one) => Number(one.getAttribute('opacity') ?? 1) < 0.5).length"
    points = [chart(page, name).locator(".mark-symbol.role-mark path") for name in ("language_gap", "accuracy")]
    assert [one.evaluate_all(faint) for one in points] == [0, 0]
    chip = page.locator(".js-languages [data-lang=ml]").first
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    for one in points:
        one.first.and_(page.locator("[opacity='0.12']")).wait_for(state="attached")
        assert one.evaluate_all(faint) == pytest.approx(0.9 * one.count(), abs=1)  # nine of ten languages
    chip.click()
    points[0].first.and_(page.locator("[opacity='1']")).wait_for(state="attached")
    assert chip.get_attribute("aria-pressed") == "false"


def test_print_opens_every_fold_and_cuts_no_figure(made, visit):
    page = visit(made.page, viewport=A4).page
    page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager' })")  # as a printer does
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    charts = page.locator(".js-chart")
    expect(page.locator(".js-chart.drawn")).to_have_count(charts.count(), timeout=60_000)
    cut = page.evaluate(
        """(height) => [...document.querySelectorAll("figure img, figure .js-chart, figure svg")]
          .map((one) => [one, one.getBoundingClientRect()])
          .filter(([one, box]) => {
            if (box.height === 0) return true;
            let kept = one;
            while (kept && !/avoid/.test(getComputedStyle(kept).breakInside)) kept = kept.parentElement;
            return box.height > height || (!kept && one.tagName !== "IMG");
          })
          .map(([one, box]) => `${one.closest("figure").id}: ${one.tagName} ${box.width} x ${box.height}`)""",
        A4["height"],
    )
    assert cut == []
    wide = page.locator(".wide table").evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert max(wide, default=0) <= ACROSS
    page.evaluate("document.querySelectorAll('.wide').forEach((one) => one.remove())")
    assert too_wide(page) == []


def test_a_printer_gets_pages(made, visit, tmp_path):
    printed = visit(made.page).page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    print(f"{pages} pages of print")
    assert pages >= 10
