"""How alike the mean-pooled residuals of a phrase and its translation are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from tqdm import tqdm

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.spill import SpillFile
from isogloss.stats import hierarchical_bootstrap, hierarchical_mean, percentile_interval
from isogloss.tables import open_table, write_table
from isogloss.tables.contract import SIMILARITY, SIMILARITY_PAIRS
from isogloss.tables.layers import iter_layers

# Rows (a phrase at a layer) of every language held at a time: ten languages of width 2304 take 190 MB.
_ROWS = 1024
_FLOATS = [f"{name}{end}" for name in ("cosine", "cosine_shuffled") for end in ("", "_ci_low", "_ci_high")]


class _Chunk(NamedTuple):
    """The same rows of all languages, without those that a language has no residual for."""

    phrases: Int[np.ndarray, " rows"]
    layers: Int[np.ndarray, " rows"]
    units: Float[np.ndarray, "langs rows d_model"]  # residuals scaled to length one
    layers_left_out: Int[np.ndarray, " left_out"]  # of the rows left out
    absent: Int[np.ndarray, " langs"]  # rows that each language has no residual for


class _CosineFiles:
    """The cosines of each layer, on disk."""

    def __init__(self, stack: ExitStack, folder: Path, langs: int) -> None:
        self._row = np.dtype(
            [("phrase", np.int64), ("cosine", np.float64, (langs,)), ("cosine_shuffled", np.float64, (langs,))]
        )
        self._new_file = partial(SpillFile, self._row, stack=stack, folder=folder)
        self._files: dict[int, SpillFile] = {}

    @property
    def layers(self) -> list[int]:
        """The layers that rows were added to, ascending."""
        return sorted(self._files)

    def add(self, chunk: _Chunk, cosine: np.ndarray, cosine_shuffled: np.ndarray) -> None:
        """Append a chunk's rows to their layers."""
        rows = np.empty(len(chunk.phrases), self._row)
        rows["phrase"], rows["cosine"], rows["cosine_shuffled"] = chunk.phrases, cosine, cosine_shuffled
        for layer in np.unique(chunk.layers).tolist():
            if layer not in self._files:
                self._files[layer] = self._new_file()
            self._files[layer].append(rows[chunk.layers == layer])

    def of(self, layer: int) -> np.ndarray:
        """A layer's rows: phrase, cosine and cosine_shuffled of every language."""
        return self._files[layer].read()


