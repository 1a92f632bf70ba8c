"""What a reader is shown of a table: heads and cells as text, what is the same in all rows said once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from isogloss.report.tables.sheet import Column, Decimals

NONE = "–"
"""What stands where a value is not defined."""
CHOICES = range(2, 13)
"""A column of text, or one of these keys, with so many different values can be filtered by them."""
KEYS = ("layer", "step")


class Head(NamedTuple):
    """The head of a shown column."""

    text: str  # with the unit
    numeric: bool = True
    interval: bool = False  # of the column before it
    choices: bool = False  # whether rows can be chosen by its values


class View(NamedTuple):
    """A table as it is shown."""

    heads: list[Head]
    rows: list[tuple[str, ...]]  # a cell a head
    same: list[tuple[str, str]]  # head and value of columns left out since all rows have the same
    undefined: list[str]  # heads of columns left out since no row has a value


class _Shown(NamedTuple):
    column: Column
    cells: list[str]
    intervals: list[str]  # empty where the table has none

    @property
    def constant(self) -> bool:
        return len(set(self.cells)) == 1 and len(set(self.intervals)) < 2


def view(frame: pl.DataFrame, columns: Sequence[Column], confidence: float) -> View:
    """The rows of `frame` as `columns` show them; of several rows, columns that do not change are said instead."""
    shown = [_shown(frame, column) for column in columns]
    kept = [one for one in shown if frame.height < 2 or not one.constant] or shown
    left = [one for one in shown if one not in kept]
    heads: list[Head] = []
    cells: list[list[str]] = []
    for one in kept:
        few = len(set(one.cells)) in CHOICES and len(set(one.cells)) < frame.height
        choices = few and (not one.column.numeric or one.column.name in KEYS)
        heads.append(Head(one.column.header, one.column.numeric, choices=choices))
        cells.append(one.cells)
        if one.intervals:
            heads.append(Head(f"{100 * confidence:g} % interval", interval=True))
            cells.append(one.intervals)
    return View(
        heads,
        list(zip(*cells, strict=True)) if cells else [],
        [(one.column.header, f"{one.cells[0]} {''.join(one.intervals[:1])}".strip()) for one in left if _defined(one)],
        [one.column.header for one in left if not _defined(one)],
    )


def _defined(one: _Shown) -> bool:
    return one.cells[0] != NONE


def _shown(frame: pl.DataFrame, column: Column) -> _Shown:
    bounds = (column.low, column.high) if column.low in frame.columns else ()
    pairs = [_cell(values, column) for values in frame.select(column.name, *bounds).iter_rows()]
    return _Shown(column, [cell for cell, _ in pairs], [interval for _, interval in pairs] if bounds else [])


def _cell(values: Sequence[Any], column: Column) -> tuple[str, str]:
    """A value and its interval, of one precision; a dash for what is not defined."""
    defined = [value for value in values if value is not None]
    show = column.show
    texts = iter(show.together(defined) if isinstance(show, Decimals) else [show(value) for value in defined])
    value, *bounds = (NONE if value is None else next(texts) for value in values)
    return value, f"[{', '.join(bounds)}]" if NONE not in bounds else NONE
