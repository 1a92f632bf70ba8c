"""Numbers and parts of the one-sentence results of figures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import number

MOST_TASKS = 2
"""Up to so many tasks have their part of a sentence; of more, the others are counted."""


def brief(value: float | None, low: float | None, high: float | None, unit: str = "", digits: int | None = None) -> str:
    """`24.0 % [21.0, 27.3]`: an estimate with its interval in brackets, without one where it has none."""
    if value is None:
        return "not defined"
    digits = (1 if unit else 2) if digits is None else digits
    bounds = "" if low is None or high is None else f" [{number(low, digits)}, {number(high, digits)}]"
    return f"{number(value, digits)}{' ' + unit if unit else ''}{bounds}"


def brief_in(
    row: Mapping[str, Any],
    column: str,
    unit: str = "",
    *,
    interval: str = "",
    factor: float = 1,
    digits: int | None = None,
) -> str:
    """`brief` of a column of a row, `factor` times as large.

    Its interval is in the columns {interval}_low and {interval}_high, those of the column's own name by default.
    """
    names = (column, f"{interval or column}_low", f"{interval or column}_high")
    value, low, high = (None if row.get(name) is None else factor * row[name] for name in names)
    return brief(value, low, high, unit, digits)


def brief_mean(mean: Mapping[str, Any], unit: str = "", *, factor: float = 1, digits: int | None = None) -> str:
    """`brief` of a row of `shared.means.over_languages`."""
    value, low, high = (None if mean[end] is None else factor * mean[end] for end in ("mean", "low", "high"))
    return brief(value, low, high, unit, digits)


def by_task(frame: pl.DataFrame, of: Callable[[str, pl.DataFrame], str], context: Context) -> str:
    """A sentence with a part for each of the first tasks, named where there are several; the others are counted."""
    parts = [(str(task), of(str(task), rows)) for (task,), rows in frame.group_by("task", maintain_order=True)]
    parts = [(task, part) for task, part in parts if part]
    if len(parts) == 1:
        return sentence(parts[0][1])
    more = len(parts) - MOST_TASKS
    shown = "; ".join(f"{context.panel(task)}: {part}" for task, part in parts[:MOST_TASKS])
    others = f"; {counted(more, 'more task')} in the figure" if more > 0 else ""
    return f"{shown}{others}." if parts else ""


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def counted(n: int | None, thing: str, plural: str = "") -> str:
    """`1 language`, `9 languages`; nothing of none known."""
    return "" if n is None else f"{n:,} {thing if n == 1 else plural or thing + 's'}"


def of_how_many(parts: Sequence[str]) -> str:
    """`9 languages, 184 questions`; parts that are not known are left out."""
    return ", ".join(part for part in parts if part)


def ranged(values: pl.Series, thing: str) -> str:
    """`184 questions`, or `57 to 159 questions` where their numbers differ; nothing of none known."""
    present = sorted(set(values.drop_nulls()))
    if len(present) < 2:
        return counted(present[0] if present else None, thing)
    return f"{present[0]:,} to {present[-1]:,} {thing}s"