def measure_similarity(
    *,
    residuals: Sequence[str],
    langs: Sequence[str],
    phrases: Sequence[str],
    similarity: str,
    similarity_pairs: str,
    reference: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the cosines with the reference and of all pairs (paper A, sec. 2.2, eq. A1; Fig. 1; app. C.1).

    `residuals` are the tables of mean-pooled residuals, one for each of `langs`, rows in one
    order; the tables list languages and pairs in the order of `langs`.
    `cosine` is the mean over phrases of cos(h_reference, h_lang), layer by layer. `cosine_shuffled`
    pairs each text with the reference's residual of *another* phrase (a seeded derangement within
    1024 rows of the file; `n_shuffled` counts the pairs): what a cosine is worth at that layer,
    where all residuals may point the same way. Intervals bootstrap the features that the phrases
    were chosen for (`phrases`, the tables of all layers), then phrases; languages share the resamples.

    A phrase that a language has no residual for (null: no usable translation) is left out in all, of the
    pairs too; `n` counts those that are used, the metadata those that are left out, by layer
    (`n_untranslated`). Vectors are streamed. Cosines wait on disk beside `similarity`; memory holds one
    layer's (16 bytes a phrase and language, a few times over).

    Raises `IsoglossError` if the tables' rows differ, a residual is zero or not finite, a phrase is
    unknown, or no phrase of a layer is left.
    """
    paths = dict(zip(langs, residuals, strict=True))
    names, bootstrap, confidence = list(paths), statistics.bootstrap, statistics.confidence
    if reference not in paths:
        raise IsoglossError(f"no residuals of the reference {reference}; capture it before the similarity")
    origin = names.index(reference)
    couples = list(combinations(range(len(names)), 2))
    sums: dict[int, Float[np.ndarray, " couples"]] = {}
    left_out: Counter[int] = Counter()
    absent = np.zeros(len(names), dtype=np.int64)
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        files = _CosineFiles(stack, Path(similarity).parent, len(names))
        for index, chunk in enumerate(_chunks(paths, names)):
            other = _derangement(chunk.layers, (seed, index))
            home = chunk.units[origin]
            shuffled = np.stack([_cosines(home[other], units) for units in chunk.units], axis=1)
            shuffled[other == np.arange(len(other))] = np.nan  # alone of its layer here
            files.add(chunk, np.stack([_cosines(home, units) for units in chunk.units], axis=1), shuffled)
            between = np.array([_cosines(chunk.units[a], chunk.units[b]) for a, b in couples])
            for layer in np.unique(chunk.layers).tolist():
                total = between[:, chunk.layers == layer].sum(axis=1) if couples else np.zeros(0)
                sums[layer] = sums.get(layer, np.zeros(len(couples))) + total
            left_out.update(chunk.layers_left_out.tolist())
            absent += chunk.absent
        for layer in left_out:
            if layer not in sums:
                worst = names[int(absent.argmax())]
                raise IsoglossError(
                    f"layer {layer}: no phrase has a translation in every language compared; {worst} lacks the most"
                    f" ({paths[worst]}); mend its translation, lower translation.minimum_chrf or leave it out"
                )

        clusters = _Clusters.of(phrases, files)
        for layer in files.layers:
            cosines = files.of(layer)
            n, resampling = len(cosines), (bootstrap, confidence, (seed, layer))
            for lang, row in zip(names, _rows(cosines, clusters, origin, *resampling), strict=True):
                rows.append({"layer": layer, "lang": lang, "n": n} | row)
            for (a, b), total in zip(couples, sums[layer], strict=True):
                pairs.append({"layer": layer, "lang_a": names[a], "lang_b": names[b], "cosine": total / n, "n": n})
    schema = {
        "layer": pl.Int32,
        "lang": pl.String,
        **dict.fromkeys(_FLOATS, pl.Float64),
        "n": pl.Int32,
        "n_shuffled": pl.Int32,
    }
    frame = pl.DataFrame(rows, schema=schema).rename({"cosine_ci_low": "ci_low", "cosine_ci_high": "ci_high"})
    notes = {**metadata, "n_untranslated": {layer: left_out[layer] for layer in sorted(sums)}}
    write_table(similarity, frame, notes, SIMILARITY)
    write_table(similarity_pairs, pl.DataFrame(pairs), notes, SIMILARITY_PAIRS)


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
        absent = np.stack([frame["pooled"].is_null().to_numpy() for frame in frames])
        kept = ~absent.any(axis=0)
        phrase, layer = keys["phrase"].cast(pl.Int64).to_numpy(), keys["layer"].cast(pl.Int64).to_numpy()
        yield _Chunk(
            phrase[kept],
            layer[kept],
            np.stack([_units(frame.filter(kept), paths[name]) for name, frame in zip(names, frames, strict=True)]),
            layer[~kept],
            absent.sum(axis=1),
        )


def _equal_rows(path: str) -> Iterator[pl.DataFrame]:
    """A table in frames of exactly `_ROWS` rows (the last may be shorter), whatever its row groups are."""
    held: pl.DataFrame | None = None
    for frame in iter_layers([path], None, ["phrase", "layer", "pooled"], batch_size=_ROWS):
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


class _Clusters(NamedTuple):
    """The cluster of each phrase: the feature, of its own layer, that it was chosen for."""

    phrases: Int[np.ndarray, " phrases"]  # ascending
    numbers: Int[np.ndarray, " phrases"]

    @classmethod
    def of(cls, paths: Sequence[str], files: _CosineFiles) -> "_Clusters":
        """Those of the phrases that have cosines; the others are passed over as the tables are read."""
        sampled = np.empty(0, dtype=np.int64)
        for layer in files.layers:
            sampled = np.union1d(sampled, files.of(layer)["phrase"])
        numbers = np.full(len(sampled), -1)
        for rows in iter_layers(paths, None, ["phrase", "layer", "feature"]):
            phrase, layer, feature = (rows[name].cast(pl.Int64).to_numpy() for name in rows.columns)
            row = np.searchsorted(sampled, phrase)
            known = np.searchsorted(sampled, phrase, side="right") > row
            numbers[row[known]] = (layer << 32 | feature)[known]  # layer before feature, as one number
        if len(unknown := sampled[numbers < 0]):
            raise IsoglossError(
                f"phrase {unknown[0]} has residuals but does not stand in {', '.join(paths)}; delete the residuals and"
                " run snakemake again"
            )
        return cls(sampled, numbers)

    def find(self, phrases: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """The cluster of each of `phrases`."""
        return self.numbers[np.searchsorted(self.phrases, phrases)]


def _rows(
    cosines: np.ndarray, clusters: _Clusters, origin: int, bootstrap: int, confidence: float, seed: tuple[int, int]
) -> list[dict[str, Any]]:
    """Means and intervals of each language at a layer, from its cosines and which language is the reference."""
    cluster = clusters.find(cosines["phrase"])
    order = np.lexsort((cosines["phrase"], cluster))
    cosines, cluster = cosines[order], cluster[order]
    apart = ~np.isnan(cosines["cosine_shuffled"][:, origin])
    shuffled = cosines["cosine_shuffled"][apart]
    means = _means(cosines["cosine"], "cosine", cluster, bootstrap, confidence, seed)
    baselines = _means(shuffled, "cosine_shuffled", cluster[apart], bootstrap, confidence, seed) or [{}] * len(means)
    return [{"n_shuffled": len(shuffled)} | mean | baseline for mean, baseline in zip(means, baselines, strict=True)]


def _means(
    cosines: Float[np.ndarray, "phrases langs"],
    column: str,
    clusters: Int[np.ndarray, " phrases"],
    bootstrap: int,
    confidence: float,
    seed: Sequence[int],
) -> list[dict[str, float | None]]:
    """Mean over phrases of each language's cosines, called `column`, with its interval; empty for no phrases."""
    if not len(cosines):
        return []
    values = np.ascontiguousarray(cosines).T
    means = hierarchical_mean(values, clusters, equal="values")
    replicates = hierarchical_bootstrap(values, clusters, replicates=bootstrap, seed=seed, equal="values")
    intervals = [percentile_interval(replicate, confidence) for replicate in replicates.T]
    return [
        {column: float(mean), f"{column}_ci_low": interval.low, f"{column}_ci_high": interval.high}
        for mean, interval in zip(means, intervals, strict=True)
    ]
