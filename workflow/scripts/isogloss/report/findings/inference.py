"""What the groups' difference says of languages at large, in sentences: tests over languages, not over features."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import estimate_in, probability
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import MEASURE_TITLES, p_value

UNITS = {"gap_pct": "points", "symmetric_gap_pct": "points"}
"""Of the measures whose difference has one."""


def group_inference(tables: Tables, context: Context) -> list[str]:
    """Per measure the permutation test of the layers' mean, and in how many layers it holds; or why there is none."""
    frame = tables["group_inference"]
    sentences: list[str] = []
    ways = ""  # a study has one pair of groups
    for measure in frame["measure"].unique(maintain_order=True):
        of_layers = frame.filter(measure=measure)
        whole = of_layers.filter(pl.col("layer").is_null()).row(0, named=True)
        title = MEASURE_TITLES[measure]
        if whole["p"] is None:
            sentences.append(f"{title}: whether the groups differ cannot be tested over languages: {whole['reason']}.")
            continue
        over = " over the same ways" if ways else _ways(whole)
        ways = over
        layers = _layers(of_layers.drop_nulls("layer").to_dicts(), context)
        sentences.append(f"{title}, mean over layers: {_whole(whole, over, context)}{layers}")
    return sentences


def _ways(row: Mapping[str, Any]) -> str:
    sizes = f"{row['n_high_resource']} and {row['n_medium_low_resource']}"
    ways = f"the {row['n_splits']:,}" if row["exact"] else f"{row['n_splits']:,} random"
    return f" over {ways} ways to split these languages into {sizes}"


def _whole(row: Mapping[str, Any], over: str, context: Context) -> str:
    """The difference, and what its p shows."""
    alpha = 1 - context.confidence
    difference = estimate_in(row, "difference", UNITS.get(row["measure"], ""), interval="ci")
    if row["smallest_p"] >= alpha:
        verdict = f"so few languages allow no p below {p_value(row['smallest_p'])}, so nothing could be shown"
    elif row["p"] >= alpha:
        verdict = "no difference between such groups of languages is shown"
    elif row["p_adjusted"] >= alpha:
        verdict = f"a difference that does not outlast the correction over {row['family_size']} measures"
    else:
        verdict = f"it is {'higher' if row['difference'] > 0 else 'lower'} in such medium-to-low-resource languages"
    return (
        "medium-to-low-resource languages less the high-resource ones"
        f" {difference}, {probability(row['p'])}{over}: {verdict}."
    )


def _layers(rows: list[dict[str, Any]], context: Context) -> str:
    tested = [row for row in rows if row["p_adjusted"] is not None]
    if not tested:
        return ""
    shown = sum(row["p_adjusted"] < 1 - context.confidence for row in tested)
    return f" Layer by layer ({len(tested)} tests, corrected together) they differ in {shown or 'none'}."
