"""The report's tables as HTML: what is shown, what is said once, what is handed out; hostile text stays text."""

import gzip
import re
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isogloss.report.catalogue import BETWEEN_TABLES, PLANTED_VERDICTS, TABLES
from isogloss.report.entry import load
from isogloss.report.tables.downloads import MOST_BYTES
from isogloss.report.tables.examples import checkpoints
from isogloss.report.tables.html import fragment, html_table
from isogloss.report.tables.html import render as render_sheet
from isogloss.report.tables.sheet import FINE, PERCENT, SHARE, Column, Decimals, bounded, decimals, sheet, text, whole
from isogloss.report.tables.view import View, view
from isogloss.tables import write_table
from synthetic import compared, make_tables, metadata, settings
from synthetic_bilingual import bilingual_tables
from synthetic_joined import models_tables

CONFIG = settings()
HOSTILE = "</script><script>alert(1)</script>\"' onmouseover='x' {{ 7*7 }} \u202eabc" + "x" * 10_000


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return make_tables(CONFIG, "skewed")


def render(frame: pl.DataFrame, name: str, **more: str) -> str:
    more = {"source": "t.parquet", "study": "s"} | more
    return render_sheet(frame, load(TABLES[name].drawing), TABLES[name].title, "Model", 0.95, **more)


