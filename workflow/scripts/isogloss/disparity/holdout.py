"""Which features alignment never trains on, so that its gain is measured where it was not taught.

Phrases that share text with those features' are kept out of training too (`training_pairs`).
"""

import hashlib

import numpy as np
from jaxtyping import Bool, Int


def held_out(layer: int, feature: int, share: float, seed: int) -> bool:
    """Whether `feature` of `layer` is held out of training: a hash, so that every stage agrees without a table.

    A share of `share` of the features in expectation; features held out at a smaller share stay held
    out at a larger one.
    """
    digest = hashlib.sha256(f"{seed}/{layer}/{feature}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def held_out_mask(
    layer: int, features: Int[np.ndarray, " phrases"], share: float, seed: int
) -> Bool[np.ndarray, " phrases"]:
    """`held_out` of the feature of many phrases of a layer."""
    unique, inverse = np.unique(features, return_inverse=True)
    return np.array([held_out(layer, int(feature), share, seed) for feature in unique], dtype=bool)[inverse]
