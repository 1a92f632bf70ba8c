"""Whether one series predicts another over languages once others are taken out: partial correlation, R² left out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from isogloss.partial import ROUNDING, design_of, partial_correlation, residual_r
from isogloss.stats import UNDEFINED, Interval, percentile_interval, undefined_replicates


class Correlated(NamedTuple):
    """Pearson's r of what controls leave of two series; None where they leave nothing of one."""

    r: float | None
    interval: Interval
    p: float | None  # by permutation, two-sided
    n_orders: int  # tried for p
    n_undefined: int  # resamples without an r, left out of the interval


def correlate(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    controls: Float[np.ndarray, "points controls"],
    *,
    replicates: int,
    confidence: float,
    seed: Sequence[int],
) -> Correlated:
    """Partial correlation of two series given controls (none: Pearson's r), with interval and permutation p.

    As `partial.partial_correlation`. The interval is the percentiles of a bootstrap over points, regressions and all;
    draws that leave nothing of a series are dropped and counted (`stats.percentile_interval`).
    """
    partial = partial_correlation(x, y, controls, seed)
    if partial.r is None:
        return Correlated(None, UNDEFINED, None, 0, 0)
    design, scale = design_of(x, y, controls)
    drawn = np.random.default_rng(list(seed)).integers(0, len(x), (replicates, len(x)))
    draws = residual_r(x[drawn], y[drawn], design[drawn], scale)
    interval = percentile_interval(draws, confidence)
    return Correlated(partial.r, interval, partial.p, partial.n_orders, undefined_replicates(draws))


class Explained(NamedTuple):
    """The share of a series' variance that a regression explains; None where the series does not vary."""

    r2: float | None  # of the points that it was fitted to
    r2_left_out: float | None  # of points left out of the fit, one at a time; below 0 where the mean predicts better


def explained(y: Float[np.ndarray, " points"], predictors: Float[np.ndarray, "points predictors"]) -> Explained:
    """R² of the least-squares regression of y on a constant and predictors, fitted and leave-one-out.

    Left out: 1 less the sum of squared errors of prediction over that of the mean of the other points, so that the
    mean itself has 0. A predictor that does not vary without a point predicts nothing of it.
    """
    design = np.column_stack([np.ones(len(y)), *predictors.T])
    if len(y) < 3 or not np.ptp(y):
        return Explained(None, None)
    fitted = y - design @ (np.linalg.pinv(design, rcond=ROUNDING) @ y)
    errors, of_mean = np.zeros(len(y)), np.zeros(len(y))
    for point in range(len(y)):
        others = np.arange(len(y)) != point
        of_mean[point] = y[point] - y[others].mean()
        centre = design[others, 1:].mean(axis=0)  # about the mean: what does not vary has no slope, not a level's share
        slopes = np.linalg.pinv(design[others, 1:] - centre, rcond=ROUNDING) @ (y[others] - y[others].mean())
        errors[point] = of_mean[point] - (design[point, 1:] - centre) @ slopes
    return Explained(
        float(1 - fitted @ fitted / ((y - y.mean()) ** 2).sum()), float(1 - errors @ errors / (of_mean @ of_mean))
    )