class Markup(HTMLParser):
    """Elements and attributes of a page; every element that is opened must be closed."""

    EMPTY = frozenset({"meta"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.elements: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def handed_out(page: str, kind: str) -> bytes:
    """What the link to a table's CSV or Parquet holds, as the page's script unpacks it."""
    packed = re.search(rf'data-type="{kind}" data-gzip="([^"]+)"', page)
    return gzip.decompress(b64decode(packed[1])) if packed else b""


@pytest.mark.parametrize("name", TABLES)
def test_a_page_shows_the_rows_and_hands_out_the_table(name, tmp_path, tables):
    frame = tables[TABLES[name].tables[0]]
    table, output = tmp_path / "tables" / f"{TABLES[name].tables[0]}.parquet", tmp_path / "page.html"
    write_table(table, frame, metadata())
    entry = TABLES[name]
    html_table(
        table=str(table), output=str(output), drawing=entry.drawing, heading=entry.title, model="skewed",
        title="A <i>&{{title}}", confidence=0.9,
    )  # fmt: skip
    page = output.read_text()
    markup = Markup(page)
    assert "A &lt;i&gt;&amp;" in page
    assert "i" not in markup.elements
    assert not [value for key, value in markup.attributes if key == "src" or value.startswith(("http", "//"))]
    assert ("a small p does not show a disparity" in page) == (name == "language_gap")
    assert f'href="../tables/{table.name}"' in page
    assert handed_out(page, "application/vnd.apache.parquet") == table.read_bytes()
    if any(dtype.is_nested() for dtype in frame.dtypes):
        assert ">CSV<" not in page
    else:
        assert handed_out(page, "text/csv").decode() == frame.write_csv()
    shown = load(entry.drawing)
    if shown.arrange or any(column.low in frame.columns for column in shown.columns):
        assert "90 % interval" in page or "90 %" not in page.split("<thead>")[1]
    if not shown.body:
        assert page.count('scope="row"') == page.count("<tr") - 1 > 0


def shown(frame: pl.DataFrame, *columns: Column) -> View:
    return view(frame, columns, 0.95)


def test_what_is_the_same_in_all_rows_is_said_once():
    frame = pl.DataFrame(
        {"task": ["arc"] * 3, "lang": ["en", "es", "en"], "r": [0.5] * 3, "r_low": [0.25] * 3, "r_high": [0.75] * 3}
        | {"n": [12_345] * 3, "p": [None] * 3, "x": [1.0, 2.0, None]},
        schema_overrides={"p": pl.Float64},
    )
    columns = (text("task", "task", {"arc": "ARC"}), text("lang", "language"), bounded("r", "r", decimals(2)))
    columns += (whole("n", "questions"), Column("p", "p", PERCENT), Column("x", "x", PERCENT))
    seen = shown(frame, *columns)
    assert seen.same == [("task", "ARC"), ("r", "0.50 [0.25, 0.75]"), ("questions", "12,345")]
    assert seen.undefined == ["p"]
    assert seen.rows == [("en", "1.0"), ("es", "2.0"), ("en", "–")]
    assert [head.choices for head in seen.heads] == [True, False]
    one = shown(frame.head(1), *columns)
    assert not one.same
    assert one.rows == [("ARC", "en", "0.50", "[0.25, 0.75]", "12,345", "–", "1.0")]
    assert shown(frame.clear(), *columns).rows == []
    alike = shown(frame.select("task", "n"), columns[0], columns[3])
    assert alike.rows == [("ARC", "12,345")] * 3  # a table keeps columns where all would go
    page = render_sheet(frame, sheet(*columns), "H", "T", 0.95, source="t.parquet", study="s")
    assert "In all rows: task: <b>ARC</b>; r: <b>0.50 [0.25, 0.75]</b>; questions: <b>12,345</b>." in page
    assert "Not defined in any row: p." in page


@pytest.mark.parametrize(
    ("show", "values", "expected"),
    [
        (PERCENT, [4.04, -0.04, 10.0], ["4.0", "0.0", "10.0"]),
        (PERCENT, [12.34, 8.0, 1234.6], ["12", "8", "1,235"]),
        (decimals(2), [12_346.7], ["12,350"]),
        (SHARE, [0.1234, 0.1, 0.15], ["12.3", "10.0", "15.0"]),
        (FINE, [-12.3456, 0.5], ["−12.35", "0.50"]),
        (FINE, [0.0], ["0.000"]),
        (FINE, [float("nan")], ["nan"]),
        (FINE, [float("inf")], ["inf"]),
    ],
)
def test_a_value_and_its_interval_have_one_precision_and_at_most_four_digits(show, values, expected):
    assert show.together(values) == expected
    assert show(values[0]) == show.together(values[:1])[0]


def test_units_stand_in_heads_of_shares_and_percentages():
    for name, entry in {**TABLES, **BETWEEN_TABLES}.items():
        for column in load(entry.drawing).columns:
            if isinstance(column.show, Decimals) and column.show.factor == 100:
                assert re.search(r"%|points", column.header), (name, column.header)


def test_a_part_of_the_page_links_to_what_is_too_large_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "results/skewed/tables/accuracy.parquet"
    frame = pl.DataFrame({"lang": ["en"] * 60_000, "r": pl.Series(range(60_000)).hash(1) / 2**64})
    write_table(source, frame, metadata())
    more: dict[str, Any] = {"name": "accuracy", "heading": "Accuracy", "title": "Skewed", "confidence": 0.95}
    part = fragment(frame.head(3), sheet(Column("r", "r", FINE)), **more, source=source, study="s")
    Markup(part)
    assert Path(source).stat().st_size > MOST_BYTES
    assert 'href="skewed/tables/accuracy.parquet"' in part
    assert "data-type=" not in part.split(">CSV<")[1]
    assert 'download="skewed-accuracy.csv" hidden data-type="text/csv"' in part
    assert ">CSV<" not in fragment(frame, sheet(Column("r", "r", FINE)), **more, source=source, study="s")
    assert 'aria-label="Table: Accuracy, Skewed"' in part
    again = fragment(frame.head(3), sheet(Column("r", "r", FINE)), **more, source=source, study="s")
    assert part == again


def test_a_table_without_rows_says_so():
    page = render_sheet(
        pl.DataFrame({"r": [0.1]}).clear(), sheet(Column("r", "r", FINE)), "H", "T", 0.95, source="t", study="s"
    )
    assert "The table has no rows." in page
    assert "<table" not in page


def test_hostile_text_is_inert_wherever_it_stands():
    frame = pl.DataFrame({HOSTILE: [HOSTILE, "b"], "same": [HOSTILE] * 2})
    hostile = sheet(text(HOSTILE, HOSTILE), text("same", HOSTILE), note=HOSTILE)
    page = render_sheet(frame, hostile, HOSTILE, HOSTILE, 0.95, source='results/<script>/"x"/t.parquet', study=HOSTILE)
    markup = Markup(page)
    assert markup.elements.count("script") == 1
    assert "onmouseover" not in {key for key, _ in markup.attributes}
    assert "alert(1)" not in page.split("<script>")[1]
    assert handed_out(page, "text/csv").decode() == frame.write_csv()


def test_formats_of_a_correlation_table():
    values = {"r": -0.456, "ci_low": -0.8, "ci_high": -0.004, "p": 0.00001, "p_adjusted": 0.04}
    rows = [{"task": "<script>alert(1)</script>", "n": 9} | values, {"task": "arc", "n": 2} | dict.fromkeys(values)]
    page = render(pl.DataFrame(rows), "gap_accuracy_correlation", study="<i>")
    assert "&lt;script&gt;" in page
    assert "i" not in Markup(page).elements
    for cell in ("−0.46", "[−0.80, 0.00]", "&lt; 0.001", "0.040", "–"):
        assert cell in page


@pytest.mark.parametrize("name", ["models", "sizes", "size_regression"])
def test_what_compares_models_as_pages(name):
    entry, frame = BETWEEN_TABLES[name], models_tables(CONFIG)[name]
    html = render_sheet(frame, load(entry.drawing), entry.title, "All", 0.95, source="s", study="t")
    assert "needs 3 sizes of model, has 1" in html or name != "size_regression"
    assert html.count("<tr") == 1 + frame.height


def test_the_verdicts_as_a_page(tmp_path):
    compared(tmp_path, CONFIG, {"skewed": 20.0, "equal": 0.0})
    table, output = tmp_path / "results/comparison/tables/planted_truth.parquet", tmp_path / "page.html"
    html_table(
        table=str(table), output=str(output), drawing=PLANTED_VERDICTS.drawing, heading=PLANTED_VERDICTS.title,
        model="comparison", title="All", confidence=0.95,
    )  # fmt: skip
    page = output.read_text()
    for words in ("Gap (paper A) (points)", "follows the shares", "Spearman", "results/comparison/tables/planted"):
        assert words in page


def test_intervention_table_sets_the_languages_side_by_side():
    frame = bilingual_tables(("en", "hi", "ml"), 2, alphas=(0.1, 0.2), n_features=(1000, 3000))["intervention_summary"]
    page = render(frame, "intervention")
    assert page.count("<tr") == 1 + 1 + 2 * 2 * 6
    for cell in (
        "Malayalam (ml): perplexity",
        "chrF into Hindi (hi)",
        "none (as it is)",
        "random features (control)",
        "against matched",
    ):
        assert cell in page
    assert "COMET" not in page


def test_selectivity_table_is_of_the_last_step():
    page = render(bilingual_tables(("en", "es"), 3)["selectivity"], "selectivity")
    assert page.count("<tr") == 1 + 3 * 5
    assert "training step: <b>1,328</b>" in page
    assert ">720<" not in page


def examples(languages: tuple[str, ...], layers: int = 5, **changed: Any) -> str:
    frame = bilingual_tables(languages, layers)["examples"].with_columns(**changed)
    return render(frame, "examples")


def test_examples_show_early_middle_and_last_step_then_the_outer_layers():
    frame = bilingual_tables(("en", "es"), 5)["examples"]
    assert [one[1:] for one in checkpoints(frame)] == [(1, 2), (27, 2), (1328, 2), (1328, 0), (1328, 4)]
    assert [one[1:] for one in checkpoints(frame.filter(pl.col("step") == 5, pl.col("layer") == 1))] == [(5, 1)]
    page = examples(("en", "es"))
    Markup(page)
    assert page.count("<h4 ") == 5
    for words in (
        "Early: step 1, decoder layer 2",
        "Spanish (es)",
        "no context in this language",
        "0.80",
        "mixed: feature",
    ):
        assert words in page


def test_examples_of_two_models_on_one_page_share_no_id():
    frame = bilingual_tables(("en", "es"), 5)["examples"]
    more: dict[str, Any] = {"name": "examples", "heading": "Examples", "title": "T", "confidence": 0.95, "study": "s"}
    parts = [
        fragment(frame, load(TABLES["examples"].drawing), **more, source=f"results/{model}/tables/examples.parquet")
        for model in ("skewed", "equal")
    ]
    ids = [value for key, value in Markup("".join(parts)).attributes if key == "id"]
    assert len(ids) == len(set(ids)) == 10
    links = {value for key, value in Markup("".join(parts)).attributes if key == "href" and value.startswith("#")}
    assert links == {f"#{one}" for one in ids}


def test_examples_escape_every_text():
    hostile = pl.lit(["</p><script>alert(1)</script>", "{{ 7*7 }}", '" onmouseover="x'] + [" a"] * 6)
    values = pl.lit([0.5, 1.0, 0.25] + [0.0] * 6, dtype=pl.List(pl.Float32))
    page = examples(("en", "ru"), tokens=hostile, activations=values, document=pl.lit("<b>"))
    markup = Markup(page)
    assert markup.elements.count("script") == 1
    assert "onmouseover" not in {key for key, _ in markup.attributes}
    assert "&lt;script&gt;" in page


def test_examples_shade_by_the_features_largest_activation_and_underline_the_peak():
    page = examples(("en", "ja"), tokens=pl.lit(["a", "b", "c"]), activations=pl.lit([0.0, 1.0, 4.0]))
    assert 'a<span style="background:rgba(230,159,0,0.34)" title="25 %">b</span>' in page
    assert 'title="100 %"><u>c</u></span></p>' in page


def test_letters_of_a_word_stay_joined_and_right_to_left_text_runs_so():
    page = examples(
        ("en", "hi", "ml"),
        tokens=pl.lit(["◌", "◌", "मै", "ड्रि", "ड", " مدريد"]),
        activations=pl.lit([0.5, 0, 1, 2, 0, 0.0]),
    )
    assert "◌" not in unescape(page)
    assert re.search(r"<span [^>]*>मै</span><span [^>]*><u>ड्रि</u></span>ड مدريد</p>", page)
    assert '<p class="c" lang="hi" dir="auto">' in page
