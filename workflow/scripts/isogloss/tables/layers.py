"""The rows of chosen layers in tables whose rows stand layer by layer, without reading the rest."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from isogloss.errors import IsoglossError, made_again
from isogloss.tables import open_table


def iter_layers(
    paths: Sequence[str | Path],
    layers: Collection[int] | None,
    columns: Sequence[str] | None = None,
    batch_size: int = 4096,
) -> Iterator[pl.DataFrame]:
    """The rows of `layers` (None: of all), table after table, in file order and bounded batches; never an empty one.

    Only row groups that may hold such a row are read, by the statistics in the file, and one is held at a
    time, so time goes with the layers that are asked for and memory with neither. Where the rows do not
    stand layer by layer, all are read. Raises `IsoglossError` for a missing, truncated or damaged file.
    """
    wanted = list(dict.fromkeys([*columns, "layer"])) if columns else None
    for path in paths:
        for batch in _batches(path, batch_size, wanted, layers):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            rows = frame if layers is None else frame.filter(pl.col("layer").is_in(list(layers)))
            if rows.height:
                yield rows.select(columns) if columns else rows


def layers_in(path: str | Path) -> list[int]:
    """The layers that the rows of a table belong to, ascending; errors as `iter_layers`."""
    found: set[int] = set()
    for batch in _batches(path, 65_536, ["layer"]):
        found.update(batch.column("layer").unique().to_pylist())
    return sorted(found)


def _batches(
    path: str | Path, size: int, columns: list[str] | None, layers: Collection[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The table's batches, of the row groups that may hold `layers`."""
    # By default pyarrow reads every column chunk that it is asked for before the first batch comes.
    table = pq.ParquetFile(path, metadata=open_table(path, [*(columns or ()), "layer"]).metadata, pre_buffer=False)
    groups = [group for group in range(table.num_row_groups) if layers is None or _may_hold(table, group, layers)]
    try:
        yield from table.iter_batches(batch_size=size, row_groups=groups, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        what = " ".join(str(error).split())  # of several lines
        raise IsoglossError(f"{path}: damaged Parquet file ({what}); {made_again(path)}") from error


def _may_hold(table: pq.ParquetFile, group: int, layers: Collection[int]) -> bool:
    metadata = table.metadata.row_group(group)
    column = next(i for i in range(metadata.num_columns) if metadata.column(i).path_in_schema == "layer")
    limits = metadata.column(column).statistics
    if limits is None or not limits.has_min_max:
        return True
    return any(limits.min <= layer <= limits.max for layer in layers)
