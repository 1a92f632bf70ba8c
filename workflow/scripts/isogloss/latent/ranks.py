"""Ranks of the choices, and how alike two series of answers are: consistency and transfer (paper B, sec. 2.1)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from isogloss.latent.resampling import Resamples


class Ranked(NamedTuple):
    """The answers to the same questions by each of several series (a language, or a language steered in some way)."""

    ranks: Float[np.ndarray, "series questions choices"]  # of the choices within a question, less their mean
    predicted: Int[np.ndarray, "series questions"]  # the choice ranked highest
    right: Bool[np.ndarray, "series questions"]


def rank(scores: Float[np.ndarray, "series questions choices"], answer: Int[np.ndarray, " questions"]) -> Ranked:
    """Choices ranked by score: average ranks in ties, where the first of the highest is the predicted one."""
    ranks = rankdata(scores, axis=-1) - (scores.shape[-1] + 1) / 2
    predicted = scores.argmax(axis=-1)
    return Ranked(ranks.astype(np.float32), predicted, predicted == answer)


class Measures(NamedTuple):
    """One series held against each series, in each draw of the questions; NaN where undefined."""

    consistency: Float[np.ndarray, "series draws"]
    positive_transfer: Float[np.ndarray, "series draws"]  # from the one to each
    negative_transfer: Float[np.ndarray, "series draws"]


class Pairs:
    """Eq. 1 to 3 of paper B for every ordered pair of series, in every draw of the questions."""

    def __init__(self, ranked: Ranked, resamples: Resamples) -> None:
        self._ranked = ranked
        self._resamples = resamples
        self._squares = resamples.sums((ranked.ranks**2).sum(axis=-1))
        self._right = resamples.sums(ranked.right.astype(np.float32))

    @property
    def accuracy(self) -> Float[np.ndarray, "series draws"]:
        """Share of the questions that each series answers correctly."""
        return self._right / self._resamples.questions

    def of(self, first: int) -> Measures:
        """Series number `first` with each series, itself included.

        Consistency (Eq. 1) is Pearson's correlation of the concatenated rank vectors, which is Spearman's
        as every rank stands in it equally often (save for ties within a question, where the average
        ranks are correlated as they are). Positive transfer (Eq. 2) is the share of the questions `first` has
        right that the other has right too, undefined if it has none right; negative transfer (Eq. 3) the share
        of those it has wrong that the other has wrong with the same choice, undefined if it has none wrong.
        """
        ranks, predicted, right = self._ranked
        sums = self._resamples.sums
        products = np.einsum("qc,sqc->sq", ranks[first], ranks)
        both_right = (right & right[first]).astype(np.float32)
        same_wrong = ((predicted == predicted[first]) & ~right[first]).astype(np.float32)
        norms = np.sqrt(self._squares * self._squares[first])
        with np.errstate(invalid="ignore"):  # 0 / 0 is undefined
            return Measures(
                sums(products) / norms,
                sums(both_right) / self._right[first],
                sums(same_wrong) / (self._resamples.questions - self._right[first]),
            )
