"""Partial correlation over few points: what others leave of two series, and the permutation test of that."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from isogloss.permutation import residual_order_test

ROUNDING = 1e-9  # of the sum of squares: what is less is nothing


class Partial(NamedTuple):
    """Pearson's r of what controls leave of two series; None where they leave nothing of one."""

    r: float | None
    p: float | None  # by permutation, two-sided
    n_orders: int  # tried for p


def partial_correlation(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    controls: Float[np.ndarray, "points controls"],
    seed: Sequence[int],
) -> Partial:
    """Partial correlation of two series given controls (none: Pearson's r), with its permutation p.

    Both series are regressed on a constant and the controls; r is that of the residuals (Fisher 1924). Controls that
    do not vary take nothing out. p permutes the residuals of y (Freedman and Lane 1983;
    `permutation.residual_order_test`).
    """
    design, scale = design_of(x, y, controls)
    (r,) = residual_r(x[None], y[None], design[None], scale)
    if not np.isfinite(r):
        return Partial(None, None, 0)
    return Partial(float(r), *residual_order_test(x, y, design, seed))


def design_of(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], controls: Float[np.ndarray, "points controls"]
) -> tuple[Float[np.ndarray, "points columns"], Float[np.ndarray, " 2"]]:
    """What both series are regressed on, a constant and the controls, and the squares of the series' ranges."""
    return np.column_stack([np.ones(len(x)), *controls.T]), np.array([np.ptp(x), np.ptp(y)]) ** 2


def residual_r(
    x: Float[np.ndarray, "draws points"],
    y: Float[np.ndarray, "draws points"],
    design: Float[np.ndarray, "draws points columns"],
    scale: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, " draws"]:
    """r of the residuals of x and y in each draw; NaN where one of them has none."""
    both = np.stack([x, y], axis=-1)
    left = both - design @ (np.linalg.pinv(design, rcond=ROUNDING) @ both)
    squares = (left**2).sum(axis=1)
    together = (left[..., 0] * left[..., 1]).sum(axis=1)
    defined = (squares > ROUNDING * scale).all(axis=-1)
    return np.where(defined, together / np.sqrt(np.where(defined, squares.prod(axis=-1), 1)), np.nan)
