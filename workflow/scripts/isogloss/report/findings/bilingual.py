"""What paper C's tables say, in sentences: every number is read from a table, every direction from its interval."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.config.base import middle
from isogloss.report.findings.sentences import estimate_in, sign_in
from isogloss.report.shared.classes import class_order, class_phrase
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed, number


def selectivity(tables: Tables, context: Context) -> list[str]:
    """How the mixed share and monosemanticity beyond its null change over the steps at the middle layer.

    The last step's published monosemanticity stands beside its null, its mixed share beside those by other counts.
    """
    frame = tables["selectivity"]
    layer = middle(frame["layer"])
    rows = frame.filter(layer=layer).sort("step")
    courses = [
        f"{what} in the middle layer ({layer})"
        f"{_course(rows.filter(pl.col('class') == code), column, factor, unit, why)}"
        for what, code, column, factor, unit, why in (
            (
                "The share of mixed features, those of no language alone,",
                "mixed",
                "share",
                100,
                "%",
                "every feature is silent",
            ),
            (
                "Monosemanticity (how far a feature has one meaning, 0 to 1) beyond chance, of all features,",
                *("all", "monosemanticity_calibrated_excess", 1, "", "no feature has two tokens"),
            ),
        )
    ]
    last = rows.filter(step=rows["step"].max())
    every, mixed = (last.filter(pl.col("class") == code).row(0, named=True) for code in ("all", "mixed"))
    return [*courses, *_published(every, context), *_other_counts(every, mixed, context)]


def _published(row: Mapping[str, Any], context: Context) -> list[str]:
    """Monosemanticity at the paper's similarity beside its null."""
    if row["monosemanticity_excess"] is None or row["random_pairs_above_similarity"] is None:
        return []
    verdict = {1: "more than chance", -1: "less than chance", 0: "not told apart from chance"}
    excess = estimate_in(row, "monosemanticity_excess", "")
    return [
        f"The paper counts tokens as one meaning above a similarity of {context.settings['bilingual']['similarity']:g},"
        f" which {number(100 * row['random_pairs_above_similarity'], 1)} % of random pairs"
        f" exceed. So measured, features of two tokens or more have a monosemanticity of"
        f" {number(row['monosemanticity_several'], 2)}, and"
        f" {number(row['monosemanticity_null'], 2)} where meanings are dealt at random: a difference of {excess},"
        f" {verdict[sign_in(row, 'monosemanticity_excess')]}."
    ]


def _other_counts(every: Mapping[str, Any], mixed: Mapping[str, Any], context: Context) -> list[str]:
    """The mixed share of features that are counted often enough, and by all firings."""
    if mixed["share_firings"] is None:
        return []
    counted, firings = (estimate_in(mixed, column, "%", factor=100) for column in ("share_counted", "share_firings"))
    agree = estimate_in(every, "agreement", "%", factor=100)
    return [
        f"Of the features with at least {context.settings['bilingual']['minimum_activations']} counted activations,"
        f" {counted} are mixed; by all firings of a feature, not its strongest alone, {firings}. Both ways agree on"
        f" {agree} of the features."
    ]


def _course(rows: pl.DataFrame, column: str, factor: float, unit: str, why: str) -> str:
    """From the first to the last step, whether their intervals overlap, the extreme between; or `why` there is none."""
    defined = rows.drop_nulls(column).to_dicts()
    if not defined:
        return f" is not defined at any step: {why}."

    def at_step(row: Mapping[str, Any]) -> str:
        return f"{estimate_in(row, column, unit, factor=factor)} at step {row['step']:,}"

    first, last = defined[0], defined[-1]
    if len(rows) == 1 and not first["step"]:  # a model without checkpoints
        return f" is {estimate_in(first, column, unit, factor=factor)} in the finished model."
    if len(defined) == 1:
        return f" is {at_step(first)}, the only one measured."
    verdict = {
        1: "it rose, the intervals do not overlap",
        -1: "it fell, the intervals do not overlap",
        0: "the intervals overlap, so no change is shown",
    }[_shift(first, last, column)]
    lowest = min(defined[1:-1], key=lambda row: row[column], default=last)
    least = min(first[column], last[column])
    between = f" In between it is lowest with {at_step(lowest)}." if lowest[column] < least else ""
    return f" goes from {at_step(first)} to {at_step(last)}: {verdict}.{between}"


def _shift(first: Mapping[str, Any], last: Mapping[str, Any], column: str) -> int:
    """1 where the interval of `last` lies above that of `first`, -1 below, 0 where they overlap or one is missing."""
    bounds = [row[f"{column}_{end}"] for row in (first, last) for end in ("low", "high")]
    if None in bounds:
        return 0
    low, high, low_last, high_last = bounds
    return int(low_last > high) - int(high_last < low)


