"""Permutation tests over few members, languages say: exact where all orders can be tried, else drawn by a seed."""

from collections.abc import Sequence
from itertools import combinations, permutations
from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

MOST_SPLITS = 200_000  # so many ways to split are all tried: C(20, 10) is 184,756
MOST_ORDERED = 8  # so many points are put in every order: 8! is 40,320
DRAWS = 10_000  # splits or orders drawn where there are more

_TIES = 1 - 1e-9  # statistics that differ by rounding alone are equal


class Splits(NamedTuple):
    """Ways to split members into a first and a second group."""

    first: Bool[np.ndarray, "splits members"]  # who is in the first group; row 0 is the split as it is
    exact: bool  # all ways there are, not a draw of them
    smallest_p: float  # of a two-sided test: where the groups are of one size, a split and its mirror tie


def splits(first: int, second: int, seed: Sequence[int]) -> Splits:
    """All ways to split members, those of the first group before the others, into groups of these sizes.

    Where there are more than `MOST_SPLITS`, the split as it is and `DRAWS` that are drawn.
    """
    members = first + second
    if comb(members, first) > MOST_SPLITS:
        generator = np.random.default_rng(list(seed))
        order = generator.permuted(np.tile(np.arange(members), (1 + DRAWS, 1)), axis=1)
        order[0] = np.arange(members)
        return Splits(order < first, exact=False, smallest_p=1 / len(order))
    chosen = np.array(list(combinations(range(members), first)))
    mask = np.zeros((len(chosen), members), dtype=bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    return Splits(mask, exact=True, smallest_p=(2 if first == second else 1) / len(mask))


class DifferenceTest(NamedTuple):
    """Whether two groups differ, in each of several series."""

    difference: Float[np.ndarray, " series"]  # mean of the second group less that of the first
    p: Float[np.ndarray, " series"]  # of each series alone
    p_family: Float[np.ndarray, " series"]  # of all series as one family


def difference_test(values: Float[np.ndarray, "series members"], ways: Splits) -> DifferenceTest:
    """Two-sided permutation test of the groups' difference: the share of splits with one as large, its own included.

    The family's p compares each series with the largest statistic over series in each split (Westfall and Young
    1993, single step). For that a difference is divided by the standard deviation of the series over all members.
    As this is the same in every split, it orders the splits as the pooled t statistic does and brings series on one
    scale; a t with the groups' own spreads would explode in splits whose small groups happen to be alike. Every series
    must vary.
    """
    sizes = ways.first.sum(axis=1)[0], (~ways.first).sum(axis=1)[0]
    weights = np.where(ways.first, -1 / sizes[0], 1 / sizes[1])
    difference = values @ weights.T
    size = np.abs(difference) / values.std(axis=1, keepdims=True)
    least = size[:, :1] * _TIES
    return DifferenceTest(difference[:, 0], (size >= least).mean(axis=1), (size.max(axis=0) >= least).mean(axis=1))


class OrderTest(NamedTuple):
    """Whether two series go together over points, judged by putting one in other orders; None without spread."""

    p: float | None  # two-sided, of Pearson's r
    spearman: float | None  # Spearman's rho
    spearman_p: float | None  # two-sided
    orders: int  # tried, the one that is there included


def order_test(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], seed: Sequence[int]) -> OrderTest:
    """Permutation test of Pearson's r and of Spearman's rho: all orders of up to `MOST_ORDERED` points, else draws.

    None of both for fewer than three points or without spread.
    """
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return OrderTest(None, None, None, 0)
    orders = _orders(len(x), seed)
    _, p = _correlated(x, y, orders)
    rho, rho_p = _correlated(rankdata(x), rankdata(y), orders)
    return OrderTest(p, rho, rho_p, len(orders))


def residual_order_test(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    design: Float[np.ndarray, "points columns"],
    seed: Sequence[int],
) -> tuple[float, int]:
    """Two-sided permutation p of the partial correlation of x and y given a design's columns, and the orders tried.

    The residuals of y are put in other orders and added to what the design predicts (Freedman and Lane 1983, Journal
    of Business and Economic Statistics 1, 292-298). The design has a column of ones; both series have residuals.
    """
    maker = np.eye(len(x)) - design @ np.linalg.pinv(design, rcond=1e-9)  # of residuals
    one, other = maker @ x, maker @ y
    orders = _orders(len(x), seed)
    reordered = other[orders] @ maker
    size = np.sqrt((reordered**2).sum(axis=1))
    left = size > 1e-9 * size[0]  # an order of which the design leaves nothing has no correlation
    r = np.abs(reordered @ one) / np.where(left, size, 1) * left
    return float((r >= r[0] * _TIES).mean()), len(orders)


def _orders(points: int, seed: Sequence[int]) -> Int[np.ndarray, "orders points"]:
    """Orders of the points, the first the one that is there."""
    if points <= MOST_ORDERED:
        return np.array(list(permutations(range(points))))
    order = np.random.default_rng(list(seed)).permuted(np.tile(np.arange(points), (1 + DRAWS, 1)), axis=1)
    order[0] = np.arange(points)
    return order


def _correlated(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], orders: Int[np.ndarray, "orders points"]
) -> tuple[float, float]:
    """Pearson's r, and the share of orders of y with one as large in size."""
    one, other = x - x.mean(), y - y.mean()
    r = other[orders] @ one / np.sqrt((one @ one) * (other @ other))
    return float(r[0]), float((np.abs(r) >= abs(r[0]) * _TIES).mean())
