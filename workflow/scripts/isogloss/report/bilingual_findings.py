"""What paper C's tables say, in sentences: every number is read from a table, every direction from its interval."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.figures.classes import class_order, class_phrase
from isogloss.report.sentences import estimate, sign
from isogloss.report.wording import listed


def selectivity(frame: pl.DataFrame, confidence: float) -> list[str]:
    """How the mixed share and monosemanticity change from the first to the last step at the middle layer."""
    layers = sorted(set(frame["layer"]))
    layer = layers[len(layers) // 2]
    rows = frame.filter(pl.col("layer") == layer).sort("step")
    mixed, every = (rows.filter(pl.col("class") == code) for code in ("mixed", "all"))
    return [
        f"{what} in the middle layer ({layer}, 0-based){_course(its, column, factor, confidence, unit)}"
        for what, its, column, factor, unit in (
            ("The share of mixed features", mixed, "share", 100, "%"),
            ("Monosemanticity of all features", every, "monosemanticity", 1, ""),
        )
    ]


def _course(rows: pl.DataFrame, column: str, factor: float, confidence: float, unit: str) -> str:
    """From the first to the last step, whether the intervals tell them apart, and the extreme between."""
    defined = rows.drop_nulls(column).to_dicts()
    if not defined:
        return " is not defined at any step: every feature is silent."

    def said(row: Mapping[str, Any]) -> str:
        value, low, high = (
            None if row[name] is None else factor * row[name] for name in (column, f"{column}_low", f"{column}_high")
        )
        return f"{estimate(value or 0.0, low, high, confidence, unit)} at step {row['step']:,}"

    first, last = defined[0], defined[-1]
    if len(defined) == 1:
        return f" is {said(first)}, the only one measured."
    verdict = {
        1: "it rose, the intervals do not overlap",
        -1: "it fell, the intervals do not overlap",
        0: "the intervals overlap, so no change is shown",
    }[_apart(first, last, column)]
    lowest = min(defined[1:-1], key=lambda row: row[column], default=last)
    between = (
        f" In between it is lowest with {said(lowest)}." if lowest[column] < min(first[column], last[column]) else ""
    )
    return f" goes from {said(first)} to {said(last)}: {verdict}.{between}"


def _apart(first: Mapping[str, Any], last: Mapping[str, Any], column: str) -> int:
    """1 where the interval of `last` lies above that of `first`, -1 below, 0 where they overlap or one is missing."""
    bounds = [row[f"{column}_{end}"] for row in (first, last) for end in ("low", "high")]
    if None in bounds:
        return 0
    low, high, low_last, high_last = bounds
    return int(low_last > high) - int(high_last < low)


def intervention(frame: pl.DataFrame, confidence: float) -> list[str]:
    """Which injected class lowers perplexity most, over all documents, and whether it beats random features.

    Told of the middle strength and number of features; then, in how many settings each class beats them.
    """
    rows = frame.filter(pl.col("lang") == "all", ~pl.col("class").is_in(["none", "random"])).drop_nulls("change")
    if not rows.height:
        return ["No change of perplexity was measured."]
    alphas, counts = (sorted(set(rows[column])) for column in ("alpha", "n_features"))
    alpha, n = alphas[len(alphas) // 2], counts[len(counts) // 2]
    first, *others = rows.filter(pl.col("alpha") == alpha, pl.col("n_features") == n).sort("change", "class").to_dicts()

    def said(row: Mapping[str, Any]) -> str:
        return f"{class_phrase(row['class'])}, {estimate(row['change'], row['ci_low'], row['ci_high'], confidence, '')}"

    where = f"Of the classes injected into step {first['step']:,} (α = {alpha:g}, N = {n:,})"
    if sign(first["ci_low"], first["ci_high"]) < 0:
        apart = bool(others) and first["ci_high"] < (others[0]["ci_low"] or first["ci_high"])
        beside = f"; next {said(others[0])}, {'told apart' if apart else 'not told apart'}" if others else ""
        told = f"{where}, the perplexity of all documents falls most with {said(first)}{beside}."
    else:
        told = (
            f"{where}, none lowers the perplexity of all documents by its interval; the lowest change is {said(first)}."
        )
    return [f"{told}{_against_random(first, confidence)}", *_settings(rows, len(alphas) * len(counts))]


def _against_random(row: Mapping[str, Any], confidence: float) -> str:
    if row["beyond_random"] is None:
        return ""
    low, high = row["beyond_random_low"], row["beyond_random_high"]
    verdict = {
        1: "higher than with as many random features",
        -1: "lower than with as many random features",
        0: "no difference from as many random features is shown",
    }[sign(low, high)]
    return f" Against random features: {estimate(row['beyond_random'], low, high, confidence, '')}, {verdict}."


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
