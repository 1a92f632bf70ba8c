"""Activations of the same phrases in several languages or adapters, layer by layer."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from isogloss.errors import IsoglossError
from isogloss.languages import in_order
from isogloss.tables import read_table

_KEYS = ["layer", "feature", "phrase"]


class ParallelLayer(NamedTuple):
    """One layer's phrases as every series (a language, or a language under an adapter) measures them."""

    layer: int
    features: Int[np.ndarray, " phrases"]  # the feature that each phrase was chosen for, ascending
    values: Float[np.ndarray, "columns series phrases"]


def by_language(paths: Sequence[str], langs: Sequence[str]) -> dict[str, list[str]]:
    """The paths of each language (one a block of layers), languages in the order of the language table."""
    return {
        lang: [path for path, its in zip(paths, langs, strict=True) if its == lang]
        for lang in in_order(list(dict.fromkeys(langs)))
    }


def parallel_layers(
    series: Sequence[Sequence[str]], columns: Sequence[str], minimum_phrases: int = 1
) -> Iterator[ParallelLayer]:
    """Each layer of the activation tables in `series` (for each its paths, a path a block of layers).

    Features with fewer than `minimum_phrases` phrases are left out. One block's `columns` are held at
    a time (four to eight bytes a phrase and column; the order of rows in the files does not matter).

    Raises `IsoglossError` if the series lack each other's phrases, a value is not finite, or no
    feature of a layer has enough phrases.
    """
    for paths in zip(*series, strict=True):
        frames = [_read(path, columns) for path in paths]
        for path, frame in zip(paths, frames, strict=True):
            if not frame.select(_KEYS).equals(frames[0].select(_KEYS)):
                raise IsoglossError(
                    f"{path}: its phrases are not those of {paths[0]}; delete both and run snakemake again"
                )
        for (layer,), rows in frames[0].group_by("layer", maintain_order=True):
            counts = rows.select(pl.len().over("feature") >= minimum_phrases).to_series()
            if not counts.any():
                raise IsoglossError(
                    f"layer {layer}: no feature has {minimum_phrases} phrases; lower gap.minimum_phrases"
                )
            kept = frames[0].with_row_index().filter(pl.col("layer") == layer)["index"].filter(counts)
            yield ParallelLayer(
                layer=int(layer),  # type: ignore[arg-type]
                features=rows["feature"].filter(counts).cast(pl.Int64).to_numpy(),
                values=np.array(
                    [[frame[column].gather(kept).cast(pl.Float64).to_numpy() for frame in frames] for column in columns]
                ),
            )


def _read(path: str, columns: Sequence[str]) -> pl.DataFrame:
    frame = read_table(path, [*_KEYS, *columns]).sort(_KEYS)
    if frame.select(_KEYS).is_duplicated().any():
        raise IsoglossError(f"{path}: a phrase stands there twice; delete the file and run snakemake again")
    broken = frame.filter(~pl.all_horizontal(pl.col(columns).cast(pl.Float64).is_finite().fill_null(False)))
    if broken.height:
        first = broken.row(0, named=True)
        raise IsoglossError(
            f"{path}: layer {first['layer']}, phrase {first['phrase']} has no finite value"
            f" ({', '.join(f'{column} {first[column]}' for column in columns)}); check the model and compute.dtype"
        )
    return frame
