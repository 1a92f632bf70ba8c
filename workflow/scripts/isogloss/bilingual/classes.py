"""Which language a feature answers to (paper C, sec. 3.3)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

MIXED, SILENT = "mixed", "silent"
ALL = "all"
"""Every feature that is not silent."""
FEW = "few"
"""The class of a feature that has fewer counted activations than a class should rest on."""


def language_shares(
    by_language: Int[np.ndarray, "features languages"],
) -> Float[np.ndarray, "features languages"]:
    """Share of each language's documents in what was counted of a feature; NaN where nothing was."""
    total = by_language.sum(axis=1, keepdims=True)
    return np.divide(by_language, total, out=np.full(by_language.shape, np.nan), where=total > 0)


def classify(shares: Float[np.ndarray, "features languages"], languages: Sequence[str], threshold: float) -> list[str]:
    """The language whose share is above `threshold` (strictly), else "mixed"; "silent" where there are no shares."""
    names = np.array([*languages, MIXED, SILENT])
    largest = np.nan_to_num(shares).argmax(axis=1)
    selective = shares[np.arange(len(shares)), largest] > threshold
    number = np.where(selective, largest, len(languages))
    return names[np.where(np.isnan(shares[:, 0]), len(languages) + 1, number)].tolist()
