"""What an HTML table shows of a Parquet table: its rows, and its columns under which header, in which unit."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import floor, log10
from typing import Any, NamedTuple

import polars as pl

from isogloss.report.shared.wording import TASK_TITLES, named, p_value, task_title

MOST_DIGITS = 4
"""So many significant digits a measured number is shown with at most; counts are shown whole."""


class Decimals(NamedTuple):
    """How measured numbers are shown: `factor` times as large, rounded to so many digits after the point."""

    digits: int
    factor: float = 1.0

    def __call__(self, value: float) -> str:
        return self.together([value])[0]

    def together(self, values: Sequence[float]) -> list[str]:
        """Numbers of one precision, as a value and its interval are; at most four significant digits."""
        scaled = [self.factor * value for value in values]
        largest = max(map(abs, scaled), default=0.0)
        before = floor(log10(largest)) + 1 if 0 < largest < float("inf") else 0  # digits before the point
        decimals = min(self.digits, MOST_DIGITS - before)
        return [f"{round(value, decimals) + 0:,.{max(decimals, 0)}f}".replace("-", "−") for value in scaled]


decimals = Decimals


class Column(NamedTuple):
    """How a column is shown; `low` and `high` name the columns of its interval, set as one column after it."""

    name: str
    header: str  # with the unit
    show: Callable[[Any], str]
    numeric: bool = True
    low: str = ""
    high: str = ""


class Sheet(NamedTuple):
    """An HTML table: its columns, as far as the Parquet table has them; or how else it becomes HTML."""

    columns: tuple[Column, ...] = ()
    note: str = ""  # what a reader must know before reading a column
    rows: Callable[[pl.DataFrame], pl.DataFrame] | None = None  # which rows, in which order; all as they are if None
    arrange: Callable[[pl.DataFrame], tuple[pl.DataFrame, tuple[Column, ...]]] | None = None
    """Rows and columns where the columns follow from the data."""
    body: Callable[[pl.DataFrame, str], str] | None = None
    """HTML in place of rows and columns, its ids beginning with the text given."""


def sheet(*columns: Column, note: str = "", rows: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> Sheet:
    """A `Sheet` of these columns."""
    return Sheet(columns, note, rows)


PERCENT, SHARE, FINE = decimals(1), decimals(1, 100), decimals(3)
"""How a percentage, a share as a percentage and a correlation are shown."""


def text(name: str, header: str, names: Mapping[str, str] | None = None) -> Column:
    """A column of text, each value shown by its name where it has one."""
    return Column(name, header, lambda value: (names or {}).get(str(value), str(value)), numeric=False)


language = partial(Column, show=named, numeric=False)
whole = partial(Column, show="{:,}".format)
probability = partial(Column, show=p_value)
"""Columns of languages' codes, of whole numbers and of p-values."""


def bounded(name: str, header: str, show: Callable[[Any], str], interval: str = "") -> Column:
    """A column whose interval is in {interval}_low and {interval}_high, by default those of its own name."""
    return Column(name, header, show, low=f"{interval or name}_low", high=f"{interval or name}_high")


LAYER, LANG = whole("layer", "decoder layer (0‑based)"), language("lang", "language")
TASK = text("task", "task", TASK_TITLES)
TOY_TASK = Column("task", "task", lambda code: task_title(code, toy=True), numeric=False)
"""In place of `TASK` where the questions are the toy world's."""
LANGUAGES, QUESTIONS = whole("n_languages", "languages"), whole("n", "questions")
N_FEATURES, N_PHRASES = whole("n_features", "features"), whole("n_phrases", "phrases")
_TAUGHT_IN = {"all": "every language", "reference": "reference only", "none": "no language"}
TAUGHT = text("taught", "fact taught in", _TAUGHT_IN)
FAMILY = whole("family_size", "tests corrected together")
P, P_ADJUSTED = probability("p", "p"), probability("p_adjusted", "p, corrected")
SAE_COLUMNS = (
    Column("fvu", "variance unexplained (%)", SHARE),
    Column("l0", "active features a token (L0)", decimals(1)),
    *map(whole, ("dead_features", "features", "k", "n_tokens"), ("dead features", "features", "k", "tokens")),
)
"""What is known of the quality of an SAE."""
