"""Stage `fetch_documents`: the first documents of one language, from Parquet or JSON Lines files."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isogloss.config.text import DocumentSource
from isogloss.errors import IsoglossError
from isogloss.jsonl import json_object
from isogloss.sources.hub import open_repository
from isogloss.tables import TableWriter

DOCUMENTS = pa.schema({"document": pa.string(), "text": pa.string()})
COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
ROWS = 4096  # of a row group


def fetch_documents(
    *, source: DocumentSource, lang: str, documents: int, output: str, metadata: Mapping[str, Any]
) -> None:
    """Write the table `output` (document, text) of the first `documents` documents of `source`.

    The source's `files` are read in the order of their names, one at a time and only as many as are needed;
    `column` is the Parquet column or JSON key of the text. A document is called FILE:ROW; empty ones are
    left out and counted in the metadata. Fewer documents than asked for are fewer in the table.

    Raises `IsoglossError` for no matching file, a column that is not there, a broken line (file and line
    number), a damaged file, and what `open_repository` raises.
    """
    repository = open_repository(source, "dataset")
    names = repository.names(source.files)
    if not names:
        raise IsoglossError(f"{repository.where}: no file matches {source.files!r}; correct documents.{lang}.files")
    used: list[str] = []
    empty = 0

    def texts() -> Iterator[tuple[str, str]]:
        nonlocal empty
        for name in names:
            used.append(name)
            path = repository.take([name])[name]
            for number, text in enumerate(_texts(path, name, source.column), start=1):
                if text.strip():
                    yield f"{name}:{number}", text
                else:
                    empty += 1

    rows = islice(texts(), documents)
    about = {**metadata, "source": repository.id, "commit": repository.commit}
    with TableWriter(output, DOCUMENTS, about) as writer:
        total = 0
        while group := list(islice(rows, ROWS)):
            total += len(group)
            writer.write({"document": [row[0] for row in group], "text": [row[1] for row in group]})
        if total == 0:
            raise IsoglossError(f"{repository.where}: no document in {', '.join(used)} has text; give another source")
        writer.annotate({"files": used, "documents": total, "empty": empty})


def _texts(path: Path, name: str, column: str) -> Iterator[str]:
    try:
        yield from _parquet(path, name, column) if name.endswith(".parquet") else _lines(path, name, column)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise IsoglossError(f"{name}: damaged or cut off ({str(error).splitlines()[0]}); fetch it again") from None


def _parquet(path: Path, name: str, column: str) -> Iterator[str]:
    with pq.ParquetFile(path) as table:
        if column not in table.schema_arrow.names:
            raise IsoglossError(f"{name}: no column {column!r}, there are {', '.join(table.schema_arrow.names)}")
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            for text in batch.column(0).to_pylist():
                yield text or ""


def _lines(path: Path, name: str, column: str) -> Iterator[str]:
    compression = COMPRESSION.get(Path(name).suffix)
    stem = name.removesuffix(Path(name).suffix) if compression else name
    if not stem.endswith((".jsonl", ".json")):
        raise IsoglossError(f"{name}: neither Parquet nor JSON Lines (.jsonl, .jsonl.gz, .jsonl.zst); narrow `files`")
    with pa.input_stream(str(path), compression=compression) as stream:
        for number, line in enumerate(_split(stream), start=1):
            record = json_object(line, f"{name}:{number}", "correct the line or leave the file out")
            if not isinstance(record.get(column), str):
                raise IsoglossError(f"{name}:{number}: no text under {column!r}; correct `column` or the line")
            yield record[column]


def _split(stream: Any) -> Iterator[bytes]:
    """The lines of a binary stream, a chunk in memory at a time."""
    rest = b""
    while chunk := stream.read(1 << 20):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest.strip():
        yield rest
