"""Whether the log ratio predicts accuracy and transfer over languages, and what length has to do with it (Table 2)."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.latent.answers import VARIANTS
from isogloss.partial import Partial, partial_correlation
from isogloss.permutation import order_test
from isogloss.stats import adjust, family_size, pearson

logger = logging.getLogger(__name__)

TARGETS = ("accuracy", "consistency", "positive_transfer")
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
PREFIXES = dict(zip(VARIANTS, ("", "total_", "character_"), strict=True))
"""What the columns of a variant of the log ratio begin with."""
_ADDED = ("p_permutation", "partial_r", "partial_p", "length_r")
_FEWEST_PARTIAL = 4  # languages: of three, a line through the token ratio leaves one degree of freedom


def points_of(latent: pl.DataFrame, answers: pl.DataFrame, transfer: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Per task and language but the reference: log ratios over the probed layers, token ratio, and the targets."""
    means = pl.col(*VARIANTS, "token_ratio").mean()
    ratios = latent.group_by("task", "lang", maintain_order=True).agg(means)
    key = ["task", "lang"]
    others = transfer.group_by("task", pl.col("lang_b").alias("lang")).agg(
        pl.col("consistency", "positive_transfer").mean()
    )
    points = ratios.join(answers.select(*key, "accuracy"), on=key, how="left", maintain_order="left")
    return points.join(others, on=key, how="left", maintain_order="left").filter(pl.col("lang") != reference)


def correlations(points: pl.DataFrame, confidence: float, correction: Literal["holm", "bh"], seed: int) -> pl.DataFrame:
    """A row per task and target, with columns for each variant of the log ratio (`PREFIXES`).

    `r` of the length-normalised one has Fisher's interval and is corrected over tasks and targets, as the paper's is.
    Beside it, for each variant: `r`; `p_permutation`, over orders of the languages (`permutation.order_test`);
    `partial_r`, the partial correlation given the log of `token_ratio`, with its permutation `partial_p`
    (`partial.partial_correlation`); and `length_r`, the variant with the log of `token_ratio`. Null for fewer than
    three languages (the partial ones four) or without spread.
    """
    rows: list[dict[str, Any]] = []
    for (task,), of_task in points.group_by("task", maintain_order=True):
        for target in TARGETS:
            both = of_task.select(*VARIANTS, "token_ratio", target).drop_nulls()
            if len(both) < len(of_task):
                logger.warning("%s: %s is undefined in %d language(s)", task, target, len(of_task) - len(both))
            y, length = both[target].to_numpy(), np.log(both["token_ratio"].to_numpy())
            fit = pearson(both["log_ratio"].to_numpy(), y, confidence)
            if fit.r is None:
                logger.warning("%s: no correlation of log ratio and %s over %d language(s)", task, target, len(both))
            row = {"task": task, "target": target, "n": len(both)}
            row |= {"r": fit.r, "r_low": fit.low, "r_high": fit.high, "p": fit.p}
            for name, prefix in PREFIXES.items():
                row |= _variant(both[name].to_numpy(), y, length, prefix, [seed, *f"{task}/{target}/{name}".encode()])
            rows.append(row)
    corrected = adjust([row["p"] for row in rows], correction)
    tested = {"family_size": family_size(corrected)}
    rows = [row | {"p_adjusted": p, "stars": stars(row["p"])} | tested for row, p in zip(rows, corrected, strict=True)]
    numbers = dict.fromkeys(["r", "r_low", "r_high", "p", "p_adjusted"], pl.Float64)
    counts = {"n": pl.Int32, "family_size": pl.Int32}
    added = [f"{prefix}{name}" for prefix in PREFIXES.values() for name in ("r", *_ADDED) if prefix + name != "r"]
    schema = {"task": pl.String, "target": pl.String, **numbers, "stars": pl.String, **counts}
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(added, pl.Float64))


def _variant(
    x: Float[np.ndarray, " languages"],
    y: Float[np.ndarray, " languages"],
    length: Float[np.ndarray, " languages"],
    prefix: str,
    seed: list[int],
) -> Mapping[str, float | None]:
    enough = len(x) >= _FEWEST_PARTIAL
    partial = partial_correlation(x, y, length[:, None], seed) if enough else Partial(None, None, 0)
    columns = {
        "r": _r(x, y),
        "p_permutation": order_test(x, y, seed).p,
        "partial_r": partial.r,
        "partial_p": partial.p,
        "length_r": _r(x, length),
    }
    return {f"{prefix}{name}": value for name, value in columns.items()}


def _r(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float | None:
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return None
    return float(np.corrcoef(x, y)[0, 1])


def stars(p: float | None) -> str | None:
    """The paper's marks of significance: * p < .05, ** p < .01, *** p < .001; None without a test."""
    return None if p is None else next((mark for bound, mark in STARS if p < bound), "")
