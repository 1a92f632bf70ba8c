"""Intervals, tests and corrections, the same in every study.

Parts of SciPy and statsmodels that take seconds to import are imported where they are used.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

Equal = Literal["groups", "values"]
_METHODS = {"holm": "holm", "bh": "fdr_bh"}


class Interval(NamedTuple):
    """A two-sided interval; both ends are None where it is undefined."""

    low: float | None
    high: float | None


UNDEFINED = Interval(None, None)


def hierarchical_mean(
    values: Float[np.ndarray, "series values"], groups: Int[np.ndarray, " values"], equal: Equal = "groups"
) -> Float[np.ndarray, " series"]:
    """Mean of each series: of its group means (`equal="groups"`) or of all its values (`equal="values"`).

    The first is paper A's layer score (eq. A2): mean per feature, then mean over features.
    """
    return values.mean(axis=1) if equal == "values" else group_means(values, groups).mean(axis=1)


def group_means(
    values: Float[np.ndarray, "series values"], groups: Int[np.ndarray, " values"]
) -> Float[np.ndarray, "series groups"]:
    """Mean of every group (a feature, say) in each series; groups ascending."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.array([np.bincount(inverse, weights=row, minlength=len(sizes)) / sizes for row in values])


def hierarchical_bootstrap(
    values: Float[np.ndarray, "series values"],
    groups: Int[np.ndarray, " values"],
    *,
    replicates: int,
    seed: Sequence[int],
    equal: Equal = "groups",
) -> Float[np.ndarray, "replicates series"]:
    """Bootstrap replicates of `hierarchical_mean`: groups with replacement, then values within each.

    Every series sees the same resamples, so differences and ratios of columns are paired. The
    resamples are a function of `seed` and `groups` alone: leaving a series out changes no bit of the
    others. Resampling at both levels errs on the wide side where groups are small. One replicate's
    weights are held at a time.
    """
    rows = [np.ascontiguousarray(row) for row in values]
    means = np.empty((replicates, len(rows)))
    for replicate, weights in enumerate(_resamples(groups, replicates, seed, equal)):
        means[replicate] = [row @ weights for row in rows]
    return means


def _resamples(
    groups: Int[np.ndarray, " values"], replicates: int, seed: Sequence[int], equal: Equal
) -> Iterator[Float[np.ndarray, " values"]]:
    """The weight of every value in each replicate; weights sum to 1."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    generator = np.random.default_rng(list(seed))
    for _ in range(replicates):
        drawn = generator.integers(len(sizes), size=len(sizes))
        size = np.repeat(sizes[drawn], sizes[drawn])
        within = (generator.random(len(size)) * size).astype(np.int64)
        position = order[np.repeat(starts[drawn], sizes[drawn]) + within]
        share = 1 / (size * len(sizes)) if equal == "groups" else np.full(len(size), 1 / len(size))
        yield np.bincount(position, weights=share, minlength=len(groups))


class Grouped(NamedTuple):
    """Values of several series in groups: texts of features, say."""

    values: Float[np.ndarray, "series values"]
    groups: Int[np.ndarray, " values"]


def joint_bootstrap(
    parts: Sequence[Grouped], *, replicates: int, seed: Sequence[int]
) -> list[Float[np.ndarray, "estimates _series"]]:
    """`hierarchical_mean` of each part in row 0, below it the bootstrap's replicates, for parts that share groups.

    A replicate draws groups from the union of all parts' with replacement; each part then takes the mean over those
    that it has of the mean over values, drawn with replacement within the group anew each time that it is drawn. So
    parts that have other groups, as features that two languages chose, are resampled together, and any function of
    their means row by row has its bootstrap distribution. NaN where a part has no value, or no group that was drawn.
    Memory holds some 40 MB beside the replicates.
    """
    union, inverse = np.unique(np.concatenate([part.groups for part in parts]), return_inverse=True)
    number = np.split(inverse, np.cumsum([len(part.groups) for part in parts])[:-1])
    orders = [np.argsort(of, kind="stable") for of in number]
    sizes = [np.bincount(of, minlength=len(union)) for of in number]
    values = [np.asarray(part.values, float)[:, order] for part, order in zip(parts, orders, strict=True)]
    means = [np.full((1 + replicates, len(of)), np.nan) for of in values]
    for of, part in zip(means, parts, strict=True):
        if len(part.groups):
            of[0] = hierarchical_mean(np.asarray(part.values, float), part.groups)
    if not len(union):
        return means
    generator = np.random.default_rng(list(seed))
    step = max(1, 2**20 // max(len(union), *(of.shape[1] for of in values)))
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = generator.integers(len(union), size=(rows, len(union)))
        for of, size, into in zip(values, sizes, means, strict=True):
            often = size[drawn].ravel()
            each = np.repeat(often, often)
            replicate = np.repeat(np.repeat(np.arange(rows), len(union)), often)
            first = np.repeat((np.cumsum(size) - size)[drawn].ravel(), often)
            position = first + (generator.random(len(each)) * each).astype(np.int64)
            groups = np.count_nonzero(size[drawn], axis=1)
            for column, row in enumerate(of):
                total = np.bincount(replicate, weights=row[position] / each, minlength=rows)
                into[1 + start : 1 + start + rows, column] = total / np.where(groups, groups, np.nan)
    return means


def student_interval(mean: float | None, sd: float | None, n: int, confidence: float) -> Interval:
    """Student's interval of a mean of `n` values with standard deviation `sd` (ddof 1); none for fewer than two."""
    if n < 2 or mean is None or sd is None:
        return UNDEFINED
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / n**0.5
    return Interval(mean - half, mean + half)


