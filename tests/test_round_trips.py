"""Foreign files of generated texts, written as upstream writes them: what is read is what was written."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isogloss.config.text import DocumentSource
from isogloss.sources.documents import fetch_documents
from isogloss.sources.neuronpedia import Record, read_records
from isogloss.sources.okapi import common_questions
from isogloss.sources.question_sets import MMLU_COLUMNS, MMMLU_COLUMNS, read_upstream
from isogloss.tables import read_table
from isogloss.text.segments import read_segments
from readers import read_parallel

EVERY: list[Any] = list(HealthCheck)
few = settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=EVERY)
Rows = Sequence[Mapping[Any, Any]]
BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
MARK = "\ufeff"  # at the start of a file it says how bytes are ordered


def texts(without: str = "") -> st.SearchStrategy[str]:
    """Any characters that UTF-8 has, line breaks, quotes and marks of other scripts among them; not only spaces."""
    odd = st.sampled_from(
        [*"\"'\\,;\t\n\r{}<>&", "\u2028", MARK, "\u200f", "\r\n", "क्", "是", "<bos>", "\U0001f600", "nan"]
    )
    usual = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    joined = st.lists(st.one_of(usual, odd), min_size=1, max_size=4).map("".join)
    return joined.map(lambda text: "".join(each for each in text if each not in without)).filter(str.strip)


def json_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=len(rows) % 2 == 0) + "\n" for row in rows).encode()


def comma_separated(rows: Rows) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def tab_separated(rows: Rows) -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in ([*rows[0]], *(row.values() for row in rows))).encode()


def parquet(rows: Rows) -> bytes:
    stream = io.BytesIO()
    pl.DataFrame(list(rows)).write_parquet(stream)
    return stream.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


WRITERS: dict[str, tuple[Callable[[Rows], bytes], str]] = {  # and the characters that a format cannot have
    "jsonl": (json_lines, ""),
    "jsonl.gz": (lambda rows: gzip.compress(json_lines(rows), 1), ""),
    "csv": (comma_separated, ""),
    "tsv": (tab_separated, "\t\n\r"),
    "parquet": (parquet, ""),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_documents(tmp_path, suffix):
    write, without = WRITERS[suffix]

    @few
    @given(st.lists(texts(without), min_size=1, max_size=6, unique=True))
    def read_as_written(written: list[str]) -> None:
        put(tmp_path / f"a.{suffix}", write([{"id": row, "text": text} for row, text in enumerate(written)]))
        source, output = DocumentSource(folder=str(tmp_path), files="a.*"), str(tmp_path / "out" / "documents.parquet")
        fetch_documents(source=source, lang="es", documents=9, output=output, metadata={})
        assert read_table(output)["text"].to_list() == written

    read_as_written()


@pytest.mark.parametrize("suffix", WRITERS)
def test_segments(tmp_path, suffix):
    write, without = WRITERS[suffix]

    @few
    @given(st.lists(st.tuples(texts(without), texts(without)), min_size=1, max_size=6))
    def read_as_written(written: list[tuple[str, str]]) -> None:
        for number, lang in enumerate(("en", "es")):
            rows = [{"id": f"s{row}", "text": pair[number]} for row, pair in enumerate(written)]
            put(tmp_path / f"{lang}.{suffix}", write(rows))
        found = read_parallel(tmp_path, f"{{lang}}.{suffix}", id_column="id")
        for number, lang in enumerate(("en", "es")):
            expected = {f"s{row}": pair[number].strip() for row, pair in enumerate(written)}
            assert dict(read_segments(found[lang])) == expected

    read_as_written()


@few
@given(st.lists(st.tuples(texts(BREAKS + MARK), texts(BREAKS + MARK)), min_size=1, max_size=6))
def test_segments_a_line(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("lines")
    for number, lang in enumerate(("en", "es")):
        put(folder / f"{lang}.txt", "".join(f"{pair[number]}\n" for pair in written).encode())
    found = read_parallel(folder, "{lang}.txt")
    for number, lang in enumerate(("en", "es")):
        assert list(read_segments(found[lang]).values()) == [pair[number].strip() for pair in written]


QUESTION = st.tuples(texts(), st.lists(texts(), min_size=4, max_size=4), st.integers(0, 3))
QUESTIONS = st.lists(QUESTION, min_size=1, max_size=4)


def asked(layout: str, folder: Path, lang: str = "es") -> list[tuple[str, list[str], int]]:
    read = list(read_upstream(layout, str(folder), str(folder), lang, "spa_Latn"))
    assert not [question.defect for question in read if question.defect]
    return [(question.text, question.choices, question.answer) for question in read]


def stripped(questions: Sequence[tuple[str, list[str], int]]) -> list[tuple[str, list[str], int]]:
    return [(text.strip(), [choice.strip() for choice in choices], answer) for text, choices, answer in questions]


@few
@given(QUESTIONS)
def test_belebele(tmp_path_factory, questions):
    folder = tmp_path_factory.mktemp("belebele")
    rows = [
        {
            "link": "https://example.org",
            "question_number": row,
            "flores_passage": text,
            "question": text,
            **{f"mc_answer{number}": choice for number, choice in enumerate(choices, start=1)},
            "correct_answer_num": str(answer + 1),
        }
        for row, (text, choices, answer) in enumerate(questions)
    ]
    put(folder / "data" / "spa_Latn.jsonl", json_lines(rows))
    assert asked("belebele", folder) == stripped(questions)


@few
@given(QUESTIONS)
def test_mmmlu(tmp_path_factory, questions):
    folder = tmp_path_factory.mktemp("mmmlu")
    rows = [
        dict(zip(("", *MMMLU_COLUMNS), (row, text, *choices, "ABCD"[answer], "anatomy"), strict=True))
        for row, (text, choices, answer) in enumerate(questions)
    ]
    put(folder / "test" / "mmlu_ES-LA.csv", comma_separated(rows))
    assert asked("mmmlu", folder) == stripped(questions)
    english = [
        dict(zip(MMLU_COLUMNS, (text, "anatomy", choices, answer), strict=True)) for text, choices, answer in questions
    ]
    put(folder / "all" / "test-0.parquet", parquet(english))
    assert asked("mmmlu", folder, "en") == stripped(questions)


@pytest.mark.parametrize("task", ["arc", "mmlu"])
def test_okapi(tmp_path, task):
    @few
    @given(QUESTIONS)
    def read_as_written(questions: list[tuple[str, list[str], int]]) -> None:
        rows = [
            {
                "id": f"anatomy/test/{row}",
                "instruction": text,
                **{f"option_{letter}": choice for letter, choice in zip("abcd", choices, strict=True)},
                **({"option_e": None} if task == "arc" else {}),
                "answer": "ABCD"[answer],
            }
            for row, (text, choices, answer) in enumerate(questions)
        ]
        put(tmp_path / "data" / "es" / "test.jsonl", json_lines(rows))
        found = common_questions(tmp_path, task, "test", "es", ["es"], emptied=lambda _: False)
        assert [{key: row[key] for key in rows[0]} for row in found.rows] == rows

    read_as_written()


@few
@given(
    st.lists(
        st.lists(st.tuples(texts(), st.floats(0, 2.0**40, width=32)), min_size=1, max_size=6), min_size=1, max_size=6
    )
)
def test_exports(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("exports")
    lines = []
    for number, record in enumerate(records):
        tokens, values = map(list, zip(*record, strict=True))
        peak = int(np.argmax(values))
        lines.append(
            {"id": f"c{number}", "modelId": "m", "layer": "1-gemmascope-res-16k", "index": str(number)}
            | {"tokens": tokens, "values": values, "maxValue": values[peak], "maxValueTokenIndex": peak}
        )
    put(folder / "batch-0.jsonl.gz", gzip.compress(json_lines(lines), 1))
    read = [record for record in read_records(folder, layer=1, features=64, stride=1) if isinstance(record, Record)]
    assert [record.feature for record in read] == list(range(len(records)))
    assert [list(zip(record.tokens, record.values, strict=True)) for record in read] == records
