"""Numbers in sentences: an estimate with its interval, and what an interval tells."""

from collections.abc import Mapping
from typing import Any

from isogloss.report.shared.wording import name, number, p_value


def estimate(value: float, low: float | None, high: float | None, unit: str = "%") -> str:
    """`24.0 % [21.0, 27.3]`: an estimate and its interval, whose coverage the page says once."""
    digits = 2 if not unit else 1
    unit = f" {unit}" if unit else ""
    if low is None or high is None:
        return f"{number(value, digits)}{unit} (no interval)"
    return f"{number(value, digits)}{unit} [{number(low, digits)}, {number(high, digits)}]"


def estimate_in(row: Mapping[str, Any], column: str, unit: str = "%", *, interval: str = "", factor: float = 1) -> str:
    """`estimate` of a column of a row, `factor` times as large; a dash where it is not defined.

    Its interval is in the columns {interval}_low and {interval}_high, those of the column's own name by default.
    """
    columns = (column, f"{interval or column}_low", f"{interval or column}_high")
    value, low, high = (None if row[one] is None else factor * row[one] for one in columns)
    return "–" if value is None else estimate(value, low, high, unit)


def of_language(row: Mapping[str, Any], column: str, unit: str = "%", **where: Any) -> str:
    """`Hindi 24.0 % [21.0, 27.3]`: `estimate_in` of a row, after its language."""
    return f"{name(row['lang'])} {estimate_in(row, column, unit, **where)}"


def probability(value: float) -> str:
    """`p = 0.012`."""
    return f"p {'' if value < 0.001 else '= '}{p_value(value)}"


def significant(row: Mapping[str, Any], confidence: float) -> bool:
    """Whether a row's corrected p-value is defined and below 1 - `confidence`."""
    return row["p_adjusted"] is not None and row["p_adjusted"] < 1 - confidence


def sign(low: float | None, high: float | None) -> int:
    """1 for an interval above zero, -1 for one below, 0 for one that includes zero or is not defined."""
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)


def sign_in(row: Mapping[str, Any], interval: str = "ci") -> int:
    """`sign` of the interval in the columns {interval}_low and {interval}_high of a row."""
    return sign(row[f"{interval}_low"], row[f"{interval}_high"])
