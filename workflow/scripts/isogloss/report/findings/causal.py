"""What the causal test's tables say, in sentences: every number is read from a table."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import estimate_in, sign_in
from isogloss.report.shared.ablated import METHOD_TITLES
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed, name, number


def ablation(tables: Tables, _: Context) -> list[str]:
    """What a language's features do to its own loss and to that of others, by each method, and how much is removed."""
    summary, frame = tables["ablation_summary"], tables["ablation"]
    layer, n_texts = summary["layer"][0], summary["n_texts"][0]
    sentences = [
        f"The features that fire for one language are switched off (ablated) after layer {layer}. They were chosen on"
        f" other texts than the {n_texts:,} whose loss is measured. Changes of loss are in nats a token: above zero,"
        " the model predicts worse."
    ]
    for row in summary.filter(pl.col("ablated").is_null()).iter_rows(named=True):
        by = f"Features by {METHOD_TITLES[row['method']]}"
        mine = summary.filter(pl.col("ablated").is_not_null(), method=row["method"])
        if row["difference"] is None:
            sentences.append(f"{by}: none in any language ({mine['reason'][0]}, for one), so nothing was ablated.")
            continue
        sentences.append(
            f"{by}: the loss in their own language changes by {number(row['own'], 2)}, in the others by"
            f" {number(row['others'], 2)} (mean over {row['n_languages']} languages); the difference is"
            f" {estimate_in(row, 'difference', '', interval='ci')},"
            f" {_verdict(row, 'ci')}.{_against_random(row)}{_by_language(mine)}"
        )
        sentences.append(_removed(frame, row["method"]))
    return sentences


def _verdict(row: Mapping[str, Any], interval: str) -> str:
    return {
        1: "so they carry their language more than the others",
        -1: "so they carry the others more than their language",
        0: "so over languages it is not shown that they carry their own more than the others",
    }[sign_in(row, interval)]


def _against_random(row: Mapping[str, Any]) -> str:
    if row["beyond_random"] is None:
        return ""
    beyond = estimate_in(row, "beyond_random", "")
    return (
        f" Random features that fire as often change the two by {number(row['own_random'], 2)} and"
        f" {number(row['others_random'], 2)}; beyond them the difference is {beyond}."
    )


def _by_language(rows: pl.DataFrame) -> str:
    measured = rows.drop_nulls("difference")
    above = measured.filter(pl.col("beyond_random_low") > 0)
    least = measured.sort("difference").row(0, named=True)
    without = [name(code) for code in rows.filter(pl.col("difference").is_null())["ablated"]]
    none = f" No features: {listed(without)}." if without else ""
    return (
        f" By its own interval it is above that of random ones in {above.height} of {measured.height}"
        f" languages; least in {name(least['ablated'])}, {number(least['difference'], 2)}.{none}"
    )


def _removed(frame: pl.DataFrame, method: str) -> str:
    """The dose: what is subtracted, in percent of the stream's norm."""
    rows = frame.filter(method=method).drop_nulls("removed_pct").with_columns(own=pl.col("ablated") == pl.col("lang"))
    means = {
        (features, own): rows.filter(features=features, own=own)["removed_pct"].mean()
        for features in ("language", "random")
        for own in (True, False)
    }
    own, others, random = (means[key] for key in (("language", True), ("language", False), ("random", True)))
    if random is None:
        return ""
    return (
        f"The dose: what is taken away has {number(own, 0)} % of the state's norm in the own language and"  # type: ignore[arg-type]
        f" {number(others, 0)} % in the others, of random features {number(random, 0)} % in the own; part of what the"  # type: ignore[arg-type]
        " language's features do beyond random ones may be that."
    )
