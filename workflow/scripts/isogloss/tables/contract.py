"""What a contract of a final table is: the columns that users' code reads, and their types.

Columns are added to a table, never renamed (README, "Tables"). Each table is a constant of its own, in the module of
its study, so that a new or a changed one touches the rules that write it and no other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

Contract = dict[str, pa.DataType]  # columns and types, in order


def conforming(frame: pl.DataFrame, contract: Contract) -> pa.Table:
    """`frame` as a final table: the contract's columns first and of its types, what else it has after them.

    Raises `ValueError` if a column of the contract is missing (a bug, not a user's mistake).
    """
    missing = [column for column in contract if column not in frame.columns]
    if missing:
        raise ValueError(f"the contract's columns {missing} are missing")
    extra = [column for column in frame.columns if column not in contract]
    table = frame.select([*contract, *extra]).to_arrow()
    fields = [pa.field(c, contract[c]) if c in contract else table.schema.field(c) for c in table.column_names]
    return table.cast(pa.schema(fields))


_KINDS = {
    pa.string(): pl.String,
    pa.int32(): pl.Int32,
    pa.int64(): pl.Int64,
    pa.float64(): pl.Float64,
    pa.bool_(): pl.Boolean,
}


def rows_of(rows: Sequence[Mapping[str, Any]], contract: Contract) -> pl.DataFrame:
    """Rows as a frame of the contract's columns and types; what a row lacks is null."""
    return pl.DataFrame(
        [{column: row.get(column) for column in contract} for row in rows],
        schema={column: _KINDS[kind] for column, kind in contract.items()},
    )
