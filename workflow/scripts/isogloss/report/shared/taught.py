"""The toy world's latent measures by where a fact was taught: what they are called, and of how many questions."""

import polars as pl

MEASURES = {
    "accuracy": ("accuracy (%)", 100),
    "consistency": ("consistency with\nthe reference (ρ)", 1),
    "positive_transfer": ("transfer from\nthe reference (%)", 100),
    "log_ratio": ("log ratio, native to\nreference (nats a token)", 1),
    "steered_accuracy_change": ("change of accuracy\nwhen steered (points)", 100),
}
TAUGHT = {
    "all": "taught in every\nlanguage",
    "reference": "in the reference\nonly",
    "none": "in no language",
}


def questions(rows: pl.DataFrame, column: str, reference: str) -> dict[str, int]:
    """Of how many questions in each language a measure is, by where their fact was taught.

    Of those answered rightly in the reference where it is transfer from it; nothing where that is not known.
    """
    asked = "n_steered" if column.startswith("steered") and "n_steered" in rows.columns else "n"
    counts: dict[str, int] = {}
    for taught, n in rows.group_by("taught", maintain_order=True).agg(pl.col(asked).max()).iter_rows():
        if column == "positive_transfer":
            right = rows.filter(taught=taught, lang=reference)["accuracy"].drop_nulls()
            n = None if right.is_empty() or n is None else round(float(right[0]) * n)
        if n is not None:
            counts[taught] = n
    return counts
