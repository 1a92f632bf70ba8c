"""How alike the mean-pooled residuals of a phrase and its translation are, and how well they find one another."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.residuals.means import LanguageMeans
from isogloss.residuals.parallel import centred_units, parallel_rows, unit_vectors
from isogloss.residuals.retrieval import TextPool, chance, reciprocal_ranks, text_keys
from isogloss.spill import LayerFiles
from isogloss.stats import hierarchical_bootstrap, hierarchical_mean, or_none, percentile_interval
from isogloss.tables import write_table
from isogloss.tables.disparity import SIMILARITY, SIMILARITY_PAIRS
from isogloss.tables.layers import iter_layers

_COSINES, _SHUFFLED = ("cosine", "centred"), ("cosine_shuffled", "centred_shuffled")
_RETRIEVALS = ("retrieval", "retrieval_reverse")
_COLUMNS = {
    "layer": pl.Int32,
    "lang": pl.String,
    **{f"{name}{end}": pl.Float64 for name in (*_COSINES, *_SHUFFLED) for end in ("", "_ci_low", "_ci_high")},
    "n": pl.Int32,
    "n_shuffled": pl.Int32,
    **{f"{name}{end}": pl.Float64 for name in _RETRIEVALS for end in ("", "_ci_low", "_ci_high")},
    "retrieval_chance": pl.Float64,
    "retrieval_n": pl.Int32,
}


def measure_similarity(
    *,
    residuals: Sequence[str],
    langs: Sequence[str],
    phrases: Sequence[str],
    similarity: str,
    similarity_pairs: str,
    reference: str,
    candidates: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the cosines with the reference and of all pairs (paper A, sec. 2.2, eq. A1; Fig. 1; app. C.1).

    `residuals` are the tables of mean-pooled residuals, one for each of `langs`, rows in one
    order; the tables list languages and pairs in the order of `langs`.
    `cosine` is the mean over phrases of cos(h_reference, h_lang), layer by layer; `centred` that of
    cos(h_reference - mean h_reference, h_lang - mean h_lang), a language's mean being over the phrases
    used, which takes out what all of its residuals share. `cosine_shuffled` and `centred_shuffled`
    pair each text with the reference's residual of *another* phrase (a seeded derangement within
    1024 rows of the file; `n_shuffled` counts the pairs): what a cosine is worth at that layer.

    `retrieval` is the mean reciprocal rank, by centred cosine, of the reference's text among those of the
    pool when its translation asks; in `retrieval_reverse` the reference's text asks and translations are ranked
    (ties: `retrieval.reciprocal_ranks`). The pool are `retrieval_n` distinct texts of phrases, at most
    `candidates`, drawn by text and `seed`, the same in all languages and layers; `retrieval_chance` is the
    value of a random order of it.

    Intervals bootstrap the features that the phrases were chosen for (`phrases`, the tables of all layers),
    then phrases; languages share the resamples. Of retrieval those that ask are resampled (a text by its
    first phrase), and what they are ranked among stays.

    A phrase that a language has no residual for (null: no usable translation) is left out in all, of the
    pairs too; `n` counts those that are used, the metadata those that are left out, by layer
    (`n_untranslated`). Where a residual is its language's mean, as that of a single phrase, what is
    centred is null there; the metadata count such residuals by layer and language (`n_at_mean`).
    The tables are read twice. Cosines and the pool's vectors wait on disk beside `similarity`; memory holds
    one layer's: 32 bytes a phrase and language, a few times over, and 4 bytes a dimension, candidate and language.

    Raises `IsoglossError` if the tables' rows differ, a residual is zero or not finite, a phrase is
    unknown, or no phrase of a layer is left.
    """
    paths = dict(zip(langs, residuals, strict=True))
    names = list(paths)
    if reference not in paths:
        raise IsoglossError(f"no residuals of the reference {reference}; capture it before the similarity")
    origin = names.index(reference)
    means = LanguageMeans.of(paths)
    known = _KnownPhrases.of(phrases, means.phrases, seed)
    pool = TextPool.sample(known.phrases, known.keys, candidates)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        cosines, vectors, couples = _compare(paths, origin, means.of_layer, pool, seed, stack, Path(similarity).parent)
        for layer in cosines.layers:
            resampling = (statistics.bootstrap, statistics.confidence, (seed, layer))
            found = cosines.read(layer)
            estimates = [
                _cosine_estimates(found, known, origin, *resampling),
                _retrieval_estimates(vectors.read(layer), means.of_layer[layer], known, origin, *resampling),
            ]
            for lang, cosine, retrieval in zip(names, *estimates, strict=True):
                rows.append({"layer": layer, "lang": lang, "n": len(found)} | cosine | retrieval)
    frame = pl.DataFrame(rows, schema=_COLUMNS).rename({"cosine_ci_low": "ci_low", "cosine_ci_high": "ci_high"})
    notes = {
        **metadata,
        "n_untranslated": {layer: means.left_out[layer] for layer in sorted(means.of_layer)},
        "n_at_mean": couples.at_mean(names),
    }
    write_table(similarity, frame, notes, SIMILARITY)
    write_table(similarity_pairs, couples.table(names, means.n_used), notes, SIMILARITY_PAIRS)


