"""What the figures of the activation gap show (paper A, sec. 2.5), each in a sentence."""

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, number
from isogloss.report.takeaways.brief import counted, of_how_many, ranged

CORRECTED, PUBLISHED = "without_reference", "with_reference"


def group_gap(tables: Tables, context: Context) -> Takeaway:
    """In how many layers the corrected gap is above zero, and what the reference adds to it."""
    frame, reference = tables["group_gap"], name(context.reference)
    corrected = frame.filter(variant=CORRECTED).drop_nulls("gap_pct")
    layers = frame["layer"].n_unique()
    n = of_how_many([counted(layers, "layer"), ranged(frame["n_features"], "feature"),
                     ranged(frame["n_phrases"], "phrase")])  # fmt: skip
    if not corrected.height:
        return Takeaway(f"Without {reference} no gap between the groups is defined.", n)
    signs = [sign_in(row) for row in corrected.iter_rows(named=True)]
    both = corrected.join(frame.filter(variant=PUBLISHED).drop_nulls("gap_pct"), on="layer", suffix="_published")
    shown = f"above zero in {signs.count(1) or 'none'}" if not signs.count(-1) else (
        f"above zero in {signs.count(1)} and below in {signs.count(-1)}"
    )  # fmt: skip
    more = ""
    if both.height:
        added = float((both["gap_pct_published"] - both["gap_pct"]).mean())  # type: ignore[arg-type]
        more = f"; with {reference} it is {number(abs(added))} points {'larger' if added >= 0 else 'smaller'}"
    mean = float(corrected["gap_pct"].mean())  # type: ignore[arg-type]
    return Takeaway(
        f"Without {reference} the groups' gap ({number(mean)} % on average) is {shown} of"
        f" {counted(layers, 'layer')}{more}.",
        n,
    )


def group_activation(tables: Tables, context: Context) -> Takeaway:
    """In how many layers the groups' intervals lie apart, the reference left out."""
    frame = tables["group_activation"].filter(variant=CORRECTED)
    low, high = (frame.filter(group=group) for group in ("medium_low_resource", "high_resource"))
    both = low.join(high, on="layer", suffix="_high").drop_nulls(["ci_low", "ci_high_high"])
    n = counted(frame["layer"].n_unique(), "layer")
    if not both.height:
        return Takeaway(f"Without {name(context.reference)} the groups cannot be compared.", n)
    less = both.filter(pl.col("mean_activation") < pl.col("mean_activation_high")).height
    apart = both.filter(pl.col("ci_high") < pl.col("ci_low_high")).height
    return Takeaway(
        f"Without {name(context.reference)}, medium-to-low-resource languages activate the features less in"
        f" {less or 'none'} of {counted(both.height, 'layer')}; the intervals lie apart in {apart or 'none'}.",
        n,
    )


def language_gap(tables: Tables, context: Context) -> Takeaway:
    """How many languages fall short of the reference, and the ends."""
    summary = tables["language_gap_summary"].filter(pl.col("lang") != context.reference)
    rows = summary.drop_nulls("mean_gap_pct").sort("mean_gap_pct")
    frame = tables["language_gap"]
    n = of_how_many([counted(rows.height, "language"), counted(frame["layer"].n_unique(), "layer"),
                     ranged(frame["n_features"], "feature")])  # fmt: skip
    if not rows.height:
        return Takeaway("No language has a gap.", n)
    above = [sign_in(row) for row in rows.iter_rows(named=True)].count(1)
    ends = [f"{number(row['mean_gap_pct'], 0)} % ({name(row['lang'])})" for row in rows.iter_rows(named=True)]
    between = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    many = f"{'both' if above == 2 else f'all {above}'} languages" if above == rows.height > 1 else (
        f"{above} of {counted(rows.height, 'language')}"
    )  # fmt: skip
    return Takeaway(
        f"Features answer less in {many} than in {name(context.reference)}: {between}. Part of it is how phrases are"
        " chosen.",
        n,
    )


def activation_controls(tables: Tables, context: Context) -> Takeaway:
    """The gap at equal token counts and of random features, and who takes most tokens."""
    rows = tables["activation_controls"].filter(pl.col("lang") != context.reference)
    means = rows.select(pl.col("gap_pct", "gap_equal_tokens_pct", "gap_random_pct").mean()).row(0, named=True)
    n = of_how_many([counted(rows["lang"].n_unique(), "language"), counted(rows["layer"].n_unique(), "layer"),
                     ranged(rows["n"], "phrase")])  # fmt: skip
    if means["gap_pct"] is None:
        return Takeaway("No language has a gap.", n)
    parts = [f"at equal token counts {number(means['gap_equal_tokens_pct'])} %"] * (
        means["gap_equal_tokens_pct"] is not None
    ) + [f"for random features {number(means['gap_random_pct'])} %"] * (means["gap_random_pct"] is not None)
    beside = f"; {', '.join(parts)}" if parts else ""
    tokens = rows.group_by("lang", maintain_order=True).agg(pl.col("token_ratio").mean()).drop_nulls()
    most = tokens.sort("token_ratio").tail(1).to_dicts()
    ratio = "".join(
        f" {name(row['lang'])} takes most tokens, {number(row['token_ratio'], 1)} times {name(context.reference)}'s."
        for row in most
    )
    return Takeaway(f"The mean gap is {number(means['gap_pct'])} %{beside}.{ratio}", n)


def reciprocal_gap(tables: Tables, _: Context) -> Takeaway:
    """What is left of the gap once features are chosen in both languages."""
    summary = tables["reciprocal_gap_summary"].drop_nulls("symmetric_gap_pct").sort("symmetric_gap_pct")
    frame = tables["reciprocal_gap"]
    n = of_how_many([counted(summary.height, "language"), counted(frame["layer"].n_unique(), "layer"),
                     ranged(frame["n_features_reference"], "feature")])  # fmt: skip
    if not summary.height:
        return Takeaway("No language has a gap chosen both ways.", n)
    signs = [sign_in(row, "symmetric_gap_ci") for row in summary.iter_rows(named=True)]
    below = f", below in {signs.count(-1)}" if signs.count(-1) else ""
    one_way, both = (float(summary[f"{column}_pct"].mean()) for column in ("gap_from_reference", "symmetric_gap"))  # type: ignore[arg-type]
    return Takeaway(
        f"With features chosen in both languages the mean gap is {number(both)}, not {number(one_way)} %: above"
        f" zero in {signs.count(1) or 'none'} of {counted(len(signs), 'language')}{below}.",
        n,
    )
