"""How long features stay on: runs of consecutive tokens (paper C, sec. 4.2, Figs. 6 and 9)."""

import numpy as np
from jaxtyping import Float, Int


def runs_of(
    feature: Int[np.ndarray, " entries"],
    document: Int[np.ndarray, " entries"],
    position: Int[np.ndarray, " entries"],
    features: int,
) -> Int[np.ndarray, " features"]:
    """Runs of consecutive positions of each of `features` features; a run ends with its document.

    The entries are distinct, in any order, and hold all of a document's: then runs of parts of the
    documents add up.
    """
    if not len(feature):
        return np.zeros(features, dtype=np.int64)
    order = np.lexsort((position, document, feature))
    feature, document, position = feature[order], document[order], position[order]
    follows = np.zeros(len(feature), dtype=bool)
    follows[1:] = (feature[1:] == feature[:-1]) & (document[1:] == document[:-1]) & (position[1:] == position[:-1] + 1)
    return np.bincount(feature[~follows], minlength=features)


def span_length(n: Int[np.ndarray, " features"], runs: Int[np.ndarray, " features"]) -> Float[np.ndarray, " features"]:
    """Mean length of a run in tokens, `n` counted tokens in `runs` runs; NaN where there is none."""
    return np.divide(n, runs, out=np.full(len(n), np.nan), where=runs > 0)
