"""Eq. 1 to 3 of paper B for every ordered pair of languages, and their means over the pairs (eq. 4 to 6)."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from isogloss.latent.ranks import Measures, Pairs
from isogloss.latent.resampling import with_intervals

ABOVE_CHANCE = "transfer_above_chance"
MEASURED = (*Measures._fields, ABOVE_CHANCE)
"""Consistency and transfers, and how far positive transfer is from chance to all: (tr+ - acc) / (1 - acc)."""


def each_pair(measured: Pairs) -> Iterator[dict[str, Float[np.ndarray, "others draws"]]]:
    """One series after the other with all others, in every draw of the questions, by measure; NaN where undefined.

    `transfer_above_chance` takes the second series' accuracy out: 0 where the questions that the first has right are
    right in the second no more often than any, 1 where all are; undefined where the second has all right.
    """
    accuracy = measured.accuracy
    room = np.where(accuracy < 1, 1 - accuracy, np.nan)
    for number in range(len(accuracy)):
        columns = measured.of(number)._asdict()
        columns[ABOVE_CHANCE] = (columns["positive_transfer"] - accuracy) / room
        yield {name: np.delete(values, number, axis=0) for name, values in columns.items()}


class PairMeans:
    """Means over the ordered pairs that are defined, in every draw of the questions."""

    def __init__(self, draws: int) -> None:
        self._totals = {name: np.zeros(draws) for name in MEASURED}
        self._defined = {name: np.zeros(draws) for name in MEASURED}

    def add(self, columns: dict[str, Float[np.ndarray, "others draws"]]) -> None:
        """Count a series' pairs, as `each_pair` gives them."""
        for name, values in columns.items():
            self._totals[name] += np.nansum(values, axis=0)
            self._defined[name] += np.isfinite(values).sum(axis=0)

    def columns(self, expected: Measures, confidence: float) -> dict[str, float]:
        """Each measure with its interval, and of those that `chance.by_chance` expects the mean of that."""
        means: dict[str, float] = {}
        with np.errstate(invalid="ignore"):
            for name in MEASURED:
                draws = (self._totals[name] / self._defined[name])[None]
                intervals = with_intervals(name, draws, confidence)
                means |= {column: float(values[0]) for column, values in intervals.items()}
        for name, by_chance in expected._asdict().items():
            apart = by_chance[~np.eye(len(by_chance), dtype=bool)]
            means[f"{name}_chance"] = float(apart[np.isfinite(apart)].mean()) if np.isfinite(apart).any() else np.nan
        return means
