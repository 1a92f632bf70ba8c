"""Slopes over points that are crossed by language and seed, with intervals that draw both."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from isogloss.stats import UNDEFINED, Interval, percentile_interval

FEWEST_LANGUAGES = 3  # to draw from


class Slope(NamedTuple):
    """A least-squares slope; None where it is not defined."""

    value: float | None
    interval: Interval
    n_undefined: int  # resamples without spread of x, left out of the interval


NO_SLOPE = Slope(None, UNDEFINED, 0)


def slope(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    languages: Int[np.ndarray, " points"],
    seeds: Int[np.ndarray, " points"],
    *,
    replicates: int,
    confidence: float,
    seed: Sequence[int],
) -> Slope:
    """The least-squares slope of y on x with a percentile interval; none without spread of x.

    The bootstrap is crossed, as the points are: each replicate draws the languages with replacement and, apart from
    that, the seeds, and a point counts as often as its language times as its seed was drawn (Owen 2007, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1, 386-411). With one seed languages alone are drawn. Replicates without
    spread of x are dropped and counted. No interval for fewer than three languages, or where less than half of the
    replicates is defined. With three seeds and nine languages the interval is a little too narrow, as of any percentile
    bootstrap of few.

    `languages` and `seeds` number the languages and the seeds of the points.
    """
    value = float(_slopes(x, y, np.ones((1, len(x))))[0]) if len(x) else float("nan")
    if not np.isfinite(value):
        return NO_SLOPE
    rows, columns = (np.unique(numbers, return_inverse=True) for numbers in (languages, seeds))
    generator = np.random.default_rng(list(seed))
    drawn = [_counts(generator, len(names), replicates)[:, index] for names, index in (rows, columns)]
    slopes = _slopes(x, y, drawn[0] * drawn[1])
    defined = slopes[np.isfinite(slopes)]
    interval = UNDEFINED
    if len(rows[0]) >= FEWEST_LANGUAGES and 2 * len(defined) >= replicates:
        interval = percentile_interval(defined, confidence)
    return Slope(value, interval, replicates - len(defined))


def _counts(generator: np.random.Generator, n: int, replicates: int) -> Float[np.ndarray, "replicates n"]:
    """How often each of `n` comes up among `n` draws with replacement."""
    return generator.multinomial(n, np.full(n, 1 / n), size=replicates).astype(float)


def _slopes(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], weights: Float[np.ndarray, "replicates points"]
) -> Float[np.ndarray, " replicates"]:
    """Weighted least-squares slopes, a replicate each; NaN without spread of x."""
    x, y = x - x.mean(), y - y.mean()  # large means would leave few digits
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = (weights @ x) / total, (weights @ y) / total
        spread = (weights @ (x * x)) / total - mean_x**2
        together = (weights @ (x * y)) / total - mean_x * mean_y
        return np.where(spread > 1e-9 * max(float(x @ x), 1e-9), together / spread, np.nan)
