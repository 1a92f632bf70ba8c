"""Activations of the same phrases in several languages or adapters, layer by layer."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from isogloss.errors import IsoglossError
from isogloss.tables.layers import iter_layers, layers_in

_KEYS = ["layer", "feature", "phrase"]


class ParallelLayer(NamedTuple):
    """One layer's phrases as every series (a language, or a language under an adapter) measures them."""

    layer: int
    features: Int[np.ndarray, " phrases"]  # the feature that each phrase was chosen for, ascending
    values: Float[np.ndarray, "columns series phrases"]
    optional: Float[np.ndarray, "optional series phrases"]  # NaN where a series has none
    n_untranslated: int  # phrases left out, because a series has no values for them
    with_phrases: Int[np.ndarray, " features"]  # the layer's features that have phrases, those left out among them


def by_language(paths: Sequence[str], langs: Sequence[str]) -> dict[str, list[str]]:
    """The paths of each language (one a block of layers), languages in the order in which they come in `langs`."""
    grouped: dict[str, list[str]] = {lang: [] for lang in langs}
    for path, lang in zip(paths, langs, strict=True):
        grouped[lang].append(path)
    return grouped


def parallel_layers(
    series: Sequence[Sequence[str]],
    langs: Sequence[str],
    columns: Sequence[str],
    minimum_phrases: int = 1,
    *,
    optional: Sequence[str] = (),
    only: int | None = None,
) -> Iterator[ParallelLayer]:
    """Each layer of the activation tables in `series` (for each its paths, a path a block of layers).

    `langs` names the language of each series. A phrase that any series has no value for in one of
    `columns` (null: no usable translation) is left out of all and counted; then features with fewer than
    `minimum_phrases` phrases are left out. `optional` columns may be null; `only` names the layer to read, where not
    all are wanted. One layer's columns are held at a time (eight bytes a phrase, column and series), whatever the
    number of layers; the order of rows in the files does not matter, though only where they stand layer by layer is
    each read once.

    Raises `IsoglossError` if the series lack each other's phrases, a value is not finite, no phrase
    of a layer is left, or no feature of it has enough phrases.
    """
    for paths in zip(*series, strict=True):
        layers = [layers_in(path) for path in paths]
        for path, layers_there in zip(paths, layers, strict=True):
            if layers_there != layers[0]:
                raise _not_parallel(path, paths[0])
        for layer in layers[0] if only is None else {only} & {*layers[0]}:
            frames = [_read(path, layer, [*columns, *optional]) for path in paths]
            keys = frames[0].select(_KEYS)
            for path, frame in zip(paths, frames, strict=True):
                if not frame.select(_KEYS).equals(keys):
                    raise _not_parallel(path, paths[0])
            absent = [frame.select(pl.any_horizontal(pl.col(columns).is_null())).to_series() for frame in frames]
            present = ~reduce(or_, absent)
            if not present.any():
                worst = max(range(len(absent)), key=lambda number: absent[number].sum())
                raise IsoglossError(
                    f"layer {layer}: no phrase has a translation in every language compared; {langs[worst]} lacks"
                    f" {absent[worst].sum()} of {len(present)} ({paths[worst]}); mend its translation, lower"
                    " translation.minimum_chrf or leave the language out"
                )
            translated = pl.col("present")
            enough = translated.sum().over("feature") >= minimum_phrases
            kept = keys.with_columns(present=present).select(translated & enough).to_series()
            if not kept.any():
                raise IsoglossError(
                    f"layer {layer}: no feature has {minimum_phrases} phrases with a translation in every language"
                    " compared; lower gap.minimum_phrases"
                )
            yield ParallelLayer(
                layer=layer,
                features=keys["feature"].filter(kept).cast(pl.Int64).to_numpy(),
                values=_stack(frames, columns, kept),
                optional=_stack(frames, optional, kept),
                n_untranslated=int((~present).sum()),
                with_phrases=keys["feature"].unique().sort().cast(pl.Int64).to_numpy(),
            )


def _not_parallel(path: str, first: str) -> IsoglossError:
    return IsoglossError(f"{path}: its phrases are not those of {first}; delete both and run snakemake again")


def _stack(
    frames: Sequence[pl.DataFrame], columns: Sequence[str], kept: pl.Series
) -> Float[np.ndarray, "columns series phrases"]:
    """The `kept` rows of all frames; NaN for null."""
    values = np.empty((len(columns), len(frames), int(kept.sum())))
    for row, column in enumerate(columns):
        for number, frame in enumerate(frames):
            values[row, number] = frame[column].filter(kept).cast(pl.Float64).to_numpy()
    return values


def _read(path: str, layer: int, columns: Sequence[str]) -> pl.DataFrame:
    """The rows of a layer by feature and phrase."""
    frame = pl.concat(list(iter_layers([path], [layer], [*_KEYS, *columns]))).sort(_KEYS)
    if frame.select(_KEYS).is_duplicated().any():
        raise IsoglossError(f"{path}: a phrase stands there twice; delete the file and run snakemake again")
    broken = frame.filter(~pl.all_horizontal(pl.col(columns).cast(pl.Float64).is_finite().fill_null(True)))
    if broken.height:
        first = broken.row(0, named=True)
        raise IsoglossError(
            f"{path}: layer {first['layer']}, phrase {first['phrase']} has no finite value"
            f" ({', '.join(f'{column} {first[column]}' for column in columns)}); check the model and compute.dtype"
        )
    return frame
