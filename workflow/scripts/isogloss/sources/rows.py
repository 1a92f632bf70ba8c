"""Rows of the files that text comes as: Parquet, JSON Lines, TSV and CSV with a header, plain lines."""

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isogloss.errors import IsoglossError, shown
from isogloss.jsonl import LONGEST, json_object
from isogloss.sources.archives import check_size

COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
TABULAR = (".parquet", ".jsonl", ".json", ".tsv", ".csv")
_POINTER = b"version https://git-lfs.github.com/spec/"
_DAMAGED = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError)  # what reading a broken file raises
_REMEDY = "correct the line or leave the file out"


def suffix_of(name: str) -> str:
    """The last suffix of a file's name in lower case, that of a compression left aside."""
    path = Path(name)
    return (Path(path.stem).suffix if path.suffix.lower() in COMPRESSION else path.suffix).lower()


def kind_of(name: str) -> str:
    """The suffix among `TABULAR` of a file's name in either case, .jsonl for .ndjson; "" for any other."""
    suffix = ".jsonl" if suffix_of(name) == ".ndjson" else suffix_of(name)
    return suffix if suffix in TABULAR else ""


def read_rows(path: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """The values of `columns` in every row of the file `path`, which messages call `name`; each with its number.

    Numbers count from 1: the line on which a row begins in JSON Lines, TSV and CSV (a header has line 1), else the
    row. TSV is read as IANA defines text/tab-separated-values, without quotes; CSV as RFC 4180. A key that a later
    line of JSON Lines lacks is None. One batch of rows, or line, is in memory at a time.

    Raises `IsoglossError` for a column that is not there, a broken line or row, a damaged or cut off file, text
    that is not UTF-8, and a Git LFS pointer in place of the file.
    """
    reader = {".parquet": _parquet, ".tsv": _delimited, ".csv": _delimited}.get(kind_of(name), _json_lines)
    try:
        _check_pointer(path, name)
        yield from reader(path, name, columns)
    except _DAMAGED as error:
        raise IsoglossError(f"{name}: damaged or cut off ({_reason(error)}); fetch it again") from None


def column_names(path: Path, name: str) -> list[str]:
    """The columns of a tabular file, of JSON Lines the keys of the first line; errors as `read_rows`."""
    try:
        _check_pointer(path, name)
        if kind_of(name) == ".parquet":
            return pq.read_schema(path).names
        line = next(line for line in _decoded(path, name) if line.strip())
        if kind_of(name) in (".tsv", ".csv"):
            return next(csv.reader([line], delimiter="\t" if kind_of(name) == ".tsv" else ","))
        return list(json_object(line.encode(), f"{name}:1", _REMEDY))
    except _DAMAGED as error:
        raise IsoglossError(f"{name}: damaged or cut off ({_reason(error)}); fetch it again") from None
    except csv.Error as error:
        raise IsoglossError(f"{name}:1: broken CSV ({error}); mend the header") from None
    except StopIteration:
        raise IsoglossError(f"{name}: empty; fetch it again, or leave the file out") from None


def read_lines(path: Path, name: str) -> Iterator[str]:
    """The lines of a plain text file, without their line breaks.

    Raises `IsoglossError` as `read_rows`, and for lines that end in carriage returns alone: they would be one.
    """
    try:
        _check_pointer(path, name)
        lines = _decoded(path, name)
        ahead = list(islice(lines, 2))
        if len(ahead) == 1 and "\r" in ahead[0]:
            raise IsoglossError(f"{name}: its lines end in carriage returns alone; save it with line feeds")
        yield from chain(ahead, lines)
    except _DAMAGED as error:
        raise IsoglossError(f"{name}: damaged or cut off ({_reason(error)}); fetch it again") from None


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_pointer(path: Path, name: str) -> None:
    with path.open("rb") as handle:
        if handle.read(len(_POINTER)) == _POINTER:
            raise IsoglossError(
                f"{name}: a Git LFS pointer in place of the file; run `git lfs pull` in {path.parent}, or download it"
            )


def _require(columns: Sequence[str], there: Sequence[str], where: str) -> None:
    for column in columns:
        if there.count(column) != 1:
            state = f"{there.count(column)} columns" if column in there else "no column"
            listed = ", ".join(name if name.isprintable() and len(name) < 80 else shown(name) for name in there[:20])
            more = f", … ({len(there)})" if len(there) > 20 else ""
            raise IsoglossError(
                f"{where}: {state} {column!r}, there are {listed or 'none'}{more}; correct the column's name"
            )


def _parquet(path: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    with pq.ParquetFile(path) as table:
        _require(columns, table.schema_arrow.names, name)
        for column in columns:
            if not _is_readable(kind := table.schema_arrow.field(column).type):
                raise IsoglossError(f"{name}: column {column!r} is of type {kind}, no text or number; name another one")
        check_size(_unpacked(table.metadata), path, name)
        start = 1
        for batch in table.iter_batches(batch_size=1024, columns=list(columns)):
            try:
                values = [batch.column(column).to_pylist() for column in columns]
            except UnicodeDecodeError as error:
                last = start + batch.num_rows - 1
                raise IsoglossError(f"{name}: rows {start} to {last}: not UTF-8 ({error.reason}); mend it") from None
            for number, row in enumerate(zip(*values, strict=True), start=start):
                yield number, list(row)
            start += batch.num_rows


def _unpacked(about: pq.FileMetaData) -> int:
    """The bytes of all pages before they were compressed, as the file has it; a page has 2 GB at most."""
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    return sum(group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns))


def _is_readable(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text, numbers, or lists of these, which every reader of rows checks."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_readable(kind.value_type)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return text or number or pa.types.is_null(kind)


def _json_lines(path: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    known = False
    for number, line in enumerate(_split(path, name), start=1):
        if line.strip():
            record = json_object(line, f"{name}:{number}", _REMEDY)
            if not known:
                _require(columns, list(record), f"{name}:{number}")
                known = True
            yield number, [record.get(column) for column in columns]


def _delimited(path: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    tabs = kind_of(name) == ".tsv"
    csv.field_size_limit(LONGEST)  # a document is a field; csv's own limit is 128 KiB
    # In CSV a carriage return may be a field's own: the reader tells which.
    lines = (f"{line}\n" for line in _decoded(path, name, returns=not tabs))
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines, strict=True)
    start = 1  # line on which a row begins
    try:
        header = next(rows, [])
        _require(columns, header, f"{name}:1")
        wanted = [header.index(column) for column in columns]
        start = rows.line_num + 1
        for row in rows:
            row = row or ([""] if len(header) == 1 else [])
            if row and len(row) != len(header):
                raise IsoglossError(f"{name}:{start}: {len(row)} columns, the header has {len(header)}; mend the row")
            if row:
                values = [row[column] for column in wanted]
                if tabs:
                    _check_unquoted(values, f"{name}:{start}")
                yield start, values
            start = rows.line_num + 1
    except csv.Error as error:
        raise IsoglossError(f"{name}:{start}: broken CSV ({error}); mend the row") from None


def _check_unquoted(values: Sequence[str], where: str) -> None:
    """Refuse TSV that is quoted as CSV is: read as it stands, its texts would have quotes that they do not have."""
    for value in values:
        inner = value[1:-1]
        if value[:1] == '"' == value[-1:] and '""' in inner and '"' not in inner.replace('""', ""):
            raise IsoglossError(f"{where}: a field is quoted, TSV is read without quotes; save it as CSV or Parquet")


def _decoded(path: Path, name: str, *, returns: bool = False) -> Iterator[str]:
    """The lines of a file as text; with `returns` each has the carriage return that it may end with."""
    for number, line in enumerate(_split(path, name), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise IsoglossError(
                f"{name}:{number}: not UTF-8 (byte {line[error.start]:#04x}); convert the file to UTF-8"
            ) from None
        text = text.removeprefix("\ufeff") if number == 1 else text
        yield text if returns else text.removesuffix("\r")


def _split(path: Path, name: str) -> Iterator[bytes]:
    """The lines of a file that may be compressed, a chunk in memory at a time."""
    with pa.input_stream(str(path), compression=COMPRESSION.get(Path(name).suffix.lower())) as stream:
        rest = b""
        while chunk := stream.read(1 << 20):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > LONGEST:
                raise IsoglossError(f"{name}: a line of over {LONGEST >> 20} MiB; is it text? Narrow `files`")
        if rest:
            yield rest
