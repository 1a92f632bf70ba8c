"""Stage `fetch_documents`: the first documents of one language, from Parquet, JSON Lines, CSV or TSV files."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from isogloss.config.text import DocumentSource
from isogloss.errors import IsoglossError
from isogloss.sources.hub import open_repository
from isogloss.sources.rows import kind_of, read_rows
from isogloss.sources.values import check_text
from isogloss.tables import TableWriter

DOCUMENTS = pa.schema({"document": pa.string(), "text": pa.string()})
ROWS = 4096  # of a row group


def fetch_documents(
    *, source: DocumentSource, lang: str, documents: int, output: str, metadata: Mapping[str, Any]
) -> None:
    """Write the table `output` (document, text) of the first `documents` documents of `source`.

    The source's `files` are read in the order of their names, one at a time and only as many as are needed;
    `column` is the Parquet column or JSON key of the text. A document is called FILE:ROW; empty ones and
    those whose text has been read before are left out and counted in the metadata (data sets of questions
    repeat a context with each of its questions). Fewer documents than asked for are fewer in the table.

    Raises `IsoglossError` for no matching file, a column that is not there, a broken line (file and line
    number), a damaged file, and what `open_repository` raises.
    """
    repository = open_repository(source, "dataset")
    names = repository.names(source.files)
    if not names:
        raise IsoglossError(f"{repository.where}: no file matches {source.files!r}; correct documents.{lang}.files")
    used: list[str] = []
    empty = repeated = 0
    seen: set[bytes] = set()  # digests: as many as there are documents, whatever their length

    def texts() -> Iterator[tuple[str, str]]:
        nonlocal empty, repeated
        for name in names:
            used.append(name)
            path = repository.take([name])[name]
            for number, text in enumerate(_texts(path, name, source.column), start=1):
                digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if not text.strip():
                    empty += 1
                elif digest in seen:
                    repeated += 1
                else:
                    seen.add(digest)
                    yield f"{name}:{number}", text

    rows = islice(texts(), documents)
    about = {**metadata, "source": repository.id, "commit": repository.commit}
    with TableWriter(output, DOCUMENTS, about) as writer:
        total = 0
        while group := list(islice(rows, ROWS)):
            total += len(group)
            writer.write({"document": [row[0] for row in group], "text": [row[1] for row in group]})
        if total == 0:
            raise IsoglossError(f"{repository.where}: no document in {', '.join(used)} has text; give another source")
        writer.annotate({"files": used, "documents": total, "empty": empty, "repeated": repeated})


def _texts(path: Path, name: str, column: str) -> Iterator[str]:
    if not kind_of(name):
        raise IsoglossError(
            f"{name}: neither Parquet nor JSON Lines, CSV or TSV (.parquet, .jsonl, .csv, .tsv; .gz, .zst, .bz2 behind"
            " the last three); narrow `files`"
        )
    for number, (text,) in read_rows(path, name, [column]):
        yield check_text("" if text is None else text, column, f"{name}:{number}")
