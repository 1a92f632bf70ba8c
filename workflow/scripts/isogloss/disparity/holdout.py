"""Which features alignment never trains on, so that its gain is measured where it was not taught.

Phrases that share text with those features' are kept out of training too (`training_pairs`).
"""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class HoldOut(NamedTuple):
    """How many features of a layer are held out, and by which seed."""

    share: float  # of the features with phrases, in expectation
    at_least: int  # so many, as far as half of those with phrases
    seed: int


def held_out_features(layer: int, features: Int[np.ndarray, " phrases"], rule: HoldOut) -> Int[np.ndarray, " held_out"]:
    """The held-out ones among the features that a layer has phrases of, ascending; a feature may come many times.

    A function of the rule, the layer and the set of features alone, so that every stage agrees without a table:
    features are taken in the order of a hash of theirs, those below the share, and more where these are too few.
    Features held out by a smaller rule stay held out by a larger one.
    """
    present = np.unique(features)
    hashes = np.array([_hash(layer, int(feature), rule.seed) for feature in present], dtype=np.uint64)
    below = sum(int(number) < rule.share * 2**64 for number in hashes)
    count = max(below, min(rule.at_least, len(present) // 2))
    return np.sort(present[np.argsort(hashes, kind="stable")[:count]])


def _hash(layer: int, feature: int, seed: int) -> int:
    """A number below 2^64."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{layer}/{feature}".encode()).digest()[:8], "big")
