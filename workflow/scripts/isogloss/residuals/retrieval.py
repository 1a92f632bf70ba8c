"""Retrieval of translations: where the true one ranks among sampled texts, and what guessing would reach."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_SCORES = 1_000_000  # cosines held at a time: 8 MB
_SAME = 1e-6  # candidates with a cosine nearer to one are one vector, computed in batches of other shapes
_TIED = 1e-9  # cosines that are nearer differ by rounding


class TextPool(NamedTuple):
    """The phrases that stand for the sampled texts, one for each."""

    phrases: Int[np.ndarray, " texts"]  # ascending

    @classmethod
    def sample(cls, phrases: Int[np.ndarray, " phrases"], keys: Int[np.ndarray, " phrases"], most: int) -> "TextPool":
        """Of distinct texts, by their `text_key`, those with the lowest keys, at most `most`; each's first phrase."""
        order = np.lexsort((phrases, keys))
        first = np.unique(keys[order], return_index=True)[1][:most]
        return cls(np.sort(phrases[order][first]))


def text_keys(texts: Iterable[str], seed: int) -> Int[np.ndarray, " texts"]:
    """A number that a text has whatever stands round it, in an order that is random and goes with `seed`."""
    salt = (seed % 2**64).to_bytes(8, "little")
    digests = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8").view(np.int64)


def reciprocal_ranks(
    queries: Float[np.ndarray, "texts width"], candidates: Float[np.ndarray, "texts width"]
) -> Float[np.ndarray, " texts"]:
    """The reciprocal rank, by cosine, of each query's true candidate, which stands in the query's row.

    Both are of unit length. A candidate whose vector is the true one's (a text with an equal translation)
    is no rival. A tie counts as breaking it at random would on average: with b better and t tied rivals
    the mean of 1/(b + 1) to 1/(b + t + 1) (McSherry and Najork 2008, "Computing information retrieval
    performance measures efficiently in the presence of tied scores"), so that vectors that are
    all alike reach `chance`. NaN for a query that is NaN, and for all if a candidate is. Memory holds a
    million cosines.
    """
    texts = len(candidates)
    if not (texts and np.isfinite(candidates).all()):
        return np.full(texts, np.nan)
    harmonic = _harmonic(texts)
    ranks = np.empty(texts)
    step = max(1, _SCORES // texts)
    for start in range(0, texts, step):
        block = slice(start, start + step)
        true = np.einsum("td,td->t", queries[block], candidates[block])[:, None]
        scores = queries[block] @ candidates.T
        rivals = candidates[block] @ candidates.T < 1 - _SAME
        better = (rivals & (scores > true + _TIED)).sum(axis=1)
        tied = (rivals & (np.abs(scores - true) <= _TIED)).sum(axis=1)
        ranks[block] = (harmonic[better + tied + 1] - harmonic[better]) / (tied + 1)
    ranks[~np.isfinite(queries).all(axis=1)] = np.nan
    return ranks


def chance(texts: int) -> float:
    """The mean reciprocal rank of a random order of `texts` candidates: the mean of 1/1 to 1/texts."""
    return float(_harmonic(texts)[-1] / texts)


def _harmonic(texts: int) -> Float[np.ndarray, " numbers"]:
    """The harmonic numbers from that of 0, which is 0, to that of `texts`."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, texts + 1))])