class _KnownPhrases(NamedTuple):
    """The phrases used, with the cluster of each (the feature, of its own layer, that it was chosen for) and text."""

    phrases: Int[np.ndarray, " phrases"]  # ascending
    clusters: Int[np.ndarray, " phrases"]
    keys: Int[np.ndarray, " phrases"]  # the texts', as `text_keys`

    @classmethod
    def of(cls, paths: Sequence[str], used: Int[np.ndarray, " phrases"], seed: int) -> "_KnownPhrases":
        """From the tables of phrases; others than those `used` are passed over as the tables are read."""
        clusters, keys = np.full(len(used), -1), np.zeros(len(used), dtype=np.int64)
        for rows in iter_layers(paths, None, ["phrase", "layer", "feature", "text"]):
            phrase, layer, feature = (rows[name].cast(pl.Int64).to_numpy() for name in ("phrase", "layer", "feature"))
            row = np.searchsorted(used, phrase)
            known = np.searchsorted(used, phrase, side="right") > row
            clusters[row[known]] = (layer << 32 | feature)[known]  # layer before feature, as one number
            keys[row[known]] = text_keys(rows["text"].filter(pl.Series(known)), seed)
        if len(unknown := used[clusters < 0]):
            raise IsoglossError(
                f"phrase {unknown[0]} has residuals but does not stand in {', '.join(paths)}; delete the residuals and"
                " run snakemake again"
            )
        return cls(used, clusters, keys)

    def in_order(self, rows: np.ndarray) -> tuple[np.ndarray, Int[np.ndarray, " rows"]]:
        """Rows that each have a `phrase`, by cluster and phrase, and the cluster of each."""
        cluster = self.clusters[np.searchsorted(self.phrases, rows["phrase"])]
        order = np.lexsort((rows["phrase"], cluster))
        return rows[order], cluster[order]


class _Couples:
    """Sums over phrases of all pairs' cosines, by layer, and residuals that are their language's mean."""

    def __init__(self, langs: int) -> None:
        self._couples = list(combinations(range(langs), 2))
        self._sums: dict[tuple[int, str], Float[np.ndarray, " couples"]] = {}
        self._at_mean: dict[int, Int[np.ndarray, " langs"]] = {}

    def add(self, name: str, layer: int, units: Float[np.ndarray, "langs rows d_model"]) -> None:
        """Add the cosines (`name`: as the column) of rows of a layer."""
        sums = np.array([_cosines(units[a], units[b]).sum() for a, b in self._couples])
        self._sums[layer, name] = self._sums.get((layer, name), 0) + sums
        self._at_mean[layer] = self._at_mean.get(layer, 0) + np.isnan(units[:, :, 0]).sum(axis=1)

    def table(self, names: Sequence[str], count: Mapping[int, int]) -> pl.DataFrame:
        """The mean cosines by layer and pair."""
        rows = [
            {"layer": layer, "lang_a": names[a], "lang_b": names[b], "n": count[layer]}
            | {name: or_none(self._sums[layer, name][at] / count[layer]) for name in _COSINES}
            for layer in sorted(self._at_mean)
            for at, (a, b) in enumerate(self._couples)
        ]
        return pl.DataFrame(rows, schema_overrides=dict.fromkeys(_COSINES, pl.Float64))

    def at_mean(self, names: Sequence[str]) -> dict[int, dict[str, int]]:
        """How many residuals nothing is left of once centred, by layer and language, where there are any."""
        return {
            layer: {name: int(n) for name, n in zip(names, counts, strict=True) if n}
            for layer, counts in sorted(self._at_mean.items())
            if counts.any()
        }


