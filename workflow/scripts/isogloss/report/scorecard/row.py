"""A row of the scorecard: a question, what a paper claims, what this study shows, and whether its control passed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from isogloss.report.findings.sentences import sign
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.wording import number

PASSED, FAILED, PARTLY, NONE, OPEN = "Passed", "Failed", "Partly", "No control", "Undecided"
"""Whether a control passed, in words."""


class Measured(NamedTuple):
    """A number read from a table, with its interval and of how many it is."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: str = ""  # "9 languages"
    unit: str = ""  # "%" | "points" | ""
    digits: int = 1

    @property
    def text(self) -> str:
        """`−4.0 % (−5.1 to −2.9; 9 languages)`; in words where it is not defined."""
        if self.value is None:
            return f"not defined ({self.n})" if self.n else "not defined"
        unit = f"\u00a0{self.unit}" if self.unit else ""
        has = self.low is not None and self.high is not None
        interval = f"{number(self.low, self.digits)} to {number(self.high, self.digits)}" if has else "no interval"
        return f"{number(self.value, self.digits)}{unit} ({'; '.join(filter(None, [interval, self.n]))})"

    @property
    def sign(self) -> int:
        """1 for an interval above zero, -1 for one below, 0 for one that includes it or is not defined."""
        return sign(self.low, self.high)


class Control(NamedTuple):
    """What would show the result to be an artefact, and whether it did not."""

    verdict: str  # PASSED | FAILED | PARTLY | NONE | OPEN
    text: str = ""


class Row(NamedTuple):
    """A row of the scorecard."""

    name: str
    question: str
    claim: str  # of the paper that asks it
    says: str  # the answer in a few words
    here: Sequence[Measured]
    control: Control
    figure: str  # name of the entry that has the evidence
    short: str = ""  # what the question asks about, in three or four words


def measured(
    row: Mapping[str, Any], column: str, label: str, interval: str = "", factor: float = 1, **more: Any
) -> Measured:
    """A table's row's value, `factor` times as large; its interval is in {interval}_low and {interval}_high."""
    columns = (column, f"{interval or column}_low", f"{interval or column}_high")
    value, low, high = (None if row[one] is None else factor * row[one] for one in columns)
    return Measured(label, value, low, high, **more)


def mean_over_languages(frame: pl.DataFrame, column: str, label: str, confidence: float, **more: Any) -> Measured:
    """Mean of a column over the rows (one a language) with Student's interval over them; undefined without a row."""
    rows = over_languages(frame.with_columns(every=pl.lit(0)), column, confidence, by=["every"]).to_dicts()
    if not rows:
        return Measured(label, None, n=counted(0, "language"))
    row = rows[0]
    return Measured(label, row["mean"], row["low"], row["high"], counted(row["n"], "language"), **more)


def counted(n: int, what: str) -> str:
    """`1 language`, `9 languages`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def shown(found: int, expected: int = 1) -> str:
    """What the sign of an interval says of an expected one."""
    return {expected: "Shown", -expected: "The reverse is shown"}.get(found, "Not shown")
