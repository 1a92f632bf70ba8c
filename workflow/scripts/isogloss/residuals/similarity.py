"""How alike the mean-pooled residuals of a phrase and its translation are."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.languages import in_order
from isogloss.stats import hierarchical_bootstrap, hierarchical_mean, percentile_interval
from isogloss.tables import iter_table, open_table, read_table, write_table

# Rows (a phrase at a layer) of every language held at a time: ten languages of width 2304 take 190 MB.
_ROWS = 1024
_FLOATS = [f"{name}{end}" for name in ("cosine", "cosine_shuffled") for end in ("", "_ci_low", "_ci_high")]


class _Chunk(NamedTuple):
    """The same rows of all languages."""

    phrases: Int[np.ndarray, " rows"]
    layers: Int[np.ndarray, " rows"]
    units: Float[np.ndarray, "langs rows d_model"]  # residuals scaled to length one


def measure_similarity(
    *,
    residuals: Sequence[str],
    langs: Sequence[str],
    phrases: str,
    similarity: str,
    similarity_pairs: str,
    reference: str,
    bootstrap: int,
    confidence: float,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the cosines with the reference and of all pairs (paper A, sec. 2.2, eq. A1; Fig. 1; app. C.1).

    `residuals` are the tables of mean-pooled residuals, one for each of `langs`, rows in one order.
    `cosine` is the mean over phrases of cos(h_reference, h_lang), layer by layer. `cosine_shuffled`
    pairs each text with the reference's residual of *another* phrase (a seeded derangement within
    1024 rows of the file; `n_shuffled` counts the pairs): what a cosine is worth at that layer,
    where all residuals may point the same way. Intervals bootstrap the features that the phrases
    were chosen for (`phrases`), then phrases; languages share the resamples. Vectors are streamed,
    only cosines are kept.

    Raises `IsoglossError` if the tables' rows differ, a residual is zero or not finite, or a phrase
    is unknown.
    """
    paths = dict(zip(langs, residuals, strict=True))
    names = in_order(list(paths))
    if reference not in paths:
        raise IsoglossError(f"no residuals of the reference {reference}; capture it before the similarity")
    origin = names.index(reference)
    couples = list(combinations(range(len(names)), 2))
    sums: dict[int, Float[np.ndarray, " couples"]] = {}
    cells: list[pl.DataFrame] = []
    for index, chunk in enumerate(_chunks(paths, names)):
        other = _derangement(chunk.layers, (seed, index))
        home = chunk.units[origin]
        cells.append(
            pl.DataFrame(
                {
                    "phrase": chunk.phrases,
                    "layer": chunk.layers,
                    "has_other": other != np.arange(len(other)),
                    "cosine": np.stack([_cosines(home, units) for units in chunk.units], axis=1),
                    "cosine_shuffled": np.stack([_cosines(home[other], units) for units in chunk.units], axis=1),
                }
            )
        )
        between = np.array([_cosines(chunk.units[a], chunk.units[b]) for a, b in couples])
        for layer in np.unique(chunk.layers).tolist():
            sums[layer] = sums.get(layer, np.zeros(len(couples))) + between[:, chunk.layers == layer].sum(axis=1)

    table = pl.concat(cells).join(_clusters(phrases), on="phrase", how="left").sort("layer", "cluster", "phrase")
    unknown = table.filter(pl.col("cluster").is_null())
    if unknown.height:
        raise IsoglossError(
            f"phrase {unknown['phrase'][0]} has residuals but does not stand in {phrases}; delete the residuals and"
            " run snakemake again"
        )
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for layer in sorted(sums):
        its = table.filter(pl.col("layer") == layer)
        apart = its.filter("has_other")
        means = _means(its, "cosine", bootstrap, confidence, (seed, layer))
        baselines = _means(apart, "cosine_shuffled", bootstrap, confidence, (seed, layer))
        for row, lang in enumerate(names):
            key = {"layer": layer, "lang": lang, "n": its.height, "n_shuffled": apart.height}
            rows.append(key | means[row] | (baselines[row] if baselines else {}))
        for (a, b), total in zip(couples, sums[layer], strict=True):
            pairs.append(
                {"layer": layer, "lang_a": names[a], "lang_b": names[b], "cosine": total / its.height, "n": its.height}
            )
    schema = {
        "layer": pl.Int32,
        "lang": pl.String,
        **dict.fromkeys(_FLOATS, pl.Float64),
        "n": pl.Int32,
        "n_shuffled": pl.Int32,
    }
    frame = pl.DataFrame(rows, schema=schema).rename({"cosine_ci_low": "ci_low", "cosine_ci_high": "ci_high"})
    write_table(similarity, frame, metadata)
    write_table(similarity_pairs, pl.DataFrame(pairs), metadata)


