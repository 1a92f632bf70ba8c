"""JSON of others: every kind of broken line ends in a sentence that names file, line and key, in every reader."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from isogloss.errors import IsoglossError, shown
from isogloss.jsonl import LONGEST, json_object, read_json, read_json_lines
from isogloss.sources.values import check_id, check_text, whole_number
from readers import CORPUS, READERS

KINDS: dict[str, tuple[bytes, str]] = {  # what stands for the second line, and what is said of it
    "no JSON": (b"<html>", r"Expecting value"),
    "cut off": (b'{"text": "a', r"not (valid )?JSON"),
    "a list": (b"[]", r"not a JSON object"),
    "a number": (b"1", r"not a JSON object"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), r"byte 0xe9 is not UTF-8"),
    "UTF-16": ('{"a": "b"}'.encode("utf-16"), r"byte 0xff is not UTF-8"),
    "a surrogate's bytes": (b'{"a": "\xed\xa0\xbd"}', r"byte 0xed is not UTF-8"),
    "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", r"nested too deeply"),
    "digits": (b'{"a": ' + b"9" * 10_000 + b"}", r"Exceeds the limit \(4300 digits\)"),
    "a key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', r"the key 'c' comes twice"),
}
LINED = ["belebele", "hellaswag", "arc", "mmlu", "documents.jsonl", "segments.jsonl", "exports"]


def said(name: str, folder: Path, content: bytes) -> str:
    """What a reader says of a file."""
    path = folder / READERS[name].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with pytest.raises(IsoglossError) as error:
        list(READERS[name].read(folder))
    text = str(error.value)
    assert "\n" not in text
    return text


def lines(name: str) -> list[bytes]:
    return (CORPUS / (name if "." in name else f"{name}.jsonl")).read_bytes().splitlines()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LINED)
def test_a_broken_line_is_named_with_its_file_and_number(tmp_path: Path, name: str, kind: str):
    line, reason = KINDS[kind]
    first, _, *rest = lines(name)
    text = said(name, tmp_path, b"\n".join([first, line, *rest]))
    assert text.startswith((str(tmp_path), Path(READERS[name].file).name))
    assert f"{Path(READERS[name].file).name}:2" in text or f"{Path(READERS[name].file).name}, line 2" in text
    assert re.search(reason, text)
    assert "; " in text


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("belebele", key) for key in ("link", "flores_passage", "question", "mc_answer1", "mc_answer4")),
        *(("hellaswag", key) for key in ("ind", "activity_label", "ctx_a", "ctx_b", "source_id")),
        *(("arc", key) for key in ("id", "instruction")),
        ("documents.jsonl", "text"),
        *(("segments.jsonl", key) for key in ("id", "text", "doc")),
    ],
)
@pytest.mark.parametrize("value", ["\ud83d", ["a"], {"a": "b"}, 1.5, float("nan"), True])
def test_a_value_that_is_no_text_is_named_with_its_key(tmp_path: Path, name: str, key: str, value: Any):
    first, second, *rest = lines(name)
    line = json.dumps({**json.loads(second), key: value}).encode()
    text = said(name, tmp_path, b"\n".join([first, line, *rest]))
    assert f"{key!r}" in text
    assert f"{Path(READERS[name].file).name}:2" in text or f"{Path(READERS[name].file).name}, line 2" in text


@pytest.mark.parametrize("name", LINED)
@pytest.mark.parametrize("how", ["crlf", "bom", "blank", "no end"])
def test_what_is_no_fault_changes_nothing(tmp_path: Path, name: str, how: str):
    path = tmp_path / READERS[name].file
    path.parent.mkdir(parents=True, exist_ok=True)

    def read(content: bytes) -> list[Any]:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return list(READERS[name].read(tmp_path))

    whole = b"\n".join(lines(name)) + b"\n"
    other = {
        "crlf": whole.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + whole,
        "blank": b"\n" + whole.replace(b"\n", b"\n\n") + b" \n",
        "no end": whole[:-1],
    }[how]
    numberless = [part for part in read(other) if not (isinstance(part, str) and part.startswith("a.jsonl:"))]
    assert numberless == [part for part in read(whole) if not (isinstance(part, str) and part.startswith("a.jsonl:"))]


def test_a_line_separator_within_a_text_is_text(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\u2028b\x85c"}\n{"text": "d"}\n', encoding="utf-8")
    assert [row["text"] for _, row in read_json_lines(path, "a")] == ["a\u2028b\x85c", "d"]


def test_a_line_without_end_is_not_read_whole(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as handle:
        handle.write(b'{"text": "a"}\n')
        handle.truncate(LONGEST * 4)  # zeros, which take no space
    with pytest.raises(IsoglossError, match=r"a\.jsonl:2: a line of over 64 MiB"):
        list(read_json_lines(path, "a"))


def test_json_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(IsoglossError, match=r"none\.json: cannot be read \(No such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[]")
    with pytest.raises(IsoglossError, match=r"a\.json: not a JSON object; fetch it again"):
        read_json(tmp_path / "a.json")
    assert json_object(b'\xef\xbb\xbf{"a": NaN}', "a", "b").keys() == {"a"}


NO_NUMBERS = [True, None, "", "3.0", "²", 3.5, float("nan"), float("inf"), 1e300, 10**30, "9" * 19, []]


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), ("3", 3), (" 03 ", 3), (3.0, 3), ("٣", 3), (-1, -1), *((odd, None) for odd in NO_NUMBERS)],
)
def test_whole_numbers(value: Any, number: int | None):
    assert whole_number(value) == number


def test_ids_and_texts():
    assert [check_id(value, "id", "a:1") for value in (7, " x ", "007")] == ["7", "x", "007"]
    assert check_text("", "text", "a:1") == ""
    for value, reason in ((None, "no id"), (" ", "no id"), (1.0, "neither text nor"), (True, "neither text nor")):
        with pytest.raises(IsoglossError, match=rf"^a:1: .*{reason}.*"):
            check_id(value, "id", "a:1")


def test_messages_can_be_printed_and_stay_short():
    text = str(IsoglossError("a\x1b[31m \u202e\ud83d \u2028\tb\nc " + "x" * 5000 + "; mend it"))
    assert text.startswith("a\\x1b[31m \\u202e\\ud83d \\u2028\\tb\nc xxx")
    assert text.endswith("; mend it")
    assert len(text) < 2000
    deep: Any = "x" * 1000
    for _ in range(5000):
        deep = [deep, {"a": deep}]
    assert len(shown(deep)) < 300
