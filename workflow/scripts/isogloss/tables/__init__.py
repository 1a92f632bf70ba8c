"""Parquet tables: one writer, one reader, and the contract of the final tables."""

from isogloss.tables.io import (
    TableWriter,
    atomic_path,
    iter_table,
    iter_tables,
    open_table,
    read_table,
    table_metadata,
    write_table,
)

__all__ = [
    "TableWriter",
    "atomic_path",
    "iter_table",
    "iter_tables",
    "open_table",
    "read_table",
    "table_metadata",
    "write_table",
]
