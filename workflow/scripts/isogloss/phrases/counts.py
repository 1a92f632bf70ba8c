"""What the layers' phrase tables were made of, and how well recorded activations were found again."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from isogloss.tables import read_table, write_table


def collect_counts(
    *,
    counts: Sequence[str],
    reproduced: Sequence[str],
    phrase_counts: str,
    reproduction: str,
    metadata: Mapping[str, Any],
) -> None:
    """Put the layers' one-row tables `counts` together, and a row a layer of the records in `reproduced`.

    `reproduction`: number of records; the share whose peak is at the recorded token; median and smallest
    correlation over a record's tokens; median of measured / recorded maximum.
    """
    write_table(phrase_counts, pl.concat([read_table(path) for path in counts]).sort("layer"), metadata)
    records = pl.concat([read_table(path) for path in reproduced])
    by_layer = records.group_by("layer").agg(
        records=pl.len().cast(pl.Int32),
        same_peak_pct=100 * pl.col("same_peak").mean(),
        median_correlation=pl.col("correlation").median(),
        lowest_correlation=pl.col("correlation").min(),
        median_scale=pl.col("scale").median(),
    )
    write_table(reproduction, by_layer.sort("layer"), metadata)
