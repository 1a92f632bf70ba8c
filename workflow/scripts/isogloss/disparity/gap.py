"""How much less the features of reference-language phrases respond to the same phrases in other languages."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.stats import ttest_1samp

from isogloss.config.measures import Languages, Statistics
from isogloss.disparity.parallel import ParallelLayer, by_language, parallel_layers
from isogloss.errors import IsoglossError
from isogloss.stats import (
    adjust,
    family_size,
    group_means,
    hierarchical_bootstrap,
    hierarchical_mean,
    or_none,
    percent_below,
    percentile_interval,
    undefined_replicates,
)
from isogloss.tables import write_table
from isogloss.tables.disparity import GROUP_GAP, LANGUAGE_GAP

logger = logging.getLogger(__name__)

_NULLABLE = dict.fromkeys(["gap_pct", "ci_low", "ci_high", "p", "mean_activation"], pl.Float64)


def measure_gap(
    *,
    activations: Sequence[str],
    langs: Sequence[str],
    language_gap: str,
    group_gap: str,
    group_activation: str,
    language_gap_summary: str,
    languages: Languages,
    minimum_phrases: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the four gap tables (paper A, sec. 2.4 and 2.5, eqs. A2, A3 and A3b; Figs. 3, 7, 8; Table 10).

    `activations` are activation tables, one for each block of layers and language; `langs` names the
    language of each; rows are in the order in which languages come there. Per layer, A is the mean over
    features of the mean over a feature's phrases. A phrase without a translation in one of the languages is
    left out in all; `n_phrases` counts those that are used, the tables' metadata those that are left out, by
    layer (`n_untranslated`).

    - language_gap: 100 (A_reference - A_lang) / A_reference, with the p-value of a t-test of the
      features' paired differences, plain (p) and corrected over layers and languages (p_adjusted, of
      `family_size` tests); both are null for the reference;
    - group_gap: the same between the means of the groups' languages, with the reference in the
      high-resource group and without it;
    - group_activation: the groups' means, their languages weighted equally;
    - language_gap_summary: mean and standard deviation of a language's gap over the layers.

    Intervals are percentiles of a bootstrap over features, then phrases; all languages share the
    resamples, and those in which the reference is silent are left out (`undefined_replicates`). What the groups'
    difference says of languages at large is in `group_inference`. A layer whose reference mean is zero has null gaps,
    is left out of the summary, and is named in the tables' metadata (`layers_without_gap`).

    Memory holds one layer's activations (eight bytes a phrase and language, a few times over) and the
    resamples' means.

    Raises `IsoglossError` if a language has no activations, and as `parallel_layers`.
    """
    reference, confidence = languages.reference, statistics.confidence
    paths = by_language(activations, langs)
    names = list(paths)
    absent = {reference, *languages.high_resource, *languages.medium_low_resource} - set(names)
    if absent:
        raise IsoglossError(f"no activations of {', '.join(sorted(absent))}; encode every analysed language first")
    origin = names.index(reference)
    low = [names.index(lang) for lang in languages.medium_low_resource]
    high = {
        "with_reference": [names.index(lang) for lang in languages.high_resource],
        "without_reference": [names.index(lang) for lang in languages.high_resource if lang != reference],
    }

    language_rows: list[dict[str, Any]] = []
    group_rows: list[dict[str, Any]] = []
    activation_rows: list[dict[str, Any]] = []
    gaps: list[Float[np.ndarray, "estimates langs"]] = []
    without_gap: list[int] = []
    n_untranslated: dict[int, int] = {}
    for part in parallel_layers(list(paths.values()), names, ["activation"], minimum_phrases):
        n_untranslated[part.layer] = part.n_untranslated
        estimates = _estimates(part, statistics.bootstrap, seed)
        gap = percent_below(estimates[:, [origin]], estimates)
        if estimates[0, origin] == 0:
            logger.warning("layer %d: the mean activation of %s is 0, its gaps are null", part.layer, reference)
            without_gap.append(part.layer)
        else:
            gaps.append(gap)
        size = {"n_features": len(np.unique(part.features)), "n_phrases": len(part.features)}
        p_values = _p_values(part, origin)
        for row, lang in enumerate(names):
            language_rows.append(
                {"layer": part.layer, "lang": lang, "mean_activation": estimates[0, row]}
                | _with_interval("gap_pct", gap[:, row], confidence)
                | {"p": p_values[row], **size}
            )
        for variant, members in high.items():
            key = {"layer": part.layer, "variant": variant}
            group_gap_estimates = percent_below(_mean(estimates, members), _mean(estimates, low))
            group_rows.append(key | _with_interval("gap_pct", group_gap_estimates, confidence) | size)
            for group, columns in (("high_resource", members), ("medium_low_resource", low)):
                activation_rows.append(
                    key | {"group": group} | _with_interval("mean_activation", _mean(estimates, columns), confidence)
                )

    notes = {**metadata, "layers_without_gap": without_gap, "n_untranslated": n_untranslated}
    corrected = adjust([row["p"] for row in language_rows], statistics.correction)
    frame = pl.DataFrame(language_rows, schema_overrides=_NULLABLE, infer_schema_length=None)
    tested = pl.lit(family_size(corrected), pl.Int32)
    frame = frame.with_columns(pl.Series("p_adjusted", corrected, dtype=pl.Float64), family_size=tested)
    write_table(language_gap, frame, notes, LANGUAGE_GAP)
    for path, rows, contract in ((group_gap, group_rows, GROUP_GAP), (group_activation, activation_rows, None)):
        frame = pl.DataFrame(rows, schema_overrides=_NULLABLE, infer_schema_length=None)
        write_table(path, frame, notes, contract)
    write_table(language_gap_summary, _summary(names, gaps, confidence), notes)


