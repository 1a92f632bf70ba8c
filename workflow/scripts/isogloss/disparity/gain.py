"""What alignment did to the activations: gain of each language, retention of the reference."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.config.measures import Statistics
from isogloss.disparity.holdout import held_out_mask
from isogloss.disparity.parallel import ParallelLayer, by_language, parallel_layers
from isogloss.errors import IsoglossError
from isogloss.stats import hierarchical_bootstrap, hierarchical_mean, or_none, percentile_interval
from isogloss.tables import write_table
from isogloss.tables.contract import ALIGNMENT_GAIN

logger = logging.getLogger(__name__)

_FLOATS = (
    "before",
    "after",
    "gain_pct",
    "ci_low",
    "ci_high",
    "retention_pct",
    "retention_ci_low",
    "retention_ci_high",
    "gain_held_out_pct",
    "held_out_ci_low",
    "held_out_ci_high",
    "retention_held_out_pct",
)


def measure_gain(
    *,
    base: Sequence[str],
    base_langs: Sequence[str],
    adapted: Sequence[str],
    adapted_runs: Sequence[str],
    adapted_langs: Sequence[str],
    alignment_gain: str,
    target_layers: Mapping[str, int],
    reference: str,
    held_out: float,
    minimum_phrases: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the gain and retention of every alignment run (paper A, eq. A5; Tables 5 to 8; Figs. 4, 5).

    `base` and `adapted` are activation tables, each with its language, the latter with its run too.
    Means are the gap's: over features of the mean over a feature's phrases.

    - gain_pct = 100 (after - before) / before;
    - retention_pct = 100 after / before of the reference, the same on all rows of a run and layer.

    These columns are of all features of the layer, as in the paper. At the run's target layer the
    *_held_out columns are of the features that were held out of training (`held_out`, the share),
    whose texts it never saw either: what carries over to the unseen. At other layers no feature was
    trained on, though its texts may have been, and these columns are null.

    Intervals bootstrap features, then phrases, before and after and all languages sharing the
    resamples. A mean of zero before gives null percentages. A phrase without a translation in one of the
    run's languages, before or after, is left out in all; `n_phrases` counts those that are used, the
    metadata those that are left out, by run and layer (`n_untranslated`). Memory holds one layer's
    activations of a run, eight bytes a phrase, language and adapter.

    Raises `IsoglossError` if a run lacks the reference, or the base a run's language, and as
    `parallel_layers`.
    """
    before_paths = by_language(base, base_langs)
    rows: list[dict[str, Any]] = []
    n_untranslated: dict[str, dict[int, int]] = {}
    confidence = statistics.confidence
    for run, target_layer in target_layers.items():
        chosen = [index for index, name in enumerate(adapted_runs) if name == run]
        after_paths = by_language([adapted[i] for i in chosen], [adapted_langs[i] for i in chosen])
        lacking = {reference, *after_paths} - (before_paths.keys() & after_paths.keys())
        if lacking:
            raise IsoglossError(
                f"run {run}: {', '.join(sorted(lacking))} not encoded both with and without the adapter; encode both"
            )
        names = list(after_paths)
        series = [before_paths[lang] for lang in names] + [after_paths[lang] for lang in names]
        n_untranslated[run] = {}
        for part in parallel_layers(series, names * 2, ["activation"], minimum_phrases):
            n_untranslated[run][part.layer] = part.n_untranslated
            unseen = np.zeros(len(part.features), dtype=bool)
            if part.layer == target_layer:
                unseen = held_out_mask(part.layer, part.features, held_out, seed)
                if not unseen.any():
                    logger.warning("run %s, layer %d: no feature is held out", run, part.layer)
            key = {
                "run": run,
                "layer": part.layer,
                "target_layer": target_layer,
                "is_target": part.layer == target_layer,
                "n_features": len(np.unique(part.features)),
                "n_phrases": len(part.features),
                "n_features_held_out": len(np.unique(part.features[unseen])),
            }
            whole = _estimates(part, np.ones_like(unseen), statistics.bootstrap, seed)
            held = _estimates(part, unseen, statistics.bootstrap, seed)
            for row, lang in enumerate(names):
                rows.append({**key, "lang": lang} | _columns(whole, held, row, names.index(reference), confidence))
    integers = dict.fromkeys(["layer", "target_layer", "n_features", "n_phrases", "n_features_held_out"], pl.Int32)
    floats = dict.fromkeys(_FLOATS, pl.Float64)
    write_table(
        alignment_gain,
        pl.DataFrame(rows, schema_overrides=integers | floats, infer_schema_length=None),
        {**metadata, "n_untranslated": n_untranslated},
        ALIGNMENT_GAIN,
    )


def _estimates(
    part: ParallelLayer, chosen: np.ndarray, bootstrap: int, seed: int
) -> Float[np.ndarray, "estimates adapted langs"]:
    """Layer scores before and after, of the `chosen` phrases; row 0 the data, then resamples; NaN without phrases."""
    values, features = part.values[0][:, chosen], part.features[chosen]
    if not len(features):
        return np.full((1, 2, len(values) // 2), np.nan)
    replicates = hierarchical_bootstrap(values, features, replicates=bootstrap, seed=(seed, part.layer))
    means = hierarchical_mean(values, features)[None]
    return np.concatenate([means, replicates.reshape(-1, len(values))]).reshape(-1, 2, len(values) // 2)


def _percent_kept(estimates: Float[np.ndarray, "estimates adapted langs"], row: int) -> Float[np.ndarray, " estimates"]:
    """100 after / before; NaN where before is zero."""
    before, after = estimates[:, 0, row], estimates[:, 1, row]
    return after / np.where(before == 0, np.nan, before) * 100


def _columns(
    whole: Float[np.ndarray, "estimates adapted langs"],
    held: Float[np.ndarray, "estimates_held adapted langs"],
    row: int,
    origin: int,
    confidence: float,
) -> dict[str, Any]:
    gain, retention = _percent_kept(whole, row) - 100, _percent_kept(whole, origin)
    gain_held = _percent_kept(held, row) - 100
    intervals = [percentile_interval(of[1:], confidence) for of in (gain, retention, gain_held)]
    return {
        "before": or_none(whole[0, 0, row]),
        "after": or_none(whole[0, 1, row]),
        "gain_pct": or_none(gain[0]),
        "ci_low": intervals[0].low,
        "ci_high": intervals[0].high,
        "retention_pct": or_none(retention[0]),
        "retention_ci_low": intervals[1].low,
        "retention_ci_high": intervals[1].high,
        "gain_held_out_pct": or_none(gain_held[0]),
        "held_out_ci_low": intervals[2].low,
        "held_out_ci_high": intervals[2].high,
        "retention_held_out_pct": or_none(_percent_kept(held, origin)[0]),
    }
