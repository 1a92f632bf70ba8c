"""What the language model was trained on."""

import polars as pl


def realised_shares(training: pl.DataFrame) -> dict[str, float]:
    """Share of the training tokens that each language had at the end, from the columns `share_{lang}`."""
    last = training.sort("step").row(-1, named=True)
    return {column.removeprefix("share_"): last[column] for column in training.columns if column.startswith("share_")}
