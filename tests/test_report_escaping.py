"""No text of the data becomes markup of the page: with any text in it the page is the same tree of elements."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from report_pages import Made, make_page, smallest

# Columns of text that is nobody's key: from foreign files, models and repositories.
FREE = ("text", "tokens", "name", "reason", "partial_reason", "question", "document", "neuronpedia", "family")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</script><b>x",
    "</textarea></style><!--",
    "javascript:alert(1)//",
    "../../../etc/passwd",
    "a\0b\x1b[31mc\u202ed\u2066e\u2028f",
    "{{ 7*7 }}{% raw %}`x`_ |y|",
    "&lt;i&gt;&#60;u>",
    "]]><a href=//x.example>",
    '<a href="javascript:alert(1)">',
)
HARMLESS = tuple("x" * len(text) for text in HOSTILE)
RUNS = re.compile(r"^\s*(javascript|data:text|vbscript)", re.IGNORECASE)
ANALYSES = ("gap", "similarity", "benchmarks", "latent", "bilingual", "causal", "alignment")


class Tree(HTMLParser):
    """The elements of a page with the names of their attributes; what scripts hold; where links lead."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self.links: list[str] = []
        self.comments: list[str] = []
        self._within = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "formaction", "data")]
        if tag == "script":
            self.scripts.append("")
        self._within = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))
        self._within = False

    def handle_data(self, data: str) -> None:
        if self._within:
            self.scripts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def test_the_twin_tells_markup_from_text():
    assert Tree("<p title=a>&lt;b></p>").elements == [("p", ("title",)), ("/p", ())]
    assert Tree("<p title=a><b></p>").elements != Tree("<p title=a>&lt;b></p>").elements
    assert Tree('<a onclick=x href="javascript:1">').links == ["javascript:1"]


def page_of(folder: Path, texts: tuple[str, ...]) -> Made:
    """The page of a small study with these texts in every free column, and as titles."""
    folder.mkdir()
    config = smallest(ANALYSES)
    config["models"]["skewed"]["title"] = texts[1]

    def change(frame: pl.DataFrame, _: str) -> pl.DataFrame:
        for column in set(FREE) & {*frame.columns}:
            rows = [given(value, row) for row, value in enumerate(frame[column].to_list())]
            frame = frame.with_columns(pl.Series(column, rows, dtype=frame.schema[column]))
        return frame

    def given(value: Any, at: int) -> Any:
        if isinstance(value, list):
            return [given(part, at + offset) for offset, part in enumerate(value)]
        return texts[at % len(texts)] if isinstance(value, str) else value

    return make_page(folder, config, change)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    folder = tmp_path_factory.mktemp("pages")
    return page_of(folder / "hostile", HOSTILE), page_of(folder / "harmless", HARMLESS)


def shape(value: Any) -> Any:
    """JSON with its texts left out: keys, numbers, and how all nest."""
    if isinstance(value, dict):
        return {"keys": len(value), "values": [shape(part) for part in value.values()]}
    return [shape(part) for part in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.workflow
def test_a_page_of_hostile_texts_is_the_tree_of_harmless_ones(pages: tuple[Made, Made]):
    hostile, harmless = (Tree(made.page.read_text(encoding="utf-8")) for made in pages)
    differ = Counter(hostile.elements) - Counter(harmless.elements)
    assert not differ
    assert hostile.elements == harmless.elements
    assert hostile.comments == harmless.comments
    assert not [name for _, names in hostile.elements for name in names if name.startswith("on")]
    assert not [link for link in hostile.links if RUNS.match(link)]
    assert len(hostile.scripts) == len(harmless.scripts) > 5
    for one, other in zip(hostile.scripts, harmless.scripts, strict=True):
        if one != other:
            assert shape(json.loads(one)) == shape(json.loads(other))


@pytest.mark.workflow
def test_hostile_texts_are_there_to_read_and_no_file_lands_elsewhere(pages: tuple[Made, Made]):
    made, other = pages
    text = made.page.read_text(encoding="utf-8")
    for hostile in HOSTILE[:5]:
        assert hostile not in text
    assert "alert(1)" in text
    files, usual = ({path.relative_to(one.folder) for path in one.folder.rglob("*")} for one in (made, other))
    assert files == usual
    assert {path.parts[0] for path in files} == {"results"}
