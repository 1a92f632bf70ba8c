"""Control features of each phrase: another phrase's (shuffled pairs) and one drawn at random.

Both are fixed functions of seed, layer and phrase, so they are the same in every language, with
every adapter and in whatever pieces the phrases are read.
"""

import numpy as np
from jaxtyping import Int, UInt64

from isogloss.errors import IsoglossError


def _hash(seed: int, layer: int, phrases: Int[np.ndarray, " phrases"], purpose: int) -> UInt64[np.ndarray, " phrases"]:
    """SplitMix64 of the phrase ids, salted with the rest."""
    x = phrases.astype(np.uint64)
    for salt in (seed, layer, purpose):
        x = x + np.uint64(0x9E3779B97F4A7C15 * (salt + 1) % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x


def shuffled_features(
    features: Int[np.ndarray, " phrases"], phrases: Int[np.ndarray, " phrases"], *, layer: int, seed: int
) -> Int[np.ndarray, " phrases"]:
    """For every phrase of a layer, the feature of another phrase that was chosen for another feature.

    The phrases are put in random order and each takes the feature of the next one that has another.
    Raises `IsoglossError` if the layer's phrases all belong to one feature.
    """
    if len(np.unique(features)) < 2:
        raise IsoglossError(
            f"layer {layer}: all phrases belong to feature {features[0]}, so pairs cannot be shuffled;"
            " lower phrases.feature_stride or phrases.threshold"
        )
    order = np.argsort(_hash(seed, layer, phrases, 0), kind="stable")
    own = features[order]
    partner = np.roll(own, -1)
    shift = 1
    while (same := partner == own).any():
        shift += 1
        partner[same] = np.roll(own, -shift)[same]
    result = np.empty_like(features)
    result[order] = partner
    return result


def random_features(
    features: Int[np.ndarray, " phrases"],
    phrases: Int[np.ndarray, " phrases"],
    *,
    layer: int,
    dictionary: int,
    seed: int,
) -> Int[np.ndarray, " phrases"]:
    """For every phrase a feature drawn evenly from the layer's `dictionary` features, its own left out."""
    drawn = (_hash(seed, layer, phrases, 1) % np.uint64(dictionary - 1)).astype(features.dtype)
    return drawn + (drawn >= features)
