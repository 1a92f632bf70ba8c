"""Numbers in sentences: an estimate with its interval, and what an interval tells."""

from isogloss.report.wording import number


def estimate(value: float, low: float | None, high: float | None, confidence: float, unit: str = "%") -> str:
    """`24.0 % (95 % interval 21.0 to 27.3 %)`."""
    digits = 2 if not unit else 1
    unit = f" {unit}" if unit else ""
    if low is None or high is None:
        return f"{number(value, digits)}{unit} (no interval)"
    bounds = f"{number(low, digits)} to {number(high, digits)}"
    return f"{number(value, digits)}{unit} ({100 * confidence:g} % interval {bounds}{unit})"


def sign(low: float | None, high: float | None) -> int:
    """1 for an interval above zero, -1 for one below, 0 for one that includes zero or is not defined."""
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)
