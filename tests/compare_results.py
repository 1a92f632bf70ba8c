"""Compares two results folders: `python tests/compare_results.py BEFORE AFTER`.

Every Parquet file, final or intermediate, must be in both with the same columns, types, rows in the same order and
values: numbers bit for bit, a NaN equal to a NaN. Metadata (digests, versions, paths) does not count, nor do hidden
folders (what a stage would resume from). A line for each file that differs, with its first difference; exit status 1
if there is any.
"""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def compare(before: Path, after: Path) -> dict[str, str]:
    """The first difference of each table that is not the same, by its path below the folders."""
    tables = [tables_below(folder) for folder in (before, after)]
    differences = {}
    for name in sorted(tables[0] | tables[1]):
        absent = [str(folder) for folder, names in zip((before, after), tables, strict=True) if name not in names]
        difference = f"not in {absent[0]}" if absent else table_difference(before / name, after / name)
        if difference:
            differences[name] = difference
    return differences


def tables_below(folder: Path) -> set[str]:
    """The Parquet files below a folder, without hidden ones."""
    names = [path.relative_to(folder) for path in folder.rglob("*.parquet")]
    return {str(name) for name in names if not any(part.startswith(".") for part in name.parts)}


def table_difference(before: Path, after: Path) -> str | None:
    """The first difference of two tables in words; None if there is none."""
    one, other = (pq.ParquetFile(path).read() for path in (before, after))
    if one.column_names != other.column_names:
        return f"columns {one.column_names}, then {other.column_names}"
    for name in one.column_names:
        types = [table.schema.field(name).type for table in (one, other)]
        if types[0] != types[1]:
            return f"column {name}: {types[0]}, then {types[1]}"
    if one.num_rows != other.num_rows:
        return f"{one.num_rows} rows, then {other.num_rows}"
    for name in one.column_names:
        columns = [table.column(name).combine_chunks() for table in (one, other)]
        row = first_difference(*columns)
        if row is not None:
            return f"column {name}, row {row}: {columns[0][row].as_py()!r}, then {columns[1][row].as_py()!r}"
    return None


def first_difference(one: Any, other: Any) -> int | None:
    """The first row in which two Arrow arrays of the same type and length differ."""
    if pa.types.is_list(one.type) or pa.types.is_large_list(one.type) or pa.types.is_fixed_size_list(one.type):
        lengths = pc.list_value_length(one), pc.list_value_length(other)
        row = first_difference(*lengths)
        before_it = slice(0, row)  # the rows whose lists have the same lengths
        item = first_difference(one[before_it].flatten(), other[before_it].flatten())
        if item is None:
            return row
        ends = pc.cumulative_sum(pc.fill_null(lengths[0].cast(pa.int64()), 0))
        return pc.index(pc.greater(ends, item), True).as_py()
    if pa.types.is_struct(one.type):
        parts = [(one.is_null(), other.is_null()), *zip(one.flatten(), other.flatten(), strict=True)]
        return min((row for pair in parts if (row := first_difference(*pair)) is not None), default=None)
    if pa.types.is_floating(one.type):
        one, other = bits(one), bits(other)
    same = pc.fill_null(pc.equal(one, other), False)
    row = pc.index(pc.or_(same, pc.and_(one.is_null(), other.is_null())), False).as_py()
    return None if row < 0 else row


def bits(values: Any) -> Any:
    """Floats as whole numbers of the same bits, every NaN as the same one."""
    nan = pa.scalar(float("nan"), values.type)
    whole = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[values.type.bit_width]
    return pc.if_else(pc.is_nan(values), nan, values).view(whole)


def main(before: str, after: str) -> int:
    """Print what differs; the exit status."""
    folders = Path(before), Path(after)
    differences = compare(*folders)
    for name, difference in differences.items():
        print(f"{name}: {difference}")
    names = tables_below(folders[0]) | tables_below(folders[1])
    print(f"{len(names)} tables, {len(differences)} differ")
    return int(bool(differences) or not names)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python tests/compare_results.py BEFORE AFTER")
    sys.exit(main(*sys.argv[1:]))
