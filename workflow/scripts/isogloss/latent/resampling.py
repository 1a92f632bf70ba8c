"""A task's questions drawn again and again, the same draws for every language, layer and vector."""

import logging

import numpy as np
from jaxtyping import Float

from isogloss.stats import percentile_interval

logger = logging.getLogger(__name__)

_CHUNK = 256  # draws held as floating-point weights at a time


class Resamples:
    """A task's questions as they are (draw 0) and drawn with replacement (the others).

    The draws are a function of task, number of questions and seed alone, so that differences between any
    two languages, layers or vectors are paired.
    """

    def __init__(self, questions: int, *, replicates: int, seed: int, task: str) -> None:
        generator = np.random.default_rng([seed, *task.encode()])
        self._counts = np.ones((1 + replicates, questions), np.uint16)
        for counts in self._counts[1:]:
            counts[:] = np.bincount(generator.integers(questions, size=questions), minlength=questions)

    @property
    def questions(self) -> int:
        """Questions in each draw."""
        return self._counts.shape[1]

    def sums(self, values: Float[np.ndarray, "series questions"]) -> Float[np.ndarray, "series draws"]:
        """Sum of each series over the questions of each draw, in the precision of `values`.

        Counts and products of ranks are multiples of 1/4 far below 2^22, so their sums are exact in float32.
        """
        sums = np.empty((len(values), len(self._counts)))
        for start in range(0, len(self._counts), _CHUNK):
            weights = self._counts[start : start + _CHUNK].T.astype(values.dtype)
            sums[:, start : start + _CHUNK] = values @ weights
        return sums

    def means(self, values: Float[np.ndarray, "series questions"]) -> Float[np.ndarray, "series draws"]:
        """Mean of each series over the questions of each draw."""
        return self.sums(values) / self.questions


def with_intervals(
    name: str, draws: Float[np.ndarray, "series draws"], confidence: float
) -> dict[str, Float[np.ndarray, " series"]]:
    """Columns `name` (draw 0), `name_low` and `name_high` (percentiles of the other draws); NaN is undefined.

    As `stats.percentile_interval` for each series: draws that are undefined are left out, and counted in the log;
    no interval where too many are, where draw 0 is, or where there is but draw 0.
    """
    replicates = draws[:, 1:]
    bounds = np.full((2, len(draws)), np.nan)
    absent = (~np.isfinite(replicates)).sum(axis=1)
    estimated = np.isfinite(draws[:, 0])
    whole = estimated & (absent == 0)
    if replicates.shape[1] and whole.any():
        tail = (1 - confidence) / 2
        bounds[:, whole] = np.quantile(replicates[whole], [tail, 1 - tail], axis=1)
    partly = np.flatnonzero(estimated & (absent > 0))
    for series in partly:
        low, high = percentile_interval(replicates[series], confidence)
        if low is not None:
            bounds[:, series] = low, high
    if len(partly):
        logger.warning(
            "%s: in %d of %d intervals some resamples are undefined and left out, %d of %d at most",
            name, len(partly), len(draws), absent[partly].max(), replicates.shape[1],
        )  # fmt: skip
    return {name: draws[:, 0], f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
