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
    """The least-squares slope of y on x, each seed with a level of its own, and its percentile interval.

    Where every seed has the same languages and the same values of x, that is the slope through all points at once; the
    levels keep what makes a whole model better or worse out of the interval.

    The bootstrap is crossed, as the points are: each replicate draws the languages with replacement and, apart from
    that, the seeds, and a point counts as often as its language times as its seed was drawn (Owen 2007, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1, 386-411). It errs on the wide side: of nine languages and three seeds
    without a slope, 2 to 3 of 100 intervals of 95 % exclude zero. With one seed, languages alone are drawn, and 11 do.
    Replicates without spread of x are dropped and counted. No slope without spread of x, no interval for fewer than
    three languages or where less than half of the replicates is defined.

    `languages` and `seeds` number the languages and the seeds of the points.
    """
    if not len(x):
        return NO_SLOPE
    (rows, of_row), (columns, of_column) = (np.unique(part, return_inverse=True) for part in (languages, seeds))
    value = float(_slopes(x, y, of_column, np.ones((1, len(x))), np.ones((1, len(columns))))[0])
    if not np.isfinite(value):
        return NO_SLOPE
    generator = np.random.default_rng(list(seed))
    languages_drawn, seeds_drawn = (_counts(generator, len(names), replicates) for names in (rows, columns))
    slopes = _slopes(x, y, of_column, languages_drawn[:, of_row], seeds_drawn)
    defined = slopes[np.isfinite(slopes)]
    interval = UNDEFINED
    if len(rows) >= FEWEST_LANGUAGES and 2 * len(defined) >= replicates:
        interval = percentile_interval(defined, confidence)
    return Slope(value, interval, replicates - len(defined))


def _counts(generator: np.random.Generator, n: int, replicates: int) -> Float[np.ndarray, "replicates n"]:
    """How often each of `n` comes up among `n` draws with replacement."""
    return generator.multinomial(n, np.full(n, 1 / n), size=replicates).astype(float)


def _slopes(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    seeds: Int[np.ndarray, " points"],
    weights: Float[np.ndarray, "replicates points"],
    seed_weights: Float[np.ndarray, "replicates seeds"],
) -> Float[np.ndarray, " replicates"]:
    """Weighted least-squares slopes within seeds, a replicate each; NaN without spread of x."""
    x, y = x - x.mean(), y - y.mean()  # large means would leave few digits
    spread, together = np.zeros(len(weights)), np.zeros(len(weights))
    for number, times in enumerate(seed_weights.T):
        of_seed = seeds == number
        part, a, b = weights[:, of_seed], x[of_seed], y[of_seed]
        total = np.maximum(part.sum(axis=1), 1e-300)  # a seed whose languages were not drawn adds nothing
        spread += times * (part @ (a * a) - (part @ a) ** 2 / total)
        together += times * (part @ (a * b) - (part @ a) * (part @ b) / total)
    enough = spread > 1e-9 * max(float(x @ x), 1e-9)
    return np.where(enough, together / np.where(enough, spread, 1), np.nan)
