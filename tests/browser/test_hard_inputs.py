"""results/summary.html of studies that are large, small, empty or hostile: it says what there is, and runs nothing."""

import re
from itertools import pairwise

import pytest
from test_summary import MEGABYTE, OPEN_ALL, complaints, too_wide

from report_pages import (
    HOSTILE,
    LONG,
    Made,
    demo,
    hostile,
    large,
    make_page,
    many_languages,
    smallest,
    with_hostile_texts,
    without_values,
)

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}
CODE = re.compile(  # what no reader should meet
    r"\bnan\b|\bNaN\b|\bNone\b(?! of | are | is )|^null$|: null\b|\binf\b|Infinity|\[object|Traceback|Markup\(",
    re.MULTILINE,
)


def read(made: Made, visit) -> str:
    """What the page says with all folds open, on a phone; it fits, shows no empty picture, and is no code."""
    page = visit(made.page, viewport=PHONE).page
    page.evaluate(OPEN_ALL)
    assert too_wide(page) == []
    empty = page.locator("figure").evaluate_all(
        """(all) => all.filter((one) => !one.querySelector("img, svg, canvas, table, p.takeaway, p.nothing"))
          .map((one) => one.id)"""
    )
    assert empty == []
    text = page.locator("body").inner_text()
    assert [text[max(0, one.start() - 60) : one.end() + 30] for one in CODE.finditer(text)] == []
    return text


def test_ten_languages_and_26_layers_stay_small(tmp_path, visit):
    made = make_page(tmp_path, large())
    size = made.page.stat().st_size
    print(f"{size / MEGABYTE:.2f} MB")
    assert size <= 15 * MEGABYTE
    opened = visit(made.page)
    paints = opened.page.evaluate("performance.getEntriesByType('paint').map(one => [one.name, one.startTime])")
    print(f"first paint {dict(paints)} ms")
    assert too_wide(opened.page) == []


def test_122_languages_fit_and_their_labels_stand_apart(tmp_path, visit):
    made = make_page(tmp_path, many_languages(), drawn=None)
    size = made.page.stat().st_size
    print(f"{size / MEGABYTE:.2f} MB")
    assert size <= 15 * MEGABYTE
    page = visit(made.page).page
    assert too_wide(page) == []
    page.evaluate(OPEN_ALL)
    for name in ("accuracy", "language_gap", "reciprocal_gap", "consistency"):
        chart = page.locator(f"#chart-{name}")
        chart.scroll_into_view_if_needed()
        page.locator(f"#chart-{name}.drawn svg.marks").wait_for()
    boxes = page.locator("#chart-accuracy .role-axis-label text").evaluate_all(
        """(all) => all.filter((one) => / \\([\\w-]+\\)$/.test(one.textContent))
          .map((one) => one.getBoundingClientRect()).map((one) => [one.left, one.top, one.right, one.bottom])"""
    )
    assert len(boxes) >= 122
    rows = sorted({(round(top), round(bottom)) for left, top, _, bottom in boxes if left < 600})
    assert all(below[0] >= above[1] - 3 for above, below in pairwise(rows))
    page.locator(".js-languages select").first.select_option("sw")
    page.wait_for_selector("#chart-language_gap .mark-symbol.role-mark path[opacity='0.12']")
    assert "Colour: script; shade: family." in page.locator("p.scripts").first.inner_text()


@pytest.mark.parametrize(
    ("analyses", "lacking"),
    [
        (("gap", "similarity"), ("Paper B", "Paper C")),
        (("benchmarks", "latent"), ("Activation gap",)),  # no SAEs
        (("gap", "similarity", "bilingual", "causal"), ("Accuracy by language",)),  # no questions
        (("benchmarks",), ("Activation gap", "Latent language")),
        ((), ("Key figures",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value,
)
def test_a_study_of_one_pair_and_layer_says_what_there_is(tmp_path, visit, analyses, lacking):
    made = make_page(tmp_path, smallest(analyses))
    text = read(made, visit)
    assert "Scorecard" in text
    contents = visit(made.page).page.locator("nav.contents").inner_text()
    for title in lacking:
        assert title not in contents
    if not analyses:
        assert "none of the analyses" in text


def test_values_that_are_not_defined_are_said_not_drawn(tmp_path, visit):
    text = read(make_page(tmp_path, demo(), without_values), visit)
    assert "Scorecard" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_texts_are_shown_and_do_nothing(hostile_page, visit, scheme):
    opened = visit(hostile_page.page, color_scheme=scheme)
    opened.page.evaluate(OPEN_ALL)
    for chart in opened.page.locator(".js-chart").all()[:40]:
        chart.scroll_into_view_if_needed()
    opened.page.wait_for_timeout(500)
    assert "window.pwned=1;alert(1)" in opened.page.locator("body").inner_text()
    assert opened.page.locator("img[src='x'], [onerror]").count() == 0
    if scheme == "dark":
        assert complaints(opened.page, "color-contrast", "label", "image-alt", "duplicate-id-aria") == []


def test_titles_without_end_fit_a_phone(hostile_page, visit):
    page = visit(hostile_page.page, viewport=PHONE).page
    assert too_wide(page) == []
    page.evaluate(OPEN_ALL)
    assert too_wide(page) == []
    assert LONG[:40] in page.locator("body").inner_text()


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_page(tmp_path_factory.mktemp("hostile"), hostile(demo()), with_hostile_texts)


def test_scripts_of_the_page_hold_no_text_that_ends_them(hostile_page):
    """Whatever a browser makes of it: no script has a tag of the data within."""
    text = hostile_page.page.read_text(encoding="utf-8")
    assert "<script>window.pwned" not in text
    for script in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, flags=re.DOTALL):
        assert not set("<>&\u2028\u2029") & set(script)
    assert HOSTILE not in text