def _compare(
    paths: Mapping[str, str],
    origin: int,
    means: Mapping[int, Float[np.ndarray, "langs d_model"]],
    pool: TextPool,
    seed: int,
    stack: ExitStack,
    folder: Path,
) -> tuple[LayerFiles, LayerFiles, _Couples]:
    """A second reading: the cosines of each layer and the residuals of the pool's phrases, on disk; those of pairs."""
    langs, d_model = next(iter(means.values())).shape
    fields = [(name, np.float64, (langs,)) for name in (*_COSINES, *_SHUFFLED)]
    cosines = LayerFiles(row := np.dtype([("phrase", np.int64), *fields]), stack=stack, folder=folder)
    pooled = np.dtype([("phrase", np.int64), ("vectors", np.float32, (langs, d_model))])
    vectors, couples = LayerFiles(pooled, stack=stack, folder=folder), _Couples(langs)
    for index, rows in enumerate(parallel_rows(paths)):
        other = _derangement(rows.layers, (seed, index))
        for layer in np.unique(rows.layers).tolist():
            here = np.flatnonzero(rows.layers == layer)
            paired = np.searchsorted(here, other[here])
            found = np.empty(len(here), row)
            found["phrase"] = rows.phrases[here]
            residuals = rows.vectors[:, here]
            both = unit_vectors(residuals), centred_units(residuals, means[layer][:, None])
            for name, shuffled, units in zip(_COSINES, _SHUFFLED, both, strict=True):
                home = units[origin]
                found[name] = np.stack([_cosines(home, one) for one in units], axis=1)
                found[shuffled] = np.stack([_cosines(home[paired], one) for one in units], axis=1)
                found[shuffled][paired == np.arange(len(here))] = np.nan  # alone of its layer here
                couples.add(name, layer, units)
            cosines.append(layer, found)
            kept = np.isin(rows.phrases[here], pool.phrases)
            sampled = np.empty(int(kept.sum()), pooled)
            sampled["phrase"], sampled["vectors"] = rows.phrases[here][kept], residuals[:, kept].swapaxes(0, 1)
            vectors.append(layer, sampled)
    return cosines, vectors, couples


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


def _cosine_estimates(
    found: np.ndarray, known: _KnownPhrases, origin: int, bootstrap: int, confidence: float, seed: tuple[int, int]
) -> list[dict[str, Any]]:
    """Means and intervals of each language's cosines at a layer."""
    found, cluster = known.in_order(found)
    apart = ~np.isnan(found["cosine_shuffled"][:, origin])
    shuffled = found[apart]
    pairs = _means({name: found[name] for name in _COSINES}, cluster, bootstrap, confidence, seed)
    baselines = _means({name: shuffled[name] for name in _SHUFFLED}, cluster[apart], bootstrap, confidence, seed)
    return [{"n_shuffled": len(shuffled)} | pair | baseline for pair, baseline in zip(pairs, baselines, strict=True)]


def _retrieval_estimates(
    found: np.ndarray,
    mean: Float[np.ndarray, "langs d_model"],
    known: _KnownPhrases,
    origin: int,
    *resampling: Any,
) -> list[dict[str, Any]]:
    """Mean reciprocal ranks and intervals of each language at a layer, from the residuals of the pool's phrases."""
    found, cluster = known.in_order(found)
    home = centred_units(found["vectors"][:, origin], mean[origin][None])
    ranks = np.empty((2, len(found), len(mean)))
    for lang in range(len(mean)):
        units = centred_units(found["vectors"][:, lang], mean[lang][None])
        ranks[:, :, lang] = reciprocal_ranks(units, home), reciprocal_ranks(home, units)
    pool = {"retrieval_n": len(found), "retrieval_chance": chance(len(found))}
    return [pool | one for one in _means(dict(zip(_RETRIEVALS, ranks, strict=True)), cluster, *resampling)]


def _means(
    columns: Mapping[str, Float[np.ndarray, "rows langs"]],
    clusters: Int[np.ndarray, " rows"],
    bootstrap: int,
    confidence: float,
    seed: Sequence[int],
) -> list[dict[str, float | None]]:
    """Mean over rows of each language's values, with its interval, by column; none for no rows or one not defined."""
    langs = next(iter(columns.values())).shape[1]
    if not len(clusters):
        return [{} for _ in range(langs)]
    values = np.concatenate(list(columns.values()), axis=1).T
    means = hierarchical_mean(values, clusters, equal="values")
    replicates = hierarchical_bootstrap(values, clusters, replicates=bootstrap, seed=seed, equal="values")
    rows: list[dict[str, float | None]] = [{} for _ in range(langs)]
    for number, column in enumerate(name for name in columns for _ in range(langs)):
        low, high = percentile_interval(replicates[:, number], confidence)
        estimate = {column: or_none(means[number]), f"{column}_ci_low": low, f"{column}_ci_high": high}
        rows[number % langs] |= estimate
    return rows
