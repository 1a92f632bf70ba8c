"""SAE codes of the same texts in two languages at a layer, and what one of them chooses by its own activations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float32, Int

from isogloss.errors import IsoglossError
from isogloss.tables.layers import iter_layers


class LayerCodes(NamedTuple):
    """What texts fire in a language at a layer."""

    texts: Int[np.ndarray, " texts"]  # their numbers, ascending
    text: Int[np.ndarray, " entries"]  # of each activation, the position of its text in `texts`
    feature: Int[np.ndarray, " entries"]
    activation: Float32[np.ndarray, " entries"]  # above 0

    def dense(self, features: Int[np.ndarray, " features"]) -> Float32[np.ndarray, "texts features"]:
        """The codes with a column for each of the ascending `features`, which have all that fire."""
        codes = np.zeros((len(self.texts), len(features)), dtype=np.float32)
        codes[self.text, np.searchsorted(features, self.feature)] = self.activation
        return codes


def read_codes(path: str, layer: int, wording: int = 0) -> LayerCodes:
    """The codes of a layer in a table of `isogloss.sae.codes`.

    Raises `IsoglossError` for a text that is there twice and an activation that is not above 0.
    """
    columns = ["text", "wording", "features", "activations"]
    parts = [rows.filter(wording=wording) for rows in iter_layers([path], [layer], columns)]
    frame = pl.concat(parts).sort("text")
    entries = frame.with_row_index("row").explode("features", "activations").drop_nulls("features")
    activation = entries["activations"].to_numpy()
    if frame["text"].is_duplicated().any() or not (np.isfinite(activation) & (activation > 0)).all():
        raise IsoglossError(
            f"{path}: layer {layer} has a text twice or an activation that is not above 0; delete the file and run"
            " snakemake again"
        )
    row, feature = (entries[name].cast(pl.Int64).to_numpy() for name in ("row", "features"))
    return LayerCodes(frame["text"].to_numpy(), row, feature, activation)


class Chosen(NamedTuple):
    """Pairs of a feature and a text that make it fire, by feature."""

    feature: Int[np.ndarray, " pairs"]  # by its column
    text: Int[np.ndarray, " pairs"]  # by its row


def choose(codes: Float32[np.ndarray, "texts features"], *, per_feature: int, threshold: float, minimum: int) -> Chosen:
    """Of each feature that fires, the texts with the strongest activations, at most `per_feature`; ties: the earliest.

    They reach `threshold` times the feature's maximum over all texts, as phrases do (paper A, app. A.2.2); a feature
    with fewer than `minimum` of them is left out.
    """
    feature, text = np.nonzero(codes.T)
    value = codes[text, feature].astype(np.float64)
    order = np.lexsort((text, -value, feature))
    feature, text, value = feature[order], text[order], value[order]
    _, start, size = np.unique(feature, return_index=True, return_counts=True)
    rank = np.arange(len(feature)) - np.repeat(start, size)
    kept = (rank < per_feature) & (value >= threshold * np.repeat(value[start], size))
    number = np.bincount(feature[kept], minlength=codes.shape[1])
    kept &= (number >= minimum)[feature]
    return Chosen(feature[kept], text[kept])


def same_texts(path: str, codes: LayerCodes, first: str, texts: Sequence[int] | np.ndarray) -> None:
    """Raises `IsoglossError` if the table `path` has other texts than the table `first`."""
    if not np.array_equal(codes.texts, texts):
        raise IsoglossError(f"{path}: its texts are not those of {first}; delete both and run snakemake again")
