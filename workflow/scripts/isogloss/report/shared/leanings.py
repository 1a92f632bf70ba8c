"""Which answers the lens prefers in a language (paper B, sec. 2.2)."""

import polars as pl


def leanings(latent: pl.DataFrame) -> pl.DataFrame:
    """By layer: in how many of n languages the log ratio's interval lies below zero, includes it, or lies above it.

    Columns layer, reference, neither, native and n; of the languages whose log ratio is defined. A language without an
    interval leans to neither.
    """
    rows = latent.drop_nulls("log_ratio")
    below, above = (pl.col("log_ratio_high") < 0).fill_null(False), (pl.col("log_ratio_low") > 0).fill_null(False)
    counts = rows.group_by("layer").agg(reference=below.sum(), native=above.sum(), n=pl.len()).sort("layer")
    counts = counts.with_columns(pl.col("reference", "native", "n").cast(pl.Int64))
    return counts.with_columns(neither=pl.col("n") - pl.col("reference") - pl.col("native"))
