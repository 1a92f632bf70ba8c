"""The residuals of all languages side by side, without the phrases that one of them lacks."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Float32, Int
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.tables import open_table
from isogloss.tables.layers import iter_layers

# Rows (a phrase at a layer) of every language held at a time: ten languages of width 2304 take 95 MB.
ROWS = 1024


class ParallelRows(NamedTuple):
    """The same rows of all languages, without those that a language has no residual for."""

    phrases: Int[np.ndarray, " rows"]
    layers: Int[np.ndarray, " rows"]
    vectors: Float32[np.ndarray, "langs rows d_model"]  # mean-pooled residuals, finite and none zero
    layers_left_out: Int[np.ndarray, " left_out"]  # of the rows left out
    absent: Int[np.ndarray, " langs"]  # rows that each language has no residual for


def parallel_rows(paths: Mapping[str, str]) -> Iterator[ParallelRows]:
    """The residuals of all languages, `ROWS` rows of their tables (`paths`, by language) at a time.

    Raises `IsoglossError` if the tables' rows differ, or a residual is zero or not finite.
    """
    heights = {name: open_table(path).metadata.num_rows for name, path in paths.items()}
    if len(set(heights.values())) > 1:
        counts = ", ".join(f"{name} {height}" for name, height in heights.items())
        raise IsoglossError(f"the languages' residual tables differ in length ({counts}); capture them again")
    first = next(iter(paths.values()))
    chunks = zip(*(_equal_rows(path) for path in paths.values()), strict=True)
    for frames in tqdm(chunks, total=-(-max(heights.values()) // ROWS), desc="similarity", unit="chunk"):
        keys = frames[0].select("phrase", "layer")
        for path, frame in zip(paths.values(), frames, strict=True):
            if not frame.select("phrase", "layer").equals(keys):
                raise IsoglossError(f"{path}: its rows are not those of {first}; capture both again")
        absent = np.stack([frame["pooled"].is_null().to_numpy() for frame in frames])
        kept = ~absent.any(axis=0)
        phrase, layer = keys["phrase"].cast(pl.Int64).to_numpy(), keys["layer"].cast(pl.Int64).to_numpy()
        yield ParallelRows(
            phrase[kept],
            layer[kept],
            np.stack([_vectors(frame.filter(kept), path) for path, frame in zip(paths.values(), frames, strict=True)]),
            layer[~kept],
            absent.sum(axis=1),
        )


def _equal_rows(path: str) -> Iterator[pl.DataFrame]:
    """A table in frames of exactly `ROWS` rows (the last may be shorter), whatever its row groups are."""
    held: pl.DataFrame | None = None
    for frame in iter_layers([path], None, ["phrase", "layer", "pooled"], batch_size=ROWS):
        held = frame if held is None else pl.concat([held, frame])
        while held.height >= ROWS:
            yield held[:ROWS]
            held = held[ROWS:]
    if held is not None and held.height:
        yield held


def _vectors(frame: pl.DataFrame, path: str) -> Float32[np.ndarray, "rows d_model"]:
    vectors = frame["pooled"].to_numpy()
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
    if len(broken):
        row = frame.row(int(broken[0]), named=True)
        raise IsoglossError(
            f"{path}: the residual of phrase {row['phrase']} at layer {row['layer']} is zero or not finite;"
            " check the model and compute.dtype"
        )
    return vectors


def unit_vectors(vectors: Float32[np.ndarray, "*rows d_model"]) -> Float[np.ndarray, "*rows d_model"]:
    """The vectors scaled to length one."""
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide


def centred_units(
    vectors: Float32[np.ndarray, "*rows d_model"], mean: Float[np.ndarray, "*#rows d_model"]
) -> Float[np.ndarray, "*rows d_model"]:
    """The vectors less `mean`, scaled to length one; NaN where no more is left than float32 rounds away."""
    centred = vectors - mean
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    rounding = np.finfo(np.float32).eps * np.linalg.norm(mean, axis=-1, keepdims=True)
    centred /= np.where(length > rounding, length, np.nan)
    return centred
