"""Whether the groups differ as groups of languages do: inference over languages, not over features or phrases."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.config.measures import Languages, Statistics
from isogloss.errors import IsoglossError, made_again
from isogloss.permutation import Splits, difference_test, splits
from isogloss.stats import adjust, family_size, percentile_interval
from isogloss.tables import read_table, write_table
from isogloss.tables.disparity import GROUP_INFERENCE

logger = logging.getLogger(__name__)

MEASURES: dict[str, tuple[str, ...]] = {
    "language_gap": ("gap_pct",),
    "reciprocal_gap": ("symmetric_gap_pct", "code_retrieval"),
    "similarity": ("retrieval", "centred"),
}
"""Columns, by the table that has them by layer and language."""

_WHOLE = dict.fromkeys(
    ["layer", "n_layers", "family_size", "n_splits", "n_high_resource", "n_medium_low_resource"], pl.Int32
)
_TYPES = {
    **_WHOLE,
    **dict.fromkeys(
        ["mean_high_resource", "mean_medium_low_resource", "difference", "ci_low", "ci_high", "p", "p_adjusted",
         "smallest_p"], pl.Float64,
    ),
    "reason": pl.String,
    "exact": pl.Boolean,
}  # fmt: skip


def infer_over_languages(
    *,
    tables: Sequence[str],
    group_inference: str,
    languages: Languages,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write `group_inference`: the groups' difference in every measure by language that `tables` have (`MEASURES`).

    A language is one observation, the reference none; difference is the mean over the medium-to-low-resource
    languages less that over the high-resource ones, in the measure's unit. A row is a measure and layer; the one
    whose layer is null is of the mean over layers.

    - p: permutation test, two-sided, over all ways to split the languages into groups of these sizes (`n_splits`,
      `exact`; beyond 200,000 as many as `permutation.DRAWS` are drawn); `smallest_p` is the least there can be;
    - p_adjusted: of a layer, by the largest statistic over the measure's layers (`permutation.difference_test`); of
      the mean over layers, corrected over the measures by `statistics.correction`. `family_size` tests each;
    - ci_low, ci_high: percentiles of a bootstrap over languages within each group, the same draws for all rows. Of so
      few languages it errs on the narrow side: the permutation is the test.

    Where there is no test the numbers are null and `reason` says why. A layer without a value in one of the languages
    is left out of the mean and of the family; `n_layers` counts those that are left.

    Raises `IsoglossError` if a table lacks a language of the groups.
    """
    reference = languages.reference
    high = [lang for lang in languages.high_resource if lang != reference]
    groups = _Groups.of(high, list(languages.medium_low_resource), statistics, seed)
    rows = [
        row
        for path in tables
        for measure in MEASURES[Path(path).stem]
        for row in _measure_rows(*_by_layer(path, measure, [*high, *languages.medium_low_resource]), measure, groups)
    ]
    means = [row for row in rows if row["layer"] is None]
    corrected = adjust([row.get("p") for row in means], statistics.correction)
    for row, p in zip(means, corrected, strict=True):
        row |= {"p_adjusted": p, "family_size": family_size(corrected)}
    for row in rows:
        if "reason" in row:
            logger.info("%s, layer %s: %s", row["measure"], row["layer"], row["reason"])
    columns = [*GROUP_INFERENCE]
    frame = pl.DataFrame(rows, schema={column: _TYPES.get(column, pl.String) for column in columns})
    write_table(group_inference, frame, metadata, GROUP_INFERENCE)


class _Groups(NamedTuple):
    """The groups' languages, the ways to split them otherwise and the bootstrap's draws of them."""

    langs: list[str]  # the high-resource ones first
    sizes: tuple[int, int]
    ways: Splits
    draws: Float[np.ndarray, "replicates langs"]  # weights: their sum over values is a draw's difference
    confidence: float

    @classmethod
    def of(cls, high: list[str], low: list[str], statistics: Statistics, seed: int) -> "_Groups":
        sizes = len(high), len(low)
        ways = splits(*sizes, (seed, 0)) if min(sizes) else Splits(np.zeros((0, sum(sizes)), dtype=bool), True, 1.0)
        generator = np.random.default_rng([seed, 1])
        parts = [
            sign * generator.multinomial(n, np.full(n, 1 / n), size=statistics.bootstrap) / n
            for sign, n in zip((-1, 1), sizes, strict=True)
            if n
        ]
        return cls([*high, *low], sizes, ways, np.concatenate(parts, axis=1), statistics.confidence)

    @property
    def too_few(self) -> str | None:
        """Why no test over these languages is possible."""
        names = ("high_resource", "medium_low_resource")
        few = [f"{name} {n}" for name, n in zip(names, self.sizes, strict=True) if n < 2]
        return f"a group needs two languages beside the reference: {', '.join(few)}" if few else None


