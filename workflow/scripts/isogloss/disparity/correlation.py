"""Whether the languages with the larger activation gap are those with the lower accuracy."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.permutation import order_test
from isogloss.stats import adjust, family_size, pearson
from isogloss.tables import read_table, write_table
from isogloss.tables.disparity import GAP_ACCURACY_CORRELATION

logger = logging.getLogger(__name__)


def correlate_gap_with_accuracy(
    *,
    language_gap_summary: str,
    accuracy: str,
    gap_accuracy_correlation: str,
    gap_accuracy: str,
    reference: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, per task, Pearson's r of the languages' mean gap and base accuracy (paper A, Figs. 9 to 11).

    Languages are the points: those that have the task. The reference is left out, its gap is zero by definition.
    `gap_accuracy` gets the points (task, lang, mean_gap_pct, accuracy), `gap_accuracy_correlation`
    r, Fisher's interval, p, and p corrected over the tasks (`family_size` tests). Beside them Spearman's rho
    (`spearman`), and for both a p that asks no normal distribution (`p_permutation`, `spearman_p`): the share of
    `n_orders` orders of the accuracies with a correlation as large in size, all orders of up to 8 languages, else
    10,000 drawn with `seed`. The interval is null for fewer than four languages, the correlations and their p for fewer
    than three or where all gaps or all accuracies are equal.

    Raises `IsoglossError` if a language of a task has no gap.
    """
    gaps = read_table(language_gap_summary).filter(pl.col("lang") != reference).select("lang", "mean_gap_pct")
    if gaps["mean_gap_pct"].null_count():
        raise IsoglossError(f"{language_gap_summary}: no layer has a gap, so there is nothing to correlate")
    base = read_table(accuracy).filter(pl.col("adapter") == "base", pl.col("lang") != reference)
    pairs = base.select("task", "lang", "accuracy").join(gaps, on="lang", how="left", maintain_order="left")
    tasks = pairs["task"].unique(maintain_order=True).to_list()

    rows: list[dict[str, Any]] = []
    for task in tasks:
        points = pairs.filter(pl.col("task") == task)
        if odd := sorted(set(points["lang"]) - set(gaps["lang"])):
            raise IsoglossError(
                f"task {task}: {', '.join(odd)} in {accuracy} only, not in {language_gap_summary}; benchmark the"
                " analysed languages"
            )
        if lacking := sorted(set(gaps["lang"]) - set(points["lang"])):
            logger.warning("task %s: not in %s, whose gap is left out", task, ", ".join(lacking))
        gap, score = points["mean_gap_pct"].to_numpy(), points["accuracy"].to_numpy()
        p, rho, rho_p, orders = order_test(gap, score, (seed, len(gap)))
        by_order = {"p_permutation": p, "spearman": rho, "spearman_p": rho_p, "n_orders": orders}
        rows.append({"task": task, **_pearson(gap, score, statistics.confidence), **by_order})
    corrected = adjust([row["p"] for row in rows], statistics.correction)
    names = ["r", "ci_low", "ci_high", "p", "p_adjusted", "p_permutation", "spearman", "spearman_p"]
    tested = {"family_size": family_size(corrected)}
    table = pl.DataFrame(
        [row | {"p_adjusted": p} | tested for row, p in zip(rows, corrected, strict=True)],
        schema_overrides=dict.fromkeys(names, pl.Float64) | {"family_size": pl.Int32, "n_orders": pl.Int32},
    )
    write_table(gap_accuracy_correlation, table, metadata, GAP_ACCURACY_CORRELATION)
    write_table(gap_accuracy, pairs.select("task", "lang", "mean_gap_pct", "accuracy"), metadata)


def _pearson(x: np.ndarray, y: np.ndarray, confidence: float) -> dict[str, Any]:
    correlation = pearson(x, y, confidence)
    if correlation.r is None:
        logger.warning(
            "no correlation: %d languages, spread of gaps %g, of accuracies %g", len(x), np.ptp(x), np.ptp(y)
        )
    r, low, high, p = correlation
    return {"r": r, "ci_low": low, "ci_high": high, "p": p, "n": len(x)}
