"""Documents from the files that data sets come as."""

import gzip
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from isogloss.config.text import DocumentSource
from isogloss.errors import IsoglossError
from isogloss.sources.documents import fetch_documents
from isogloss.tables import table_metadata

TEXTS = [f"Document {number}\nhas two lines, é 日本." for number in range(2500)]


def lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text, "meta": {"id": 1}}, ensure_ascii=False) + "\n" for text in texts).encode()


def write(folder: Path, name: str, texts: list[str]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pl.DataFrame({"id": range(len(texts)), "text": texts}).write_parquet(path)
    elif name.endswith(".csv"):
        pl.DataFrame({"id": range(len(texts)), "text": texts}).write_csv(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(texts)))
    elif name.endswith(".zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(lines(texts))
    else:
        path.write_bytes(lines(texts).rstrip(b"\n"))


def fetch(folder: Path, files: str, documents: int = 10_000, column: str = "text") -> pl.DataFrame:
    output = folder / "out.parquet"
    source = DocumentSource(folder=str(folder), files=files, column=column)
    fetch_documents(source=source, lang="ja", documents=documents, output=str(output), metadata={"study": "test"})
    return pl.read_parquet(output)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "csv"])
def test_documents_of_every_format_come_in_order(tmp_path: Path, kind: str):
    write(tmp_path, f"data/train-0.{kind}", TEXTS[:1500])
    write(tmp_path, f"data/train-1.{kind}", TEXTS[1500:])
    rows = fetch(tmp_path, f"data/train-*.{kind}")
    assert rows["text"].to_list() == TEXTS
    assert rows["document"][0] == f"data/train-0.{kind}:1"
    assert rows["document"].is_unique().all()
    metadata = table_metadata(tmp_path / "out.parquet")
    assert (metadata["study"], metadata["documents"], metadata["empty"]) == ("test", 2500, 0)


def test_no_more_files_are_read_than_needed_and_empty_documents_are_counted(tmp_path: Path):
    write(tmp_path, "a.jsonl", ["one", " ", "two", ""])
    (tmp_path / "b.jsonl").write_text("not JSON")
    assert fetch(tmp_path, "*.jsonl", documents=2)["text"].to_list() == ["one", "two"]
    metadata = table_metadata(tmp_path / "out.parquet")
    assert (metadata["files"], metadata["empty"]) == (["a.jsonl"], 1)


def test_a_text_that_comes_again_is_no_other_document(tmp_path: Path):
    contexts = ["one", "one", "two", "one", "two", "three"]
    pl.DataFrame({"id": range(6), "context": contexts, "question": list("abcdef")}).write_parquet(
        tmp_path / "x.parquet"
    )
    rows = fetch(tmp_path, "x.parquet", documents=3, column="context")
    assert rows.rows() == [("x.parquet:1", "one"), ("x.parquet:3", "two"), ("x.parquet:6", "three")]
    metadata = table_metadata(tmp_path / "out.parquet")
    assert (metadata["documents"], metadata["empty"], metadata["repeated"]) == (3, 0, 3)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"title": "x"}\n', r"a\.jsonl:1: no column 'text', there are title"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 1}\n', r"a\.jsonl:2: 'text' is 1, not a text"),
        ("a.jsonl", b'{"text": "\\udc00"}\n', r"a\.jsonl:1: \\udc00 under 'text' is half a surrogate pair"),
        ("a.jsonl.gz", gzip.compress(lines(TEXTS))[:3000], r"a\.jsonl\.gz: damaged or cut off"),
        ("a.parquet", b"PAR1 and nothing", r"a\.parquet: damaged or cut off"),
        ("a.txt", b"text", r"a\.txt: neither Parquet nor JSON Lines"),
        ("a.jsonl", b"", r"no document in a\.jsonl has text"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, line: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IsoglossError, match=line) as error:
        fetch(tmp_path, "a.*")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.parquet").exists()


def test_no_matching_file_and_a_missing_column_are_one_line(tmp_path: Path):
    write(tmp_path, "a.parquet", ["x"])
    with pytest.raises(IsoglossError, match=r"no file matches 'b\*'; correct documents.ja.files"):
        fetch(tmp_path, "b*")
    with pytest.raises(IsoglossError, match=r"a\.parquet: no column 'body', there are id, text"):
        fetch(tmp_path, "a*", column="body")
