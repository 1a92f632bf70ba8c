"""A task's questions drawn again and again, the same draws for every language, layer and vector."""

import numpy as np
from jaxtyping import Float

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

    As `stats.percentile_interval` for each series: undefined if any draw is, or where there is but draw 0.
    """
    replicates = draws[:, 1:]
    bounds = np.full((2, len(draws)), np.nan)
    defined = np.isfinite(draws).all(axis=1)
    if replicates.shape[1] and defined.any():
        tail = (1 - confidence) / 2
        bounds[:, defined] = np.quantile(replicates[defined], [tail, 1 - tail], axis=1)
    return {name: draws[:, 0], f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
