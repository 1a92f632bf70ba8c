"""Stage `selectivity`: shares and means of the classes of features (paper C, secs. 4.1 and 4.2)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from isogloss.bilingual.class_controls import OF_SEVERAL, SHARES, Controls
from isogloss.bilingual.classes import ALL, FEW, MIXED, SILENT
from isogloss.config.measures import Statistics

MINIMA = (1, 2, 5, 10, 20, 50)
"""Counted activations that a feature must have to be in a row of the table `selectivity_by_minimum`."""

_MEANS = ("monosemanticity", "monosemanticity_other_reading", "span_length")
_NOTED = ("similarity_calibrated", "random_pairs_above_similarity")


def aggregate(
    *,
    features: Sequence[str],
    examples: Sequence[str],
    quality: Sequence[str],
    features_table: str,
    selectivity: str,
    selectivity_by_minimum: str,
    examples_table: str,
    sae_training: str,
    languages: Sequence[str],
    minimum_activations: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Join the tables of all steps and layers, and write shares and means of each class (paper C, Figs. 3, 5, 6).

    A class' `share` is that of the features that are not silent; its means are over its features.
    Class "all" is all that are not silent, "silent" has `n_features` alone. Intervals bootstrap
    features: of all for the shares, within the class for its means, which have none where it has a
    single feature. The tables are read and written a layer or a row group at a time.

    Beside these: `class_counted` of a feature is "few" below `minimum_activations`, and `share_counted` a class' share
    of the features that have as many; the second table has it for every minimum of `MINIMA`. `share_firings` is the
    share of a class by all firings, `agreement` the part of the class by counted activations that is of it by all
    firings, too: intervals of both are Wilson's. The concept metrics' null and excess are means over the
    `n_features_several` features of two tokens or more, as are `monosemanticity_several` and
    `monosemanticity_calibrated`; their intervals bootstrap these features, and not the permutations, whose mean they
    share. `similarity_calibrated` and `random_pairs_above_similarity` are those of the tables' metadata.
    """
    import polars as pl
    import pyarrow as pa

    from isogloss.tables import TableWriter, open_table, table_metadata, write_table
    from isogloss.tables.bilingual import SELECTIVITY, SELECTIVITY_BY_MINIMUM
    from isogloss.tables.layers import iter_layers, layers_in

    rows: list[dict[str, Any]] = []
    by_minimum: list[dict[str, Any]] = []
    schema_written = (
        open_table(features[0]).schema_arrow.remove_metadata().append(pa.field("class_counted", pa.string()))
    )
    with TableWriter(features_table, schema_written, metadata) as writer:
        for path in features:
            noted = {name: table_metadata(path).get("similarity", {}).get(name) for name in _NOTED}
            for layer in layers_in(path):
                frame = pl.concat(list(iter_layers([path], [layer])))
                few = (pl.col("class") != SILENT) & (pl.col("n_activations") < minimum_activations)
                writer.write(frame.with_columns(class_counted=pl.when(few).then(pl.lit(FEW)).otherwise("class")))
                for (step,), of_step in sorted(frame.group_by("step")):
                    key = (seed, int(step), layer)
                    classes = list(_classes(of_step, languages, statistics.bootstrap, statistics.confidence, key))
                    controls = Controls(of_step, languages, minimum_activations, statistics, key)
                    rows += [row | noted | controls.of_class(row["class"]) for row in classes]
                    by_minimum += [
                        {"step": int(step), "layer": layer, **row}
                        for least in MINIMA
                        for row in controls.by_minimum(least)
                    ]
    bounds, added = (
        [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
        for names in (("share", *_MEANS), (*OF_SEVERAL.values(), *SHARES))
    )
    counts = dict.fromkeys(("n_features_several", "n_features_counted"), pl.Int32)
    schema = {
        "step": pl.Int64,
        "layer": pl.Int32,
        "class": pl.String,
        **dict.fromkeys(bounds, pl.Float64),
        "n_features": pl.Int32,
        **dict.fromkeys((*added, *_NOTED), pl.Float64),
        **counts,
    }
    table = pl.DataFrame(rows, schema=schema).sort("step", "layer", maintain_order=True)
    write_table(selectivity, table, metadata, SELECTIVITY)
    minima = pl.DataFrame(by_minimum, infer_schema_length=None).sort("step", "layer", maintain_order=True)
    write_table(selectivity_by_minimum, minima, metadata, SELECTIVITY_BY_MINIMUM)
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
