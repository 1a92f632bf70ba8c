"""The explorer's part of the page: numbers are the tables', texts of any kind are inert, what a browser shows."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isogloss.report.page.explorer import explorer_section
from isogloss.report.page.explorer_words import Version, kept_by, version_words
from isogloss.report.wanted import explorer_tables
from isogloss.tables.explorer import EXPLORER, EXPLORER_FEATURES
from synthetic import SHARES, settings
from synthetic_explorer import explorer_tables as synthetic_tables

REPORT = Path(__file__).parents[1] / "workflow" / "report"
NASTY = '</script><script>document.title="owned"</script><img src=x onerror=document.title="owned">&amp;"\u2028\u202eab'


KINDS: dict[str, Any] = {
    "string": pl.String, "int32": pl.Int32, "double": pl.Float64, "list<item: string>": pl.List(pl.String),
    "list<item: float>": pl.List(pl.Float32), "list<item: int32>": pl.List(pl.Int32),
}  # fmt: skip


def frame(rows: list[dict[str, Any]], contract: dict[str, Any]) -> pl.DataFrame:
    schema = {column: KINDS[str(kind)] for column, kind in contract.items()}
    return pl.DataFrame([{column: row.get(column) for column in contract} for row in rows], schema=schema)


def span(feature: int, lang: str, tokens: list[str], values: list[float], **more: Any) -> dict[str, Any]:
    whole = {"sae": "phrases", "layer": 1, "kind": "phrase", "item": 0, "origin": "en", "name": "0", "first": 0}
    whole |= {"text": "".join(tokens), "activation": max(values, default=0.0), "n_tokens": len(tokens)}
    return whole | {"feature": feature, "lang": lang, "tokens": tokens, "activations": values} | more


def measured(feature: int, lang: str, mean: float | None, **more: Any) -> dict[str, Any]:
    whole = {"sae": "phrases", "layer": 1, "lists": ["largest_gap"], "class": "several", "largest_share": 0.4}
    whole |= {"gap_pct": 87.654321, "measured": "phrases", "ci_low": 0.0, "ci_high": 2.0, "n": 3, "share": 0.25}
    whole |= {"n_fired": 4, "n_texts": 20, "histogram": [0] * 11 + [4], "histogram_max": 2.0}
    return whole | {"feature": feature, "lang": lang, "mean_activation": mean} | more


def tables(*spans: dict[str, Any], features: list[dict[str, Any]]) -> dict[str, dict[str, pl.DataFrame]]:
    return {"skewed": {"explorer": frame([*spans], EXPLORER), "explorer_features": frame(features, EXPLORER_FEATURES)}}


def usual(token: str = "Euro") -> dict[str, dict[str, pl.DataFrame]]:
    return tables(
        span(7, "en", ["The", " currency", " is", f" {token}"], [0.0, 0.5, 0.0, 2.0]),
        span(7, "es", ["La", " moneda", " es", f" {token.lower()}"], [0.0, 0.0, 0.0, 1.0]),
        span(7, "ml", [], []) | dict.fromkeys(["text", "activation", "n_tokens", "tokens", "activations", "first"]),
        span(7, "hi", ["मु", "◌", "द्रा"], [0.0, 0.25, 0.125]),
        span(7, "en", ["pays", f" {token}"], [0.0, 1.5], kind="context", item=0),
        span(3, "en", ["a", "b"], [1.0, 0.0], kind="context", origin="en"),
        features=[
            *(measured(7, lang, mean) for lang, mean in (("en", 1.25), ("es", 1.0), ("ml", None), ("hi", 0.0))),
            measured(3, "en", 0.5, lists=["one_language"], gap_pct=None, neuronpedia="gemma-2-2b/1-res/3"),
        ],
    )


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    assert found
    return json.loads(found[1])


def test_numbers_are_those_of_the_tables_to_four_digits():
    group = data_of(explorer_section(usual(), settings()))["models"][0]["groups"][0]
    seven, three = group["features"]
    assert (group["layer"], group["sae"], seven["f"], seven["g"]) == (1, "phrases", 7, 87.65)
    assert seven["b"]["en"] == [1.25, 0.0, 2.0, 3, 0.25, 4]
    assert seven["b"]["ml"][0] is None
    assert seven["h"]["es"] == [0] * 11 + [4]
    assert three["np"] == "https://www.neuronpedia.org/gemma-2-2b/1-res/3"
    assert "g" not in three


def test_texts_are_held_once_and_tokens_within_a_character_joined():
    model = data_of(explorer_section(usual(), settings()))["models"][0]
    phrase = model["groups"][0]["features"][0]["p"][0]
    number, before, after, strongest, fired = phrase["v"]["hi"]
    assert model["texts"][number] == ["मु", "द्रा"]
    assert (before, after, strongest, fired) == (0, 0, 0.25, [1, 0.25])
    assert phrase["w"]["ml"] == "no usable translation"
    assert "ml" not in phrase["v"]
    assert len({json.dumps(text) for text in model["texts"]}) == len(model["texts"])


def test_the_first_features_can_be_read_without_scripts():
    static = explorer_section(usual(), settings()).partition("</script>")[2]
    assert "feature 7 (largest gap)" in static
    assert re.search(r'title="2">Euro</span>', static)
    assert 'lang="hi" dir="auto"' in static
    assert "no usable translation" in static


@pytest.mark.parametrize("token", [NASTY, "x" * 10_000, "\u202e\u200fعربي"])
def test_any_text_is_inert(token: str):
    html = explorer_section(usual(token), settings())
    assert html.count("<script") == html.count("</script") == 1
    assert "<img" not in html
    assert "\u2028" not in html.partition("</script>")[0]
    assert any(token in "".join(text) for text in data_of(html)["models"][0]["texts"])
    assert token.strip() in unescape(html.partition("</script>")[2])


def test_titles_with_markup_are_text():
    whole = settings()
    whole["models"]["skewed"]["title"] = NASTY
    html = explorer_section(usual(), whole)
    assert html.count("<script") == 1
    assert data_of(html)["models"][0]["title"] == NASTY


def test_ten_languages_take_a_part_of_what_a_page_may():
    whole = settings(26)
    html = explorer_section({"skewed": synthetic_tables([*SHARES], 12)}, whole)
    assert 100_000 < len(html.encode()) < 1_500_000


def test_what_was_not_measured_is_left_out():
    whole = usual()
    for name, frame_ in whole["skewed"].items():
        floats = [column for column, kind in frame_.schema.items() if kind == pl.Float64]
        whole["skewed"][name] = frame_.with_columns(pl.lit(None, pl.Float64).alias(column) for column in floats)
    html = explorer_section(whole, settings())
    assert "None" not in html
    assert "nan" not in html.casefold()
    assert data_of(html)["models"][0]["groups"][0]["features"][0]["b"]["en"][0] is None


def test_models_and_studies_without_features():
    assert "before features were kept" in explorer_section({}, settings())
    assert "no feature of the SAEs has a phrase" in explorer_section(tables(features=[]), settings())
    assert "Not shown: Equal shares" in explorer_section(usual(), settings())
    whole = settings()
    assert [Path(path).stem for path in explorer_tables(whole, "skewed")] == ["explorer", "explorer_features"]
    none = whole | {"explorer": {**whole["explorer"], "features": 0}}
    assert explorer_tables(none, "skewed") == []
    assert "explorer.features: 0" in explorer_section({}, none)
    whole["models"]["equal"]["analyses"] = ["benchmarks"]
    assert explorer_tables(whole, "equal") == []
    whole["models"]["skewed"]["analyses"] = ["benchmarks"]
    assert "no model of this study has the analysis gap" in explorer_section({}, whole)


def test_one_language_alone_and_features_of_paper_c():
    html = explorer_section(
        tables(
            span(5, "en", ["a"], [1.0], sae="bilingual", kind="context"),
            features=[measured(5, "en", None, sae="bilingual", gap_pct=None, n=None, histogram=None, n_texts=None,
                               measured=None, monosemanticity=0.9, monosemanticity_excess=0.5)],
        ),
        settings(),
    )  # fmt: skip
    feature = data_of(html)["models"][0]["groups"][0]["features"][0]
    assert (feature["m"], feature["x"]) == (0.9, 0.5)
    assert "p" not in feature
    assert "h" not in feature


def joined(tokens: list[str], activations: list[float]) -> Any:
    return type("Text", (), {"tokens": tokens, "activations": activations})


def test_words_on_a_translation():
    home = span(7, "en", ["The", " Euro"], [0.0, 2.0])
    version = Version.of(home, span(7, "es", ["El", " euro", " x"], [0.0, 1.0, 0.5]), joined)
    assert (version.kept, version.tokens, version.fires, version.copied) == (0.5, 1.5, True, True)
    assert version_words(version, "en") == (
        "1.5\u00a0× the tokens; 50\u00a0% of the activation in English; the strongest token also stands in the English"
        " text"
    )
    silent = Version.of(home, span(7, "hi", ["यूरो"], [0.0]), joined)
    assert version_words(silent, "en") == "0.5\u00a0× the tokens; does not fire"
    assert Version.of(span(7, "en", ["a"], [0.0]), span(7, "es", ["b"], [1.0]), joined).kept is None


def test_sentences_on_a_feature_say_of_how_many():
    versions = [Version("es", 0.5, 1.0, True, True), Version("hi", 0.0, 2.0, False, False)] * 2
    said = kept_by({"en": 2.0, "es": 1.0, "ca": 2.0, "hi": 0.5, "zh": None}, versions, "en")
    assert said == [
        "Script: of the mean activation in English, 75\u00a0% in 2 languages of the script of English and 25\u00a0% in"
        " 1 language of other scripts.",
        "Tokens: translations with up to 1.5\u00a0× the tokens keep 50\u00a0% of the activation (n = 2), longer ones"
        " 0\u00a0% (n = 2).",
        "Same spelling: of 2 translations that fire it, 2 have the strongest token in the phrase itself, too (a name, a"
        " number, a mark).",
    ]
    assert kept_by({"en": 0.0, "es": 1.0}, [], "en") == []
    assert kept_by({"en": 1.0, "es": 1.0}, versions[1:2], "en") == ["No translation shown fires it (n = 1)."]


@pytest.fixture
def shown(chromium, tmp_path):
    """Open the section as a page; at its end nothing was asked for from elsewhere and no error was logged."""
    problems: list[str] = []
    pages = []

    def open_page(html: str, after: str = "", width: int = 1200) -> Any:
        names = ("summary.css", "explorer.css", "explorer.js")
        *styles, script = ((REPORT / name).read_text(encoding="utf-8") for name in names)
        assert "</script" not in script
        path = tmp_path / "page.html"
        path.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>page</title><style>{"".join(styles)}</style>'
            f"<main><h2>Feature explorer</h2>{html}</main><script>{script}</script></html>",
            encoding="utf-8",
        )
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))
        page.goto(f"file://{path}{after}")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.title() == "page"
        page.close()
    assert problems == []


@pytest.mark.browser
def test_a_reader_sorts_chooses_and_reads_numbers(shown):
    page = shown(explorer_section(usual(), settings()))
    detail = page.locator(".explorer-detail")
    assert detail.locator("h3").inner_text().startswith("Feature 7")
    token = detail.locator(".explorer-token.strongest").first
    assert (token.inner_text(), token.get_attribute("title")) == ("Euro", "2")
    cells = detail.locator(".explorer-bars tbody tr").first.locator("td").all_inner_texts()
    assert cells[-3:] == ["1.25 (0 to 2)", "3", "4 of 20"]
    page.locator("button[data-key=f]").click()
    numbers = page.locator(".explorer-list tbody th button")
    assert numbers.all_inner_texts() == ["3", "7"]
    page.locator("button[data-key=f]").click()
    assert numbers.all_inner_texts() == ["7", "3"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    numbers.last.click()
    assert detail.locator("h3").inner_text().startswith("Feature 3")
    link = detail.get_by_role("link", name="Neuronpedia")
    assert "noreferrer" in link.get_attribute("rel")
    assert page.url.endswith("#explorer-skewed-1-phrases-3")
    page.get_by_role("button", name="Largest gap").click()
    assert numbers.all_inner_texts() == ["7"]


@pytest.mark.browser
def test_keys_move_over_the_list_and_over_the_tokens(shown):
    page = shown(explorer_section(usual(), settings()))
    page.locator("button[data-feature='7']").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".explorer-detail h3").inner_text().startswith("Feature 3")
    page.keyboard.press("ArrowUp")
    text = page.locator(".explorer-text").first
    text.focus()
    page.keyboard.press("ArrowRight")
    read = page.locator(".explorer-read").first
    assert "currency" in read.inner_text()
    assert read.inner_text().endswith("0.5")
    page.keyboard.press("ArrowRight")
    assert read.inner_text().endswith("2")
    page.locator(".explorer-token").first.hover()
    assert read.inner_text().endswith("0.5")


@pytest.mark.browser
def test_a_link_leads_to_a_feature_and_a_wrong_one_nowhere(shown):
    html = explorer_section(usual(), settings())
    assert shown(html, "#explorer-skewed-1-phrases-3").locator("h3").inner_text().startswith("Feature 3")
    assert shown(html, "#explorer-skewed-1-phrases-99").locator("h3").inner_text().startswith("Feature 7")


@pytest.mark.browser
@pytest.mark.parametrize("token", [NASTY, "x" * 10_000])
def test_texts_of_any_kind_are_shown_as_texts(shown, token: str):
    page = shown(explorer_section(usual(token), settings()), width=390)
    assert page.locator(".explorer-token.strongest").first.text_content() == token.replace("\n", "↵")
    assert page.locator(".js-explorer img, .js-explorer script:not([type])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_models_are_chosen_and_their_titles_may_be_long(shown):
    whole, both = settings(), usual() | {"equal": usual()["skewed"]}
    whole["models"]["equal"]["title"] = "Long" * 2500
    page = shown(explorer_section(both, whole), width=390)
    page.locator(".explorer-controls select").first.select_option(index=1)
    assert "LongLong" in page.locator(".explorer-detail h3").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_letters_that_a_script_joins_stay_joined(shown):
    """A word shaded in the middle is as wide as in one piece, and no narrower than its letters alone would be."""
    word = ["مر", "حبا"]
    html = explorer_section(
        tables(
            span(7, "en", ["a"], [1.0]),
            span(7, "hi", word, [0.0, 1.0]),
            features=[measured(7, "en", 1.0), measured(7, "hi", 1.0)],
        ),
        settings(),
    )
    page = shown(html)
    text = page.locator('.explorer-text[lang="hi"]').first
    assert text.evaluate("node => getComputedStyle(node).direction") == "rtl"
    widths = text.evaluate(
        """node => {
          const range = document.createRange();
          const width = () => { range.selectNodeContents(node); return range.getBoundingClientRect().width; };
          const cut = width();
          node.textContent = node.textContent;
          return [cut, width()];
        }"""
    )
    assert widths[0] == pytest.approx(widths[1], abs=0.6)


@pytest.mark.browser
def test_no_serious_finding_of_axe(shown):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(shown(explorer_section(usual(), settings()))).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
