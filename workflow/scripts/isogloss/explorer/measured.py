"""What is measured of chosen features in every language: means with intervals, firings, distribution."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from isogloss.disparity.codes import read_codes, same_texts
from isogloss.stats import percentile_interval

BINS = 12  # of a histogram, from 0 to the feature's largest activation


class Peaks(NamedTuple):
    """The strongest activation of features in the same texts of every language, 0 where they don't fire."""

    texts: Int[np.ndarray, " texts"]  # their numbers in the pool
    values: Float32[np.ndarray, "languages texts features"]


def fired_texts(paths: Mapping[str, str], layer: int) -> Int[np.ndarray, "languages features"]:
    """How many texts fire each feature at a layer, by the tables of codes; features as far as any fires."""
    counts = [np.bincount(read_codes(path, layer).feature) for path in paths.values()]
    width = max(map(len, counts))
    return np.array([np.pad(part, (0, width - len(part))) for part in counts])


def read_peaks(paths: Mapping[str, str], layer: int, features: Sequence[int]) -> Peaks:
    """The codes of `features` at a layer, the same texts in every language.

    Raises `IsoglossError` if the tables are of different texts.
    """
    wanted = np.array(sorted(features))
    texts, parts = np.empty(0, dtype=np.int64), []
    for path in paths.values():
        codes = read_codes(path, layer)
        if parts:
            same_texts(path, codes, next(iter(paths.values())), texts)
        texts = codes.texts
        there = np.isin(codes.feature, wanted)
        own = codes._replace(text=codes.text[there], feature=codes.feature[there], activation=codes.activation[there])
        parts.append(own.dense(wanted))
    values = np.stack(parts)
    order = np.searchsorted(wanted, np.array(list(features), dtype=np.int64))
    return Peaks(texts, values[:, :, order])


def means(
    values: Float[np.ndarray, "languages values"], *, bootstrap: int, confidence: float, seed: Sequence[int]
) -> list[dict[str, Any]]:
    """Mean and interval of each language over the same values, resampled together; none of fewer than two."""
    n = values.shape[1]
    if not n:
        return [{"mean_activation": None, "ci_low": None, "ci_high": None, "n": 0} for _ in values]
    weights = np.random.default_rng(list(seed)).multinomial(n, np.full(n, 1 / n), size=bootstrap) / n
    replicates = weights @ values.T  # [bootstrap, languages]
    rows = []
    for number, mean in enumerate(values.mean(axis=1).tolist()):
        low, high = percentile_interval(replicates[:, number], confidence) if n > 1 else (None, None)
        rows.append({"mean_activation": mean, "ci_low": low, "ci_high": high, "n": n})
    return rows


def histograms(values: Float32[np.ndarray, "languages texts"]) -> tuple[list[list[int]], float]:
    """Texts of each language by their strongest activation, those above 0, in equal bins up to the largest."""
    largest = float(values.max(initial=0))
    if largest == 0:
        return [[0] * BINS for _ in values], 0.0
    return [np.histogram(row[row > 0], BINS, (0, largest))[0].tolist() for row in values], largest


def fires_anywhere(values: Float32[np.ndarray, "languages texts"]) -> Bool[np.ndarray, " texts"]:
    """The texts that fire a feature in some language."""
    return np.any(values > 0, axis=0)
