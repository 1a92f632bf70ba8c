"""Synthetic tables of the benchmarks: accuracy falls with the planted gap; an adapter changes it a little."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from synthetic_disparity import Planted, interval

TASKS = ("arc", "hellaswag", "mmlu")


def benchmark_tables(
    world: Planted, mean_gap: Mapping[str, float], adapters: Mapping[str, Sequence[str]], rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    """Accuracy of the base model and of `adapters` by task and language, by what it was taught, and against the gap."""
    accuracy, teaching = [], []
    for number, task in enumerate(TASKS):
        for adapter, spoken in adapters.items():
            for code in spoken:
                a = float(np.clip(0.9 - 0.015 * mean_gap[code] - 0.05 * number + rng.normal(0, 0.02), 0.05, 0.98))
                key = {"adapter": adapter, "task": task, "lang": code}
                change = None if adapter == "base" else 0.04 - 0.03 * number
                accuracy.append(key | _answered(a, change))
                teaching += [key | row for row in _taught(a, code)]
    floats = dict.fromkeys(["difference", "difference_ci_low", "difference_ci_high", "p", "p_adjusted"], pl.Float64)
    table = pl.DataFrame(accuracy, schema_overrides=floats, infer_schema_length=None)
    return {
        "accuracy": table,
        "accuracy_by_teaching": pl.DataFrame(teaching),
        "gap_accuracy": _gap_accuracy(table, mean_gap),
        "gap_accuracy_correlation": _gap_accuracy_correlation(len(world.others)),
    }


def _answered(accuracy: float, change: float | None) -> dict[str, Any]:
    return {
        "metric": "acc",
        "accuracy": accuracy,
        "stderr": 0.03,
        **interval(accuracy, 0.06),
        "n": 160,
        "chance": 0.25,
        "difference": change,
        "difference_ci_low": None if change is None else change - 0.03,
        "difference_ci_high": None if change is None else change + 0.03,
        "p": None if change is None else 0.02,
        "p_adjusted": None if change is None else 0.2,
        "family_size": 42,
    }


def _taught(accuracy: float, code: str) -> list[dict[str, Any]]:
    rows = []
    for taught, lower in (
        ("all", 0.0),
        ("reference", 0.0 if code == "en" else 0.15),
        ("none", 1.0),  # nothing but guessing, a little off chance
    ):
        b = max(0.2, accuracy - lower)
        row = {"taught": taught, "metric": "acc", "accuracy": b, **interval(b, 0.06), "n": 80, "chance": 0.25}
        rows.append(row)
    return rows


def _gap_accuracy(accuracy: pl.DataFrame, mean_gap: Mapping[str, float]) -> pl.DataFrame:
    base = accuracy.filter((pl.col("adapter") == "base") & (pl.col("lang") != "en"))
    gaps = pl.DataFrame({"lang": list(mean_gap), "mean_gap_pct": list(mean_gap.values())})
    return base.select("task", "lang", "accuracy").join(gaps, on="lang")


def _gap_accuracy_correlation(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"task": t, "r": -0.9, "ci_low": -0.98, "ci_high": -0.6, "p": 0.001, "p_adjusted": 0.003, "n": n}
            | {"p_permutation": 0.002, "spearman": -0.85, "spearman_p": 0.004, "n_orders": 10_001, "family_size": 3}
            for t in TASKS
        ]
    )
