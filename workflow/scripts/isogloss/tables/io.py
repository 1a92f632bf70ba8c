"""The one reader and the one writer of Parquet."""

import errno
import glob
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from isogloss.errors import IsoglossError, made_again
from isogloss.tables.contract import Contract, conforming


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it into place only if the block succeeds.

    An error, a kill or a full disk in the block leaves whatever stood at `path` before. Works for
    files and for folders; a folder that stood there is moved out of the way first, and back by the next write if the
    process was killed just then. What a killed process left aside is removed. One that was left behind by a killed
    snakemake and still writes loses its file that way, never moves another's half-written one to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(FileNotFoundError):  # it ended just now
            # At once: a folder in which another process still writes cannot be emptied, nor must it be moved so.
            _remove(left.replace(_aside(path)))
    old = path.with_name(f".{path.name}.old")
    _put_back(old, path)
    aside = _aside(path)
    try:
        yield aside
        if path.is_dir():
            _remove(old)
            path.replace(old)
            aside.replace(path)
            _remove(old)
        else:
            aside.replace(path)
    except BaseException as error:
        _remove(aside)
        _put_back(old, path)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise IsoglossError(
                f"{path}: the disk is full, nothing was written; free some space and run snakemake again"
            ) from error
        if isinstance(error, FileNotFoundError) and error.filename == str(aside):
            raise IsoglossError(f"{path}: another run in this folder began to write it; this one leaves it") from error
        raise


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _put_back(old: Path, path: Path) -> None:
    """The folder that stood at `path`, if it was moved out of the way and nothing came there."""
    if old.exists() and not path.exists():
        old.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class TableWriter:
    """Streams row groups into one Parquet file that appears only when it is complete.

    >>> with TableWriter(path, schema, metadata) as writer:
    ...     for batch in batches:
    ...         writer.write(batch)          # a row group each: memory does not grow with the table
    """

    def __init__(self, path: str | Path, schema: pa.Schema, metadata: Mapping[str, Any] | None = None) -> None:
        self._path = Path(path)
        self._schema = schema.with_metadata({**(schema.metadata or {}), **_annotation(metadata or {})})

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            aside = stack.enter_context(atomic_path(self._path))
            self._writer = stack.enter_context(pq.ParquetWriter(aside, self._schema, **_encoding(self._schema)))
            self._stack = stack.pop_all()
        return self

    def write(self, rows: pa.Table | pl.DataFrame | Mapping[str, Any]) -> None:
        """Append `rows` (columns by name, cast to the schema) as one row group."""
        table: Any = rows
        if isinstance(rows, pl.DataFrame):
            table = rows.to_arrow()
        elif not isinstance(rows, pa.Table):
            table = pa.table(dict(rows))
        self._writer.write_table(table.select(self._schema.names).cast(self._schema))

    def annotate(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata what is only known after the rows, counts say."""
        self._writer.add_key_value_metadata(_annotation(metadata))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """How columns are encoded: zstd, and dictionaries where values may come twice; vectors as they are, without limits.

    A dictionary of float32 numbers costs ten times what it saves in writing, zstd takes 7 % off a vector, and the
    least and largest number in a row group of vectors, which nobody asks for, cost a sixth of the time.
    """
    leaves = [leaf for field in schema for leaf in _leaves(field)]
    return {
        "compression": {path: "NONE" if vector else "ZSTD" for path, _, vector in leaves},
        "use_dictionary": [path for path, floats, _ in leaves if not floats],
        "write_statistics": [path for path, _, vector in leaves if not vector],
    }


def _leaves(field: pa.Field, above: str = "", vector: bool = False) -> list[tuple[str, bool, bool]]:
    """Path in Parquet, whether it is of floats, whether it is a vector's, of each column that a field becomes."""
    path = f"{above}{field.name}"
    if pa.types.is_nested(field.type):
        infix = "" if pa.types.is_struct(field.type) else "list."
        fixed = pa.types.is_fixed_size_list(field.type)
        parts = [field.type.field(number) for number in range(field.type.num_fields)]
        if infix:  # called so whatever Arrow calls it
            parts = [part.with_name("element") for part in parts]
        return [leaf for part in parts for leaf in _leaves(part, f"{path}.{infix}", vector or fixed)]
    return [(path, pa.types.is_floating(field.type), vector)]


def _annotation(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {f"isogloss.{key}": json.dumps(value) for key, value in metadata.items()}


def write_table(
    path: str | Path,
    frame: pl.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    contract: Contract | None = None,
) -> None:
    """Write a small table whole: a final table under its `contract`, which it is held to."""
    table = frame.to_arrow() if contract is None else conforming(frame, contract)
    with TableWriter(path, table.schema, metadata) as writer:
        writer.write(table)


def open_table(path: str | Path, columns: Iterable[str] | None = None) -> pq.ParquetFile:
    """Open a table for streaming.

    Raises `IsoglossError` for a missing, truncated or foreign file, or one without `columns`, with how to mend it.
    """
    if not Path(path).exists():
        raise IsoglossError(f"{path}: no such table; {made_again(path)}")
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise IsoglossError(
            f"{path}: not a complete Parquet file, probably cut off by a kill; {made_again(path)}"
        ) from error
    if lacking := [name for name in dict.fromkeys(columns or ()) if name not in table.schema_arrow.names]:
        raise IsoglossError(f"{path}: no column {', '.join(lacking)}, so edited or not ours; {made_again(path)}")
    return table


def read_table(path: str | Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a whole table (one that is known to be small); errors as `open_table`."""
    try:
        frame = pl.from_arrow(open_table(path, columns).read(columns=columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise IsoglossError(f"{path}: damaged Parquet file ({error}); {made_again(path)}") from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def iter_table(path: str | Path, columns: list[str] | None = None, batch_size: int = 4096) -> Iterator[pl.DataFrame]:
    """The rows of a table in bounded batches, in file order."""
    for batch in open_table(path, columns).iter_batches(batch_size=batch_size, columns=columns):
        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)
        yield frame


def iter_tables(
    paths: Sequence[str | Path], columns: list[str] | None = None, batch_size: int = 4096
) -> Iterator[pl.DataFrame]:
    """The rows of several tables, one after another, in bounded batches."""
    for path in paths:
        yield from iter_table(path, columns, batch_size)


def table_metadata(path: str | Path) -> dict[str, Any]:
    """The key-value metadata that isogloss wrote (`isogloss.stage.provenance` and what the stage added)."""
    raw = open_table(path).metadata.metadata or {}
    return {
        key.decode().removeprefix("isogloss."): json.loads(value)
        for key, value in raw.items()
        if key.startswith(b"isogloss.")
    }