def _by_layer(path: str, measure: str, langs: Sequence[str]) -> tuple[list[int], Float[np.ndarray, "layers langs"]]:
    """The layers of a table, and the measure in each layer and language; NaN where it is null."""
    frame = read_table(path, ["layer", "lang", measure])
    if absent := sorted(set(langs) - set(frame["lang"])):
        raise IsoglossError(f"{path}: no {measure} of {', '.join(absent)}; {made_again(path)}")
    layers = sorted(set(frame["layer"]))
    values = np.full((len(layers), len(langs)), np.nan)
    for layer, lang, value in frame.filter(pl.col("lang").is_in(list(langs))).iter_rows():
        values[layers.index(layer), langs.index(lang)] = np.nan if value is None else value
    return layers, values


def _measure_rows(
    layers: Sequence[int], values: Float[np.ndarray, "layers langs"], measure: str, groups: _Groups
) -> list[dict[str, Any]]:
    """The row of the mean over layers, then a row a layer."""
    defined = np.isfinite(values).all(axis=1)
    mean = values[defined].mean(axis=0, keepdims=True) if defined.any() else np.full((1, values.shape[1]), np.nan)
    (whole,) = _rows(mean, ["not defined in every language in any layer"], groups)
    whole |= {"layer": None, "n_layers": int(defined.sum())}
    absent = [
        f"not defined in {', '.join(lang for lang, value in zip(groups.langs, row, strict=True) if np.isnan(value))}"
        for row in values
    ]
    of_layers = _rows(values, absent, groups)
    tested = [row for row in of_layers if row["p"] is not None]
    for layer, row in zip(layers, of_layers, strict=True):
        row |= {"layer": int(layer), "n_layers": 1, "family_size": len(tested)}
    if len(tested) == 1:
        tested[0] |= {"p_adjusted": None, "reason": "one layer: no family to correct over"}
    return [{"measure": measure, **row} for row in (whole, *of_layers)]


def _varies(values: Float[np.ndarray, " langs"]) -> bool:
    """Whether values differ by more than rounding."""
    return bool(np.ptp(values) > 1e-9 * np.abs(values).max())


def _rows(values: Float[np.ndarray, "series langs"], undefined: Sequence[str], groups: _Groups) -> list[dict[str, Any]]:
    """A row for each series, without its layer; `undefined` says of each why a value would be missing."""
    n_high, n_low = groups.sizes
    size = {"n_high_resource": n_high, "n_medium_low_resource": n_low}
    reasons = [
        why if not np.isfinite(row).all() else groups.too_few or (None if _varies(row) else "all languages are equal")
        for row, why in zip(values, undefined, strict=True)
    ]
    able = np.array([reason is None for reason in reasons], dtype=bool)
    tests = iter(zip(*difference_test(values[able], groups.ways), strict=True)) if able.any() else iter(())
    rows: list[dict[str, Any]] = []
    for row, reason in zip(values, reasons, strict=True):
        means = [
            float(part.mean()) if len(part) and np.isfinite(part).all() else None for part in np.split(row, [n_high])
        ]
        record = size | {
            "mean_high_resource": means[0],
            "mean_medium_low_resource": means[1],
            "difference": None if None in means else means[1] - means[0],  # type: ignore[operator]
            **dict.fromkeys(["ci_low", "ci_high", "p", "p_adjusted", "n_splits", "smallest_p", "exact", "reason"]),
        }
        if reason is not None:
            rows.append(record | {"reason": reason})
            continue
        difference, p, p_family = map(float, next(tests))
        low, high = percentile_interval(groups.draws @ row, groups.confidence)
        ways = {"n_splits": len(groups.ways.first), "smallest_p": groups.ways.smallest_p, "exact": groups.ways.exact}
        rows.append(
            record | ways | {"difference": difference, "ci_low": low, "ci_high": high, "p": p, "p_adjusted": p_family}
        )
    return rows