def percentile_interval(replicates: Float[np.ndarray, " replicates"], confidence: float) -> Interval:
    """Percentile interval of bootstrap replicates; undefined if any replicate is (a zero denominator, say)."""
    if not len(replicates) or not np.isfinite(replicates).all():
        return UNDEFINED
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def adjust(p_values: Sequence[float | None], method: Literal["holm", "bh"]) -> list[float | None]:
    """P-values corrected over their family (Holm or Benjamini-Hochberg); None marks no test and stays None."""
    tested = [p for p in p_values if p is not None]
    if not tested:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    corrected = iter(np.asarray(multipletests(tested, method=_METHODS[method])[1]).tolist())
    return [None if p is None else next(corrected) for p in p_values]


def proportion_interval(successes: int, n: int, confidence: float) -> Interval:
    """Wilson's score interval of a proportion; undefined for n = 0."""
    return Interval(*_wilson(successes, n, confidence)) if n else UNDEFINED


def _wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = np.asarray(proportion_confint(successes, n, alpha=1 - confidence, method="wilson"))
    return float(low), float(high)


class Paired(NamedTuple):
    """How often each of two answerers was right about the same questions."""

    both: int
    first_only: int
    second_only: int
    neither: int


def paired_difference_interval(counts: Paired, confidence: float) -> Interval:
    """Interval of p(first) - p(second) of paired proportions; undefined without pairs.

    Newcombe (1998), Statistics in Medicine 17, 2635-2650, method 10: Wilson's intervals of both
    proportions, squared and added with their continuity-corrected correlation. Unlike the plain
    t interval it has a width where no pair differs.
    """
    a, b, c, d = counts
    n = sum(counts)
    if n == 0:
        return UNDEFINED
    first, second = (a + b) / n, (a + c) / n
    low1, high1 = _wilson(a + b, n, confidence)
    low2, high2 = _wilson(a + c, n, confidence)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    excess = a * d - b * c
    if excess > 0:
        excess = max(excess - n / 2, 0)
    phi = excess / margins**0.5 if margins else 0.0

    def distance(x: float, y: float) -> float:
        return max(x * x - 2 * phi * x * y + y * y, 0.0) ** 0.5

    difference = first - second
    return Interval(
        difference - distance(first - low1, high2 - second), difference + distance(high1 - first, second - low2)
    )


def mcnemar(counts: Paired) -> float:
    """Two-sided p-value of McNemar's exact test: the pairs that differ against a fair coin; 1 if none does."""
    differing = counts.first_only + counts.second_only
    from scipy.stats import binomtest

    return float(binomtest(counts.first_only, differing).pvalue) if differing else 1.0


class Correlation(NamedTuple):
    """Pearson's r with Fisher's interval and the two-sided p; None where there is none."""

    r: float | None
    low: float | None
    high: float | None
    p: float | None


def pearson(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], confidence: float) -> Correlation:
    """Pearson's correlation over points; none for fewer than three or without spread, no interval below four."""
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return Correlation(None, None, None, None)
    from scipy.stats import pearsonr

    result: Any = pearsonr(x, y)
    interval = UNDEFINED
    if len(x) >= 4:
        interval = Interval(*map(float, result.confidence_interval(confidence)))
    return Correlation(float(result.statistic), interval.low, interval.high, float(result.pvalue))


def percent_below(reference: Float[np.ndarray, "..."], value: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """(reference - value) / reference * 100, element by element (paper A, eq. A3); NaN where the reference is 0."""
    reference, value = np.broadcast_arrays(reference, value)
    scale = np.where(reference == 0, np.nan, reference)
    return (reference - value) / scale * 100


def or_none(value: float) -> float | None:
    """A number for a nullable column: None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None
