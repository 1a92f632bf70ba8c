"""On how many questions a measure of transfer rests."""

import polars as pl

FEW = 30
"""Questions below which figures say that they are few: one question more or less moves a share by 3 points."""


def with_counts(transfer: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """`transfer` with the column rests_on: how many of a pair's questions were answered rightly in its first language.

    Those are what positive transfer is a share of. Null where the language's accuracy is not defined.
    """
    accuracy = answers.select("task", pl.col("lang").alias("lang_a"), right="accuracy")
    counted = transfer.join(accuracy, on=["task", "lang_a"], how="left", maintain_order="left")
    return counted.with_columns(rests_on=(pl.col("right") * pl.col("n")).round().cast(pl.Int64)).drop("right")