def _estimates(part: ParallelLayer, bootstrap: int, seed: int) -> Float[np.ndarray, "estimates langs"]:
    """Layer score A of each language: on the data in row 0, on each resample below."""
    values = part.values[0]
    replicates = hierarchical_bootstrap(values, part.features, replicates=bootstrap, seed=(seed, part.layer))
    return np.vstack([hierarchical_mean(values, part.features), replicates])


def _mean(estimates: Float[np.ndarray, "estimates langs"], members: Sequence[int]) -> Float[np.ndarray, " estimates"]:
    """Mean of a group's languages; NaN for a group without any."""
    if not members:
        return np.full(len(estimates), np.nan)
    return estimates[:, list(members)].mean(axis=1)


def _with_interval(name: str, estimates: Float[np.ndarray, " estimates"], confidence: float) -> dict[str, Any]:
    low, high = percentile_interval(estimates[1:], confidence)
    undefined = {"undefined_replicates": undefined_replicates(estimates[1:])}
    return {name: or_none(estimates[0]), "ci_low": low, "ci_high": high} | undefined


def _p_values(part: ParallelLayer, origin: int) -> list[float | None]:
    """Two-sided p-value of each language's paired difference from the reference; None where there is no test."""
    means = group_means(part.values[0], part.features)
    if means.shape[1] < 2:
        return [None] * len(means)
    p_values: list[float | None] = []
    for row, mean in enumerate(means):
        difference = means[origin] - mean
        if row == origin:
            p_values.append(None)
        elif not np.ptp(difference):
            # The t statistic divides by the spread, which is zero here: no difference anywhere, or one everywhere.
            p_values.append(1.0 if difference[0] == 0 else 0.0)
        else:
            p_values.append(float(ttest_1samp(difference, 0).pvalue))  # type: ignore[attr-defined]
    return p_values


def _summary(names: list[str], gaps: list[Float[np.ndarray, "estimates langs"]], confidence: float) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for row, lang in enumerate(names):
        of_layers = np.array([gap[:, row] for gap in gaps])
        if not gaps:
            means = {"mean_gap_pct": None, "ci_low": None, "ci_high": None, "undefined_replicates": 0}
        else:
            means = _with_interval("mean_gap_pct", of_layers.mean(axis=0), confidence)
        spread = float(of_layers[:, 0].std(ddof=1)) if len(gaps) > 1 else None
        rows.append({"lang": lang, **means, "std_gap_pct": spread, "n_layers": len(gaps)})
    nullable = dict.fromkeys(["mean_gap_pct", "std_gap_pct", "ci_low", "ci_high"], pl.Float64)
    return pl.DataFrame(rows, schema_overrides=nullable).select(
        "lang", "mean_gap_pct", "std_gap_pct", "n_layers", "ci_low", "ci_high", "undefined_replicates"
    )
