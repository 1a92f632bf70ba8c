"""What the figures of embedding similarity show (paper A, sec. 2.2), each in a sentence."""

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, number
from isogloss.report.takeaways.brief import counted, of_how_many, ranged


def similarity(tables: Tables, context: Context) -> Takeaway:
    """In how many layers of languages translations are more alike than unrelated texts, and the ends."""
    rows = tables["similarity"].filter(pl.col("lang") != context.reference)
    means = rows.group_by("lang", maintain_order=True).agg(pl.col("cosine").mean()).drop_nulls().sort("cosine")
    if not means.height:
        return Takeaway("No language has a defined similarity to the reference.")
    closest = (
        f"closest to {name(context.reference)} is {name(means['lang'][-1])} (mean cosine"
        f" {number(means['cosine'][-1], 2)})"
    )
    if means.height > 1:
        closest += f", farthest {name(means['lang'][0])} ({number(means['cosine'][0], 2)})"
    pairs = rows.drop_nulls(["ci_low", "cosine_shuffled_ci_high"])
    n = of_how_many([counted(means.height, "language"), counted(rows["layer"].n_unique(), "layer"),
                     ranged(rows["n"], "text")])  # fmt: skip
    if not pairs.height:
        return Takeaway(f"{closest[0].upper()}{closest[1:]}.", n)
    apart = pairs.filter(pl.col("ci_low") > pl.col("cosine_shuffled_ci_high")).height
    of = f"all {pairs.height}" if apart == pairs.height else f"{apart} of {pairs.height}"
    return Takeaway(f"Translations are more alike than unrelated texts in {of} cases; {closest}.", n)


def retrieval(tables: Tables, context: Context) -> Takeaway:
    """The best layer, the languages at its ends and chance."""
    rows = tables["similarity"].filter(pl.col("lang") != context.reference).drop_nulls("retrieval")
    if not rows.height:
        return Takeaway("Retrieval is not defined: once centred, nothing is left of some texts in every layer.")
    means = rows.group_by("layer").agg(pl.col("retrieval").mean()).sort("retrieval", "layer")
    layer = means["layer"][-1]
    best = rows.filter(layer=layer).sort("retrieval")
    ends = [f"{name(row['lang'])} ({number(row['retrieval'], 2)})" for row in best.iter_rows(named=True)]
    between = f"for {ends[-1]}" if len(ends) == 1 else f"from {ends[0]} to {ends[-1]}"
    n = of_how_many([counted(rows["lang"].n_unique(), "language"), counted(rows["layer"].n_unique(), "layer"),
                     ranged(rows["retrieval_n"], "text")])  # fmt: skip
    return Takeaway(
        f"The right {name(context.reference)} text ranks highest in layer {layer}: {between}, 1 being always first;"
        f" chance is {number(best['retrieval_chance'][0], 2)}.",
        n,
    )


def similarity_pairs(tables: Tables, _: Context) -> Takeaway:
    """The pairs at the ends of the mean over layers."""
    frame = tables["similarity_pairs"].filter(pl.col("lang_a") != pl.col("lang_b"))
    pairs = frame.group_by("lang_a", "lang_b", maintain_order=True).agg(pl.col("cosine").mean())
    pairs = pairs.drop_nulls().sort("cosine")
    n = of_how_many([counted(pairs.height, "pair"), counted(frame["layer"].n_unique(), "layer"),
                     ranged(frame["n"], "text")])  # fmt: skip
    if not pairs.height:
        return Takeaway("No pair of languages has a defined similarity.", n)
    said = [
        f"{name(row['lang_a'])} and {name(row['lang_b'])} (mean cosine {number(row['cosine'], 2)})"
        for row in (pairs.row(-1, named=True), pairs.row(0, named=True))
    ]
    if len(pairs) == 1:
        return Takeaway(f"One pair of languages: {said[0]}.", n)
    return Takeaway(f"Most alike are {said[0]}, least alike {said[1].replace('mean cosine ', '')}.", n)