def sae_seeds(tables: Tables, _: Context) -> list[str]:
    """The mixed share under each seed of the middle layer's SAE, and how many of its features come again in another."""
    frame = tables["sae_seeds"]
    shares = [
        f"{estimate_in(row, 'mixed_share', '%', factor=100)} with seed {row['seed_a']}"
        for row in frame.filter(pl.col("seed_b").is_null()).sort("seed_a").to_dicts()
    ]
    pairs = [
        f"{estimate_in(row, 'stability', '%', factor=100)} for seeds {row['seed_a']} and {row['seed_b']}"
        for row in frame.filter(pl.col("seed_b").is_not_null()).sort("seed_a", "seed_b").to_dicts()
    ]
    chance = frame["stability_chance"].drop_nulls().mean()
    assert isinstance(chance, float)
    return [
        f"Of SAEs that differ in the seed alone (layer {frame['layer'][0]} of the finished model), mixed are"
        f" {listed(shares)} of the features. The features themselves come again (mutually nearest decoder rows with"
        f" a cosine above 0.7) in {listed(pairs)}; by chance in {number(100 * chance, 1)} %."
    ]


def intervention(tables: Tables, _: Context) -> list[str]:
    """Which injected class lowers perplexity most, over all documents, and whether it beats random features.

    Of the middle strength and number of features; then, in how many settings each class beats them.
    """
    frame = tables["intervention_summary"]
    rows = frame.filter(~pl.col("class").is_in(["none", "random", "matched"]), lang="all").drop_nulls("change")
    if not rows.height:
        return ["No change of perplexity was measured."]
    alphas, counts = (sorted(set(rows[column])) for column in ("alpha", "n_features"))
    alpha, n = alphas[len(alphas) // 2], counts[len(counts) // 2]
    first, *others = rows.filter(alpha=alpha, n_features=n).sort("change", "class").to_dicts()
    changes = [
        f"{class_phrase(row['class'])}, {estimate_in(row, 'change', '', interval='ci')}" for row in (first, *others)
    ]
    where = f"Of the classes injected into step {first['step']:,} (α = {alpha:g}, N = {n:,})"
    if sign_in(first) < 0:
        apart = bool(others) and first["ci_high"] < (others[0]["ci_low"] or first["ci_high"])
        beside = f"; next {changes[1]}, {'told apart' if apart else 'not told apart'}" if others else ""
        change = f"{where}, the perplexity of all documents falls most with {changes[0]}{beside}."
    else:
        change = (
            f"{where}, none lowers the perplexity of all documents by its interval; the lowest change is {changes[0]}."
        )
    against = _against_matched(rows.filter(pl.col("class") == "mixed", alpha=alpha, n_features=n))
    return [
        f"{change}{_against_random(first)}",
        *against,
        *_settings(rows, len(alphas) * len(counts)),
    ]


def _against_random(row: Mapping[str, Any]) -> str:
    if row["beyond_random"] is None:
        return ""
    verdict = {
        1: "higher than with as many random features",
        -1: "lower than with as many random features",
        0: "no difference from as many random features is shown",
    }[sign_in(row, "beyond_random")]
    return f" Against random features: {estimate_in(row, 'beyond_random', '')}, {verdict}."


def _against_matched(mixed: pl.DataFrame) -> list[str]:
    """Mixed features at the dose of their control, by both intervals: over documents, and over draws of features."""
    if mixed.is_empty() or (row := mixed.row(0, named=True))["beyond_matched"] is None:
        return []
    signs = {sign_in(row, "beyond_matched"), sign_in(row, "beyond_matched_draws")}
    verdict = {1: "mixed features help less", -1: "mixed features help more"}.get(
        signs.pop() if len(signs) == 1 else 0, "no difference is shown"
    )
    draws = estimate_in(row, "beyond_matched", "", interval="beyond_matched_draws")
    return [
        "At the same dose (features that fire as often, vectors as long) the perplexity with mixed features less"
        f" that with others is {estimate_in(row, 'beyond_matched', '')} over documents and {draws}"
        f" over draws of features: {verdict}."
    ]


def _settings(rows: pl.DataFrame, settings: int) -> list[str]:
    """Of several settings of α and N, in how many a class is below the random control by its interval."""
    if settings == 1 or rows["beyond_random"].is_null().all():
        return []
    better = [
        f"{class_phrase(code)} in {rows.filter((pl.col('class') == code) & (pl.col('beyond_random_high') < 0)).height}"
        for code in class_order(rows["class"])
    ]
    return [
        f"Of {settings} settings of α and N, the perplexity is lower than with random features, by its interval, for"
        f" {listed(better)}."
    ]
