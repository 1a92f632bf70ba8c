"""Means over languages with intervals, for figures and sentences alike."""

from collections.abc import Sequence

import polars as pl

from isogloss.stats import student_interval


def over_languages(frame: pl.DataFrame, column: str, confidence: float, by: Sequence[str] = ("layer",)) -> pl.DataFrame:
    """Mean of a column over the rows (one a language) of each group: columns `by`, mean, low, high and n.

    Student's interval over languages, as the paper's shaded areas; null for a single language. Undefined values are
    left out, and groups without any.
    """
    rows = (
        frame.drop_nulls(column)
        .group_by(*by, maintain_order=True)
        .agg(mean=pl.col(column).mean(), sd=pl.col(column).std(), n=pl.len())
        .sort(*by)
    )
    bounds = [student_interval(mean, sd, n, confidence) for mean, sd, n in rows.select("mean", "sd", "n").iter_rows()]
    intervals = pl.DataFrame(bounds, schema={"low": pl.Float64, "high": pl.Float64}, orient="row")
    return rows.drop("sd").hstack(intervals)
