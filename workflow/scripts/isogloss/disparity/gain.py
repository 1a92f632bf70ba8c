"""What alignment did to the activations: gain of each language, retention of the reference under each."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.config.measures import Statistics
from isogloss.disparity.holdout import HoldOut, held_out_features
from isogloss.disparity.parallel import ParallelLayer, by_language, parallel_layers
from isogloss.errors import IsoglossError
from isogloss.stats import (
    hierarchical_bootstrap,
    hierarchical_mean,
    or_none,
    percentile_interval,
    undefined_replicates,
)
from isogloss.tables import write_table
from isogloss.tables.disparity import ALIGNMENT_GAIN, ALIGNMENT_RETENTION

logger = logging.getLogger(__name__)

_INTEGERS: tuple[str, ...] = (
    "layer",
    "target_layer",
    "n_features",
    "n_phrases",
    "n_features_held_out",
    "undefined_replicates",
)
_FLOATS: tuple[str, ...] = (
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
    "retention_held_out_ci_low",
    "retention_held_out_ci_high",
)


def measure_gain(
    *,
    base: Sequence[str],
    base_langs: Sequence[str],
    adapted: Sequence[str],
    adapted_runs: Sequence[str],
    adapted_langs: Sequence[str],
    alignment_gain: str,
    alignment_retention: str,
    target_layers: Mapping[str, int],
    reference: str,
    hold_out: HoldOut,
    minimum_phrases: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write gain and retention of every alignment run (paper A, eq. A5; Tables 5 to 8; Figs. 4, 5).

    `base` and `adapted` are activation tables, each with its language, the latter with its run too.
    Means are the gap's: over features of the mean over a feature's phrases.

    - gain_pct = 100 (after - before) / before;
    - retention_pct = 100 after / before of the reference, the same on all rows of a run and layer.

    The headline is of the features that were held out of training (`hold_out`), whose texts it never saw either: what
    carries over to the unseen. These are the *_held_out columns, at the run's target layer; at other layers no feature
    was trained on, though its texts may have been, and they are null. The other columns are of all features of the
    layer, as in the paper: in-sample, since most of them were trained on.

    `alignment_retention` has the reference's retention at the target layer under each language's pairs (Table 6): over
    the phrases that have a translation into that language, whether or not into the others. Where every phrase has
    them all, the languages of a run do not differ.

    Intervals bootstrap features, then phrases, before and after and all languages sharing the
    resamples; `undefined_replicates` are those whose mean before is zero. A mean of zero before gives null
    percentages. In `alignment_gain` a phrase without a translation in one of the run's languages, before or after, is
    left out in all; `n_phrases` counts those that are used, the metadata those that are left out, by run and layer
    (`n_untranslated`). Memory holds one layer's activations of a run, eight bytes a phrase, language and adapter.

    Raises `IsoglossError` if a run lacks the reference, or the base a run's language, and as
    `parallel_layers`.
    """
    before_paths = by_language(base, base_langs)
    rows: list[dict[str, Any]] = []
    retained: list[dict[str, Any]] = []
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
                unseen = _unseen(part, hold_out)
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
        pairs = _pairs(before_paths, after_paths, reference, target_layer, minimum_phrases)
        retained += [{"run": run} | _retention(part, lang, hold_out, statistics, seed) for lang, part in pairs]
    integers = dict.fromkeys(_INTEGERS, pl.Int32)
    floats = dict.fromkeys(_FLOATS, pl.Float64)
    write_table(
        alignment_gain,
        pl.DataFrame(rows, schema_overrides=integers | floats, infer_schema_length=None),
        {**metadata, "n_untranslated": n_untranslated},
        ALIGNMENT_GAIN,
    )
    frame = pl.DataFrame(retained, infer_schema_length=None)
    write_table(alignment_retention, frame, metadata, ALIGNMENT_RETENTION)


def _unseen(part: ParallelLayer, hold_out: HoldOut) -> np.ndarray:
    """Which phrases are of held-out features: of all that have phrases, as training has them."""
    return np.isin(part.features, held_out_features(part.layer, part.with_phrases, hold_out))


def _pairs(
    before: Mapping[str, list[str]], after: Mapping[str, list[str]], reference: str, layer: int, minimum_phrases: int
) -> Iterator[tuple[str, ParallelLayer]]:
    """A layer's phrases that a language has, for each of a run; series: reference, language, before, then after."""
    for lang in after:
        if lang != reference:
            series = [before[reference], before[lang], after[reference], after[lang]]
            for part in parallel_layers(series, [reference, lang] * 2, ["activation"], minimum_phrases, only=layer):
                yield lang, part


def _retention(part: ParallelLayer, lang: str, hold_out: HoldOut, statistics: Statistics, seed: int) -> dict[str, Any]:
    """The reference's retention under the pairs of a language."""
    unseen = _unseen(part, hold_out)
    columns: dict[str, Any] = {"layer": part.layer, "lang": lang}
    undefined = []
    for name, interval, chosen in (
        ("retention_held_out_pct", "held_out_ci", unseen),
        ("retention_pct", "ci", np.ones_like(unseen)),
    ):
        kept = _percent_kept(_estimates(part, chosen, statistics.bootstrap, seed), 0)
        low, high = percentile_interval(kept[1:], statistics.confidence)
        columns |= {name: or_none(kept[0]), f"{interval}_low": low, f"{interval}_high": high}
        undefined.append(kept[1:])
    sizes = {"n_features_held_out": part.features[unseen], "n_features": part.features}
    return columns | {
        **{name: len(np.unique(features)) for name, features in sizes.items()},
        "n_phrases": len(part.features),
        "undefined_replicates": undefined_replicates(*undefined),
    }


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
    gain_held, retention_held = _percent_kept(held, row) - 100, _percent_kept(held, origin)
    series = [one[1:] for one in (gain, retention, gain_held, retention_held)]
    intervals = [percentile_interval(one, confidence) for one in series]
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
        "retention_held_out_pct": or_none(retention_held[0]),
        "retention_held_out_ci_low": intervals[3].low,
        "retention_held_out_ci_high": intervals[3].high,
        "undefined_replicates": undefined_replicates(*series),
    }
