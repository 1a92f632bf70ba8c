"""A row of the scorecard: a question, what a paper claims, what this study shows, and whether its control passed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from isogloss.report.shared.wording import number

PASSED, FAILED, NONE, OPEN = "Passed", "Failed", "No control", "Undecided"
"""Whether a control passed, in words."""


class Measured(NamedTuple):
    """A number read from a table, with its interval and of how many it is."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""  # "%" | "points" | ""
    digits: int = 1
    n: str = ""  # "9 languages"

    @property
    def text(self) -> str:
        """`−4.0 % (−5.1 to −2.9; 9 languages)`; in words where it is not defined."""
        if self.value is None:
            return f"not defined ({self.n})" if self.n else "not defined"
        unit = f"\u00a0{self.unit}" if self.unit else ""
        has = self.low is not None and self.high is not None
        interval = f"{number(self.low, self.digits)} to {number(self.high, self.digits)}" if has else "no interval"
        return f"{number(self.value, self.digits)}{unit} ({'; '.join(filter(None, [interval, self.n]))})"


class Control(NamedTuple):
    """What would show the result to be an artefact, and whether it did."""

    verdict: str  # PASSED | FAILED | NONE | OPEN
    text: str = ""


class Row(NamedTuple):
    """A row; where `here` is empty `missing` says why."""

    name: str
    question: str
    claim: str
    here: Sequence[Measured]
    control: Control
    figure: str  # name of the entry that has the evidence
    missing: str = ""
    says: str = ""  # the answer in few words


def row_numbers(row: Any, column: str, interval: str = "", factor: float = 1) -> tuple[float | None, ...]:
    """A table row's value, low and high, `factor` times as large; its interval is in {interval}_low and _high."""
    columns = (column, f"{interval or column}_low", f"{interval or column}_high")
    return tuple(None if row[one] is None else factor * row[one] for one in columns)