def _chunks(paths: Mapping[str, str], names: Sequence[str]) -> Iterator[_Chunk]:
    """The residuals of all languages, `_ROWS` rows at a time, scaled to unit length."""
    heights = {name: open_table(paths[name]).metadata.num_rows for name in names}
    if len(set(heights.values())) > 1:
        counts = ", ".join(f"{name} {height}" for name, height in heights.items())
        raise IsoglossError(f"the languages' residual tables differ in length ({counts}); capture them again")
    chunks = zip(*(_equal_rows(paths[name]) for name in names), strict=True)
    for frames in tqdm(chunks, total=-(-heights[names[0]] // _ROWS), desc="similarity", unit="chunk"):
        keys = frames[0].select("phrase", "layer")
        for name, frame in zip(names, frames, strict=True):
            if not frame.select("phrase", "layer").equals(keys):
                raise IsoglossError(f"{paths[name]}: its rows are not those of {paths[names[0]]}; capture both again")
        units = np.stack([_units(frame, paths[name]) for name, frame in zip(names, frames, strict=True)])
        yield _Chunk(keys["phrase"].cast(pl.Int64).to_numpy(), keys["layer"].cast(pl.Int64).to_numpy(), units)


def _equal_rows(path: str) -> Iterator[pl.DataFrame]:
    """A table in frames of exactly `_ROWS` rows (the last may be shorter), whatever its row groups are."""
    held: pl.DataFrame | None = None
    for frame in iter_table(path, ["phrase", "layer", "pooled"], batch_size=_ROWS):
        held = frame if held is None else pl.concat([held, frame])
        while held.height >= _ROWS:
            yield held[:_ROWS]
            held = held[_ROWS:]
    if held is not None and held.height:
        yield held


def _units(frame: pl.DataFrame, path: str) -> Float[np.ndarray, "rows d_model"]:
    vectors = frame["pooled"].to_numpy().astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    broken = np.flatnonzero(~np.isfinite(length) | (length == 0))
    if len(broken):
        row = frame.row(int(broken[0]), named=True)
        raise IsoglossError(
            f"{path}: the residual of phrase {row['phrase']} at layer {row['layer']} is zero or not finite;"
            " check the model and compute.dtype"
        )
    return vectors / length


def _cosines(a: Float[np.ndarray, "rows d_model"], b: Float[np.ndarray, "rows d_model"]) -> Float[np.ndarray, " rows"]:
    return np.einsum("rd,rd->r", a, b)


def _derangement(layers: Int[np.ndarray, " rows"], seed: Sequence[int]) -> Int[np.ndarray, " rows"]:
    """For each row another row of the same layer, each taken once (a random cycle); itself where it is alone."""
    other = np.arange(len(layers))
    generator = np.random.default_rng(list(seed))
    for layer in np.unique(layers):
        cycle = generator.permutation(np.flatnonzero(layers == layer))
        other[cycle] = np.roll(cycle, -1)
    return other


def _clusters(phrases: str) -> pl.DataFrame:
    """The cluster of each phrase: the feature, of its own layer, that it was chosen for."""
    return read_table(phrases, ["phrase", "layer", "feature"]).select(
        "phrase", cluster=pl.struct("layer", "feature").rank("dense").cast(pl.Int64)
    )


def _means(
    table: pl.DataFrame, column: str, bootstrap: int, confidence: float, seed: Sequence[int]
) -> list[dict[str, float | None]]:
    """Mean over phrases of each language's `column`, with its interval; empty for no rows."""
    if table.is_empty():
        return []
    values, clusters = table[column].to_numpy().T, table["cluster"].to_numpy()
    means = hierarchical_mean(values, clusters, equal="values")
    replicates = hierarchical_bootstrap(values, clusters, replicates=bootstrap, seed=seed, equal="values")
    intervals = [percentile_interval(replicate, confidence) for replicate in replicates.T]
    return [
        {column: float(mean), f"{column}_ci_low": interval.low, f"{column}_ci_high": interval.high}
        for mean, interval in zip(means, intervals, strict=True)
    ]
