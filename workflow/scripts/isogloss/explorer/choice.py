"""Which features a reader is shown: by gap, by how far they belong to one language, by monosemanticity."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LARGEST, SMALLEST, ONE_LANGUAGE, MONOSEMANTIC = "largest_gap", "smallest_gap", "one_language", "monosemantic"
SEVERAL = "several"  # the class of a feature that no language has more than half of the firings of
_HALF = 0.5
_MINIMUM = 10  # texts, over all languages, that a feature must fire in not to be rare


class Candidates(NamedTuple):
    """What is known of a layer's features."""

    features: Int[np.ndarray, " features"]  # ascending
    gap: Float[np.ndarray, " features"]  # percent; NaN where there is none
    fired: Int[np.ndarray, "features languages"]  # of the same texts in every language those that fire the feature
    excess: Float[np.ndarray, " features"]  # monosemanticity beyond chance; NaN where there is none

    @property
    def shares(self) -> Float[np.ndarray, "features languages"]:
        """Of a feature's firings the share in each language; NaN where it never fires."""
        total = self.fired.sum(axis=1, keepdims=True)
        return np.divide(self.fired, total, out=np.full(self.fired.shape, np.nan), where=total > 0)

    def class_of(self, row: int, languages: Sequence[str]) -> str | None:
        """The language that has more than half of a feature's firings, or "several"; None where it never fires."""
        shares = self.shares[row]
        if np.isnan(shares).any():
            return None
        largest = int(shares.argmax())
        return languages[largest] if shares[largest] > _HALF else SEVERAL


def choose(candidates: Candidates, most: int) -> dict[int, list[str]]:
    """The features to show, by number, and the lists that each is in; at most `most` a list.

    A feature is rare that fires in fewer than 10 texts, all languages together: a text or two decide what it seems.

    - largest_gap, smallest_gap: by the gap, rare features after all others; of equal ones the lower number;
    - one_language: the features with the largest share of their firings in one language, one a language in turn, the
      language with the largest share first, so that the list is not of the strongest language alone; no rare ones;
    - monosemantic: by the excess of monosemanticity, descending, rare features after all others.
    """
    rare = candidates.fired.sum(axis=1) < _MINIMUM
    lists = {
        LARGEST: _first(-candidates.gap, rare, most),
        SMALLEST: _first(candidates.gap, rare, most),
        ONE_LANGUAGE: _one_language(candidates, np.flatnonzero(~rare), most),
        MONOSEMANTIC: _first(-candidates.excess, rare, most),
    }
    chosen: dict[int, list[str]] = {}
    for name, rows in lists.items():
        for row in rows:
            chosen.setdefault(int(candidates.features[row]), []).append(name)
    return chosen


def _first(key: Float[np.ndarray, " features"], rare: Bool[np.ndarray, " features"], most: int) -> list[int]:
    """Rows by ascending key, rare ones last, those without a key left out."""
    rows = np.flatnonzero(~np.isnan(key))
    return rows[np.lexsort((rows, key[rows], rare[rows]))][:most].tolist()


def _one_language(candidates: Candidates, rows: Int[np.ndarray, " common"], most: int) -> list[int]:
    shares = candidates.shares[rows]
    own = [rows[of] for of in (shares.argmax(axis=1) == lang for lang in range(shares.shape[1]))]
    largest = candidates.shares.max(axis=1, initial=0)
    queues = [part[np.argsort(-largest[part], kind="stable")].tolist() for part in own]
    queues.sort(key=lambda queue: -largest[queue[0]] if queue else 0)
    turns = [row for turn in range(max(map(len, queues), default=0)) for queue in queues for row in queue[turn:][:1]]
    return turns[:most]
