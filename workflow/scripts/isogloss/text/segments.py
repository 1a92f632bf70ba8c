"""Parallel segments: what a translation memory knows of a language, and documents made of them."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any, NamedTuple

import pyarrow as pa

from isogloss.errors import IsoglossError
from isogloss.tables import TableWriter, iter_table

DOCUMENTS = pa.schema({"document": pa.string(), "segments": pa.list_(pa.string()), "text": pa.string()})
LONGEST = 512  # segments of a document
ROWS = 4096  # of a row group


class Segment(NamedTuple):
    """A row of the table of a language's segments."""

    segment: str  # id, the same in every language
    text: str
    document: str | None  # what it is a part of


def read_segments(path: str, wanted: Collection[str] | None = None) -> dict[str, str]:
    """The texts of a language's parallel segments by id; with `wanted` of these only.

    Raises `IsoglossError` for an id that is there twice.
    """
    memory: dict[str, str] = {}
    for frame in iter_table(path, columns=["segment", "text"]):
        for segment, text in frame.iter_rows():
            if wanted is not None and segment not in wanted:
                continue
            if segment in memory:
                raise IsoglossError(f"{path}: segment {segment!r} is there twice; a segment has one text a language")
            memory[segment] = text
    return memory


def write_documents(segments: str, output: str, space: str, metadata: Mapping[str, Any]) -> None:
    """Write the table `output` (document, segments, text) of the documents that the table `segments` makes up.

    `space` stands between the segments of a document (`isogloss.languages.spacing`).
    """
    rows = (Segment(*row) for frame in iter_table(segments, list(Segment._fields)) for row in frame.iter_rows())
    documents = joined(rows, space)
    with TableWriter(output, DOCUMENTS, metadata) as writer:
        while group := list(islice(documents, ROWS)):
            writer.write({name: [row[column] for row in group] for column, name in enumerate(DOCUMENTS.names)})


def joined(segments: Iterable[Segment], space: str) -> Iterator[tuple[str, list[str], str]]:
    """Name, segments' ids and text of each document, in the order of the segments.

    Segments in a row that are parts of the same document are one, no more than `LONGEST`, joined by `space` and
    called as it is; the second such row is called NAME#2. A segment that is no part of anything is a document.
    """
    rows: Counter[str] = Counter()
    for (name, _), run in groupby(segments, key=_document):
        while part := list(islice(run, LONGEST)):
            rows[name] += 1
            called = name if rows[name] == 1 else f"{name}#{rows[name]}"
            yield called, [one.segment for one in part], space.join(one.text for one in part)


def _document(segment: Segment) -> tuple[str, bool]:
    return (segment.segment, False) if segment.document is None else (segment.document, True)
