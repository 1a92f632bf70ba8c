"""What else could make an activation gap: the text, the feature's popularity, the number of tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from statsmodels.regression.linear_model import WLS

from isogloss.config.measures import Statistics
from isogloss.disparity.parallel import by_language, parallel_layers
from isogloss.errors import IsoglossError
from isogloss.stats import (
    UNDEFINED,
    Interval,
    hierarchical_bootstrap,
    hierarchical_mean,
    or_none,
    percentile_interval,
    undefined_replicates,
)
from isogloss.tables import write_table

_KINDS = {"gap": "activation", "gap_shuffled": "shuffled_activation", "gap_random": "random_activation"}
_COLUMNS = [*_KINDS.values(), "n_tokens", "n_characters"]
_GOOD = [f"gap_good_translation_{end}" for end in ("pct", "ci_low", "ci_high")]


def measure_controls(
    *,
    activations: Sequence[str],
    langs: Sequence[str],
    activation_controls: str,
    reference: str,
    minimum_phrases: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the controls of the gap, a row a layer and language.

    - gap_pct: the gap of the phrases' own features (paper A, eq. A3b);
    - gap_shuffled_pct, gap_random_pct: the same texts measured with another phrase's feature and with
      a random one. Such features hardly respond, so their differences are given relative to the
      reference's *own-feature* mean, 100 (s_reference - s_lang) / A_reference: on one scale with
      gap_pct, and near zero if the gap belongs to the features that the texts are about;
    - token_ratio: mean over phrases of tokens / reference tokens; characters_per_token: of all texts;
    - gap_equal_tokens_pct: the gap where a phrase has as many tokens as in the reference, the
      intercept of a least-squares line of the phrases' 100 (a_reference - a_lang) / A_reference on
      the log token ratio. Phrases weigh 1 / (phrases of their feature), so that without a slope it
      is gap_pct; its interval (gap_equal_tokens_ci_low, _ci_high) is clustered by feature. Where all
      ratios are equal there is no slope: the plain mean, without interval. Where no phrase has a
      ratio near 1 the intercept is an extrapolation; token_ratio tells.

    - gap_good_translation_pct: the gap over the phrases whose translation is good, those with a round-trip
      chrF at or above the language's median over this layer's phrases (n_good_translation of them), with
      the reference's mean over the same phrases. If bad translations made the gap, it would be smaller
      here. Null where no round trip was made.

    The other intervals are the gap's bootstrap (`measure_gap`). A phrase without a translation in one of
    the languages is left out in all; `n` counts those that are used, the metadata those that are left
    out, by layer (`n_untranslated`). Memory holds one layer's values, eight bytes a phrase, language and
    measure.

    Raises `IsoglossError` if the reference has no activations or a text no tokens, and as
    `parallel_layers`.
    """
    bootstrap, confidence = statistics.bootstrap, statistics.confidence
    paths = by_language(activations, langs)
    names = list(paths)
    if reference not in paths:
        raise IsoglossError(f"no activations of the reference {reference}; encode it before the controls")
    origin = names.index(reference)

    rows: list[dict[str, Any]] = []
    n_untranslated: dict[int, int] = {}
    for part in parallel_layers(list(paths.values()), names, _COLUMNS, minimum_phrases, optional=["chrf"]):
        n_untranslated[part.layer] = part.n_untranslated
        own, tokens, characters = part.values[0], part.values[3], part.values[4]
        if not tokens.all():
            lang = names[int(np.argwhere(tokens == 0)[0, 0])]
            raise IsoglossError(f"layer {part.layer}: a phrase in {lang} has no tokens; check its translation")
        gaps = {
            kind: _relative_gap(own[origin], part.values[column], part.features, origin, bootstrap, (seed, part.layer))
            for column, kind in enumerate(_KINDS)
        }
        scale = hierarchical_mean(own, part.features)[origin]
        for row, lang in enumerate(names):
            record: dict[str, Any] = {"layer": part.layer, "lang": lang}
            for kind, estimates in gaps.items():
                interval = percentile_interval(estimates[1:, row], confidence)
                record[f"{kind}_pct"] = or_none(estimates[0, row])
                record[f"{kind}_ci_low"], record[f"{kind}_ci_high"] = interval
            draws = [estimates[1:, row] for estimates in gaps.values()]
            record["token_ratio"] = float((tokens[row] / tokens[origin]).mean())
            record["characters_per_token"] = float(characters[row].sum() / tokens[row].sum())
            if scale == 0:
                intercept, interval = None, UNDEFINED
            else:
                intercept, interval = gap_at_equal_tokens(
                    (own[origin] - own[row]) / scale * 100,
                    np.log(tokens[row] / tokens[origin]),
                    part.features,
                    confidence,
                )
            record["gap_equal_tokens_pct"] = intercept
            record["gap_equal_tokens_ci_low"], record["gap_equal_tokens_ci_high"] = interval
            good = _good_translations(part.optional[0, row])
            record |= dict.fromkeys(_GOOD) | {"n_good_translation": int(good.sum())}
            if good.any():
                pair = own[[origin, row]][:, good]
                estimates = _relative_gap(pair[0], pair, part.features[good], 0, bootstrap, (seed, part.layer))[:, 1]
                draws.append(estimates[1:])
                record |= zip(
                    _GOOD, (or_none(estimates[0]), *percentile_interval(estimates[1:], confidence)), strict=True
                )
            record |= {"undefined_replicates": undefined_replicates(*draws), "n": len(part.features)}
            rows.append(record)
    integers = dict.fromkeys(["layer", "n", "n_good_translation", "undefined_replicates"], pl.Int32)
    numbers = {name: pl.Float64 for name in rows[0] if name not in ("lang", *integers)}
    write_table(
        activation_controls,
        pl.DataFrame(rows, schema_overrides=integers | numbers),
        {**metadata, "n_untranslated": n_untranslated},
    )


