"""What the similarity table says (paper A, sec. 2.2), and what the plain cosine is worth."""

import polars as pl

from isogloss.report.findings.sentences import of_language
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, number

ONE_WAY, HARDLY_HIGHER = 0.8, 0.05
"""Cosine of unrelated texts from which on residuals point one way, and a difference that ranks hardly anything."""


def similarity(tables: Tables, context: Context) -> list[str]:
    """Range of the cosines and of those of shuffled pairs, what they are worth, and retrieval beside chance."""
    rows = tables["similarity"].filter(pl.col("lang") != context.reference).sort("cosine")
    low, high = rows.row(0, named=True), rows.row(-1, named=True)
    shuffled = rows["cosine_shuffled"].drop_nulls()
    most = number(float(shuffled.max()), 2) if len(shuffled) else ""  # type: ignore[arg-type]
    beside = f" Texts that are no translations of each other reach {most} at most." if most else ""
    return [
        f"The mean cosine to {name(context.reference)} (1: the same direction) runs from {number(low['cosine'], 2)}"
        f" ({name(low['lang'])}, layer {low['layer']}) to {number(high['cosine'], 2)} ({name(high['lang'])}, layer"
        f" {high['layer']}).{beside}",
        *_one_way(rows),
        *_retrieval(rows, context),
    ]


def _one_way(rows: pl.DataFrame) -> list[str]:
    """In how many layers residuals of unrelated texts are about as alike as those of translations."""
    layers = rows.group_by("layer").agg(pl.col("cosine", "cosine_shuffled").mean())
    alike = layers.filter(
        pl.col("cosine_shuffled") > ONE_WAY, pl.col("cosine") - pl.col("cosine_shuffled") < HARDLY_HIGHER
    )
    if not len(alike):
        return []
    return [
        f"In {len(alike)} of {len(layers)} layers all residuals point one way: the cosine of unrelated texts lies"
        f" within {HARDLY_HIGHER} of that of translations, so there the plain cosine hardly ranks languages."
    ]


def _retrieval(rows: pl.DataFrame, context: Context) -> list[str]:
    """Retrieval of the best and the worst language in the layer where its mean is highest."""
    means = rows.group_by("layer").agg(pl.col("retrieval").mean()).drop_nulls().sort("retrieval", "layer")
    if not len(means):
        return ["Retrieval is not defined: once centred, nothing is left of some residuals in every layer."]
    best = rows.filter(layer=means["layer"][-1]).drop_nulls("retrieval").sort("retrieval")
    ends = [best.row(-1, named=True), best.row(0, named=True)][: len(best)]
    languages = " to ".join(of_language(row, "retrieval", "", interval="retrieval_ci") for row in ends)
    return [
        f"Retrieval (1 if a translation always picks out its {name(context.reference)} text among"
        f" {ends[0]['retrieval_n']}; mean reciprocal rank by centred cosine) is highest in layer"
        f" {ends[0]['layer']}: {languages}; chance is {number(ends[0]['retrieval_chance'], 3)}."
    ]
