"""Which language a feature answers to (paper C, sec. 3.3), and stage `selectivity`: shares and means by class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isogloss.config.measures import Statistics

MIXED, SILENT, ALL = "mixed", "silent", "all"

_MEANS = ("monosemanticity", "monosemanticity_other_reading", "span_length")


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


def aggregate(
    *,
    features: Sequence[str],
    examples: Sequence[str],
    quality: Sequence[str],
    features_table: str,
    selectivity: str,
    examples_table: str,
    sae_training: str,
    languages: Sequence[str],
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Join the tables of all steps and layers, and write shares and means of each class (paper C, Figs. 3, 5, 6).

    A class' `share` is that of the features that are not silent; its means are over its features.
    Class "all" is all that are not silent, "silent" has `n_features` alone. Intervals bootstrap
    features: of all for the shares, within the class for its means, which have none where it has a
    single feature. The tables are read and written a layer or a row group at a time.
    """
    import polars as pl

    from isogloss.tables import TableWriter, open_table, write_table
    from isogloss.tables.bilingual import SELECTIVITY
    from isogloss.tables.layers import iter_layers, layers_in

    rows: list[dict[str, Any]] = []
    with TableWriter(features_table, open_table(features[0]).schema_arrow.remove_metadata(), metadata) as writer:
        for path in features:
            for layer in layers_in(path):
                frame = pl.concat(list(iter_layers([path], [layer])))
                writer.write(frame)
                for (step,), of_step in sorted(frame.group_by("step")):
                    rows += _classes(
                        of_step, languages, statistics.bootstrap, statistics.confidence, (seed, int(step), layer)
                    )
    bounds = [f"{name}{end}" for name in ("share", *_MEANS) for end in ("", "_low", "_high")]
    schema = {
        "step": pl.Int64,
        "layer": pl.Int32,
        "class": pl.String,
        **dict.fromkeys(bounds, pl.Float64),
        "n_features": pl.Int32,
    }
    table = pl.DataFrame(rows, schema=schema).sort("step", "layer", maintain_order=True)
    write_table(selectivity, table, metadata, SELECTIVITY)
    for paths, output in ((examples, examples_table), (quality, sae_training)):
        with TableWriter(output, open_table(paths[0]).schema_arrow.remove_metadata(), metadata) as writer:
            for path in paths:
                for group in _row_groups(path):
                    writer.write(group)


def _row_groups(path: str) -> Iterator[Any]:
    from isogloss.tables import open_table

    table = open_table(path)
    for group in range(table.num_row_groups):
        yield table.read_row_group(group)


def _classes(
    frame: Any, languages: Sequence[str], bootstrap: int, confidence: float, seed: tuple[int, int, int]
) -> Iterator[dict[str, Any]]:
    """The rows of one step and layer."""
    from isogloss.stats import percentile_interval

    key = {"step": seed[1], "layer": seed[2]}
    silent = frame["class"] == SILENT
    active = frame.filter(~silent).sort("feature")
    classes = [*languages, MIXED]
    member = np.array([(active["class"] == name).to_numpy() for name in [*classes, ALL]])
    member[-1] = True
    values = active.select(_MEANS).to_numpy().astype(np.float64).T
    shares = _replicates(member.astype(np.float64), bootstrap, (*seed, 0))
    for number, name in enumerate([*classes, ALL]):
        of_class = values[:, member[number]]
        row: dict[str, Any] = {**key, "class": name, "n_features": of_class.shape[1]}
        if len(active):
            row["share"] = float(member[number].mean())
            row["share_low"], row["share_high"] = percentile_interval(shares[:, number], confidence)
        if of_class.shape[1]:
            means = _replicates(of_class, bootstrap if of_class.shape[1] > 1 else 0, (*seed, number + 1))
            for series, column in enumerate(_MEANS):
                row[column] = float(of_class[series].mean())
                low, high = percentile_interval(means[:, series], confidence)
                row[f"{column}_low"], row[f"{column}_high"] = low, high
        yield row
    yield {**key, "class": SILENT, "n_features": int(silent.sum())}


def _replicates(
    values: Float[np.ndarray, "series features"], replicates: int, seed: Sequence[int]
) -> Float[np.ndarray, "replicates series"]:
    """Bootstrap replicates, over features, of the mean of each series."""
    from isogloss.stats import hierarchical_bootstrap

    if not values.shape[1]:
        return np.empty((0, len(values)))
    each = np.arange(values.shape[1])
    return hierarchical_bootstrap(values, each, replicates=replicates, seed=seed, equal="values")