def _relative_gap(
    own: Float[np.ndarray, " phrases"],
    values: Float[np.ndarray, "langs phrases"],
    features: Int[np.ndarray, " phrases"],
    origin: int,
    bootstrap: int,
    seed: Sequence[int],
) -> Float[np.ndarray, "estimates langs"]:
    """Difference of `values` from the reference's (`origin`), in percent of the mean of its `own` features.

    Row 0 is of the data, the others of the resamples.
    """
    series = np.vstack([own[None], values])
    replicates = hierarchical_bootstrap(series, features, replicates=bootstrap, seed=seed)
    estimates = np.vstack([hierarchical_mean(series, features), replicates])
    scale = np.where(estimates[:, [0]] == 0, np.nan, estimates[:, [0]])
    return (estimates[:, [1 + origin]] - estimates[:, 1:]) / scale * 100


def _good_translations(chrf: Float[np.ndarray, " phrases"]) -> Bool[np.ndarray, " phrases"]:
    """The phrases whose chrF reaches the median of those that have one (NaN: none)."""
    scored = ~np.isnan(chrf)
    if not scored.any():
        return scored
    return scored & (chrf >= np.median(chrf[scored]))


def gap_at_equal_tokens(
    gap_pct: Float[np.ndarray, " phrases"],
    log_ratio: Float[np.ndarray, " phrases"],
    features: Int[np.ndarray, " phrases"],
    confidence: float,
) -> tuple[float, Interval]:
    """Intercept of the phrases' gaps on their log token ratio, and its interval clustered by feature.

    Features weigh alike. The plain mean, without interval, if all ratios are equal or there are
    fewer than three features.
    """
    _, inverse, sizes = np.unique(features, return_inverse=True, return_counts=True)
    weights = 1 / sizes[inverse]
    if not np.ptp(log_ratio) or len(sizes) < 3:
        return float(np.average(gap_pct, weights=weights)), UNDEFINED
    design = np.column_stack([np.ones_like(log_ratio), log_ratio])
    model = WLS(gap_pct, design, weights=weights)  # type: ignore[arg-type]
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": inverse}, use_t=True)
    low, high = fit.conf_int(alpha=1 - confidence)[0]
    return float(fit.params[0]), Interval(float(low), float(high))
