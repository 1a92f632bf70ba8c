"""The scorecard's rows on paper C, and on the causal test of a language's features."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from isogloss.config.base import middle
from isogloss.report.scorecard.row import FAILED, NONE, PARTLY, PASSED, Control, Measured, Row, counted, measured, shown
from isogloss.report.shared.study import Study
from isogloss.report.shared.wording import number


def mixed(study: Study) -> Row | None:
    """The share of mixed features at the middle layer, from the first to the last step, beside other seeds' SAEs."""
    models = study.having("selectivity")
    if not models:
        return None
    frame = study.tables[models[0]]["selectivity"]
    rows = frame.filter(pl.col("class") == "mixed", layer=middle(frame["layer"])).sort("step").to_dicts()
    several = len(rows) > 1
    every = frame.filter(pl.col("class") == "all", layer=middle(frame["layer"])).sort("step").to_dicts()
    ends = [(rows[0], every[0]), (rows[-1], every[-1])] if several else [(rows[0], every[0])]
    here = [
        measured(row, "share", f"Step {row['step']:,}" if several else "Share", factor=100, unit="%", n=n)
        for row, whole in ends
        for n in [counted(whole["n_features"], "feature")]
    ]
    change = _apart(here[0], here[-1]) if several else 0
    says = {1: "It rose", -1: "It fell", 0: "No change shown"}[change] if several else "Measured at the end only"
    return Row(
        "mixed",
        "Do features come to serve several languages (mixed) in training?",
        "C: yes, late",
        says,
        here,
        _of_seeds(study.tables[models[0]].get("sae_seeds"), here, several),
        "selectivity" if several else "",
        "mixed features by training",
    )


def _apart(first: Measured, last: Measured) -> int:
    """1 where the interval of `last` lies above that of `first`, -1 below, 0 where they overlap or one is missing."""
    if first.low is None or first.high is None or last.low is None or last.high is None:
        return 0
    return int(last.low > first.high) - int(last.high < first.low)


def _of_seeds(frame: pl.DataFrame | None, here: list[Measured], several: bool) -> Control:
    """Whether the change is larger than what the seed of an SAE makes of the share."""
    if frame is None:
        return Control(NONE, "one SAE seed")
    shares = [100 * share for share in frame.filter(pl.col("seed_b").is_null())["mixed_share"].drop_nulls()]
    if len(shares) < 2:
        return Control(NONE, "one SAE seed")
    text = f"SAE seeds: {number(min(shares))} to {number(max(shares))} %"
    first, last = here[0].value, here[-1].value
    if not several or first is None or last is None:
        return Control(NONE, text)
    return Control(PASSED if abs(last - first) > max(shares) - min(shares) else FAILED, text)


def injection(study: Study) -> Row | None:
    """What injected mixed features change in perplexity, less random features at the same dose; the middle setting."""
    models = study.having("intervention_summary")
    if not models:
        return None
    rows = study.tables[models[0]]["intervention_summary"].filter(pl.col("class") == "mixed", lang="all")
    rows = rows.drop_nulls("change")
    if not rows.height:
        return None
    alphas, counts = (sorted(set(rows[column])) for column in ("alpha", "n_features"))
    row = rows.filter(alpha=alphas[len(alphas) // 2], n_features=counts[len(counts) // 2]).row(0, named=True)
    change = measured(row, "change", "Perplexity", "ci", n=counted(row["n"], "document") if row.get("n") else "")
    here, control = [change], Control(NONE)
    if row["beyond_matched"] is not None:
        less = measured(row, "beyond_matched", "Minus matched random features")
        here.append(less)
        text = "better than random features" if less.sign == -1 else "no better than random features"
        control = Control(PASSED if less.sign == -1 else FAILED, text)
    return Row(
        "injection",
        "Do mixed features, injected into an unfinished model, lower its perplexity (how badly it predicts text)?",
        "C: yes",
        f"{shown(change.sign, -1)}{', but not beyond random features' if _not_beyond(change, control) else ''}",
        here,
        control,
        "intervention",
        "gain by injection",
    )


def _not_beyond(change: Measured, control: Control) -> bool:
    return change.sign == -1 and control.verdict == FAILED


def ablation(study: Study) -> Row | None:
    """What a language loses without its features, less what others lose, by each way to choose them."""
    models = study.having("ablation_summary")
    if not models:
        return None
    frame = study.tables[models[0]]["ablation_summary"]
    rows = frame.filter(pl.col("ablated").is_null()).drop_nulls("difference").to_dicts()
    cases = frame.filter(pl.col("ablated").is_not_null()).drop_nulls("difference").to_dicts()
    here = [_difference(row, [case for case in cases if case["method"] == row["method"]]) for row in rows[:3]]
    beyond = sum(_above(case, "beyond_random") for case in cases)
    control = Control(NONE, "no random features were ablated")
    if any(case["beyond_random"] is not None for case in cases):
        verdict = PASSED if beyond == len(cases) else PARTLY if beyond else FAILED
        control = Control(verdict, f"{beyond} of {len(cases)} beat random features")
    return Row(
        "ablation",
        "Does a language lose more than others without its own features (loss, nats a token)?",
        "–",
        f"Shown in {sum(_above(case, 'ci') for case in cases)} of {len(cases)} (languages × choices)",
        here,
        control,
        "ablation",
        "own features needed",
    )


def _above(row: Mapping[str, Any], interval: str) -> bool:
    return row[f"{interval}_low"] is not None and row[f"{interval}_low"] > 0


def _difference(row: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> Measured:
    label = {"share": "By share", "entropy": "By entropy", "monolinguality": "By monolinguality"}.get(row["method"], "")
    n = f"above 0: {sum(_above(case, 'ci') for case in cases)} of {row['n_languages']}"
    return measured(row, "difference", label, "ci", n=n, digits=2)
