"""Stage `reciprocal`: the activation gap chosen both ways, and how well the codes of translations find one another."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Float32, Int

from isogloss.config.measures import Statistics
from isogloss.disparity.codes import Chosen, LayerCodes, choose, read_codes, same_texts
from isogloss.disparity.parallel import by_language
from isogloss.errors import IsoglossError
from isogloss.residuals.parallel import centred_units
from isogloss.residuals.retrieval import chance, reciprocal_ranks
from isogloss.stats import Grouped, joint_bootstrap, or_none, percent_below, percentile_interval
from isogloss.tables import table_metadata, write_table
from isogloss.tables.disparity import RECIPROCAL_GAP
from isogloss.tables.layers import layers_in

_GAPS = ("gap_from_reference", "gap_from_lang", "symmetric_gap")
_MAGNITUDES = ("magnitude_from_reference", "magnitude_from_lang")
_BOUNDS = ("ceiling", "floor")
_FIRING = ("firing_from_reference", "firing_from_lang")
_CODES = ("code_retrieval", "code_retrieval_reverse", "code_centred")
_MEASURES = (*_GAPS, *_MAGNITUDES, *_BOUNDS, *_FIRING, *_CODES)  # each with its interval
_IN_PERCENT = {*_GAPS, *_MAGNITUDES, *_BOUNDS}
_SIZES = ("n_features_reference", "n_features_lang", "n_texts", "n_wordings")

Estimates = dict[str, Float[np.ndarray, " estimates"]]  # by measure: of the data, then of the resamples


class _Reference(NamedTuple):
    """The reference's codes at a layer, and of the texts that have another wording, those of it."""

    path: str
    layer: int
    codes: LayerCodes
    wordings: LayerCodes


class _Selection(NamedTuple):
    """How features and texts are chosen; the fields are those of `choose`."""

    per_feature: int
    threshold: float
    minimum: int


def measure_reciprocal(
    *,
    codes: Sequence[str],
    langs: Sequence[str],
    reciprocal_gap: str,
    reciprocal_gap_summary: str,
    reference: str,
    per_feature: int,
    threshold: float,
    minimum_phrases: int,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the gap chosen in the reference and in each other language, a row a layer and language, and its means.

    `codes` are tables of `isogloss.sae.codes`, one for each block of layers and language; `langs` names the language of
    each. Paper A chooses features and phrases by the reference's activations (sec. 2.1), which makes any other language
    look weaker. Here language X chooses: of each sampled feature that fires in X, at most `per_feature` texts, those
    with the strongest activations in X that reach `threshold` times its maximum; features with fewer than
    `minimum_phrases` texts are left out. A_X and A_Y are the means over these features of the mean over the feature's
    texts of the activation in X and in Y (eq. A2). The reference itself has no row: against itself all is trivial.

    - gap_from_reference_pct, 100 (A_ref - A_lang) / A_ref, the reference choosing; gap_from_lang_pct,
      100 (A_lang - A_ref) / A_lang, the language choosing: how much weaker the one that did not choose is;
    - symmetric_gap_pct: half of gap_from_reference - gap_from_lang, above zero where the language is weaker whoever
      chooses;
    - firing_from_reference, firing_from_lang: in what share of a feature's texts the language that did not choose fires
      it at all, mean over features; magnitude_from_..._pct: the gap over those texts alone;
    - ceiling_pct: the gap of the reference to itself where it reads another wording of the same fact, over what it
      chose of texts that have one; floor_pct: that of the language where it reads another text (one derangement,
      the same in all layers and languages). A perfect translation lies between;
    - code_retrieval, the mean reciprocal rank of the reference's text by the cosine of centred codes when the
      translation asks, code_retrieval_reverse when the reference asks, and code_centred, the mean cosine of
      translations: as `isogloss.residuals.similarity` has them of residuals, here of the sampled features' maxima;
      code_retrieval_chance is a random order's.

    Columns end in _ci_low and _ci_high where intervals stand, instead of _pct. Gaps and firing: bootstrap over the
    features that either language chose (`isogloss.stats.joint_bootstrap`), then texts, so that both gaps of a replicate
    are of the same features where both chose them; codes: over texts, the same resamples in each layer.

    reciprocal_gap_summary has a row a language: each measure's mean over the layers where it is defined (n_layers: of
    the symmetric gap). What is not defined is null, and the metadata say why (`undefined`: by reason, layers and
    languages). Memory holds the codes of two languages at a layer, dense over the features that fire (a few times
    over), and the resamples' means.

    Raises `IsoglossError` without the reference or another language, for tables of other texts, and where no sampled
    feature fires in any of them.
    """
    paths = by_language(codes, langs)
    others = [lang for lang in paths if lang != reference]
    if reference not in paths or not others:
        raise IsoglossError(
            f"codes of {', '.join(paths) or 'no language'} alone; a gap takes the reference {reference} and another"
            " language"
        )
    selection = _Selection(per_feature, threshold, minimum_phrases)
    resampling = (statistics.bootstrap, seed)
    rows: list[dict[str, Any]] = []
    by_layer: dict[str, list[Estimates]] = {lang: [] for lang in others}
    undefined: dict[str, dict[int, list[str]]] = {}
    for block, path in enumerate(paths[reference]):
        for layer in layers_in(path):
            home = _Reference(path, layer, read_codes(path, layer), read_codes(path, layer, wording=1))
            for lang in others:
                estimates, sizes = _compare(home, paths[lang][block], selection, *resampling)
                by_layer[lang].append(estimates)
                rows.append({"layer": layer, "lang": lang} | _with_intervals(estimates, statistics.confidence) | sizes)
                for reason in _reasons(rows[-1]):
                    undefined.setdefault(reason, {}).setdefault(layer, []).append(lang)
    if not any(row["n_features_reference"] or row["n_features_lang"] for row in rows):
        raise IsoglossError(
            f"{paths[reference][0]}: no sampled feature has {minimum_phrases} texts that make it fire, in any language"
            " or layer; lower reciprocal.feature_stride or gap.minimum_phrases, or train the SAEs longer"
        )
    about = table_metadata(paths[reference][0])
    kept = {name: about.get(name) for name in ("pool", "n_texts", "n_wordings", "n_lacking", "n_alike")}
    notes = {**metadata, **kept, "undefined": undefined}
    types = dict.fromkeys([_column(one) for one in _MEASURES], pl.Float64) | dict.fromkeys(_SIZES, pl.Int32)
    types |= {f"{one}_ci_{end}": pl.Float64 for one in _MEASURES for end in ("low", "high")}
    frame = pl.DataFrame(rows, schema_overrides=types | {"layer": pl.Int32}, infer_schema_length=None)
    write_table(reciprocal_gap, frame, notes, RECIPROCAL_GAP)
    means = [{"lang": lang} | _over_layers(by_layer[lang], statistics.confidence) for lang in others]
    write_table(reciprocal_gap_summary, pl.DataFrame(means, schema_overrides=types), notes)


def _compare(
    home: _Reference, path: str, selection: _Selection, bootstrap: int, seed: int
) -> tuple[Estimates, dict[str, Any]]:
    """All measures of a language (its table is `path`) at a layer, and how much they rest on."""
    theirs = read_codes(path, home.layer)
    same_texts(path, theirs, home.path, home.codes.texts)
    features = np.unique(np.concatenate([[0], *(of.feature for of in (home.codes, home.wordings, theirs))]))
    own, away = home.codes.dense(features), theirs.dense(features)
    from_reference, from_lang = choose(own, **selection._asdict()), choose(away, **selection._asdict())
    far = away[derangement(len(away), seed)] if len(away) > 1 else np.full_like(away, np.nan)
    parts = [
        *_chosen(own, away, from_reference, far),
        *_chosen(away, own, from_lang),
        _worded(home, own, features, from_reference),
    ]
    means = joint_bootstrap(parts, replicates=bootstrap, seed=(seed, home.layer))
    sizes = {
        "code_retrieval_chance": chance(len(away)),
        "n_features_reference": len(np.unique(from_reference.feature)),
        "n_features_lang": len(np.unique(from_lang.feature)),
        "n_texts": len(away),
        "n_wordings": len(home.wordings.texts),
    }
    return _gaps(means) | _retrieval(own, away, bootstrap, seed), sizes


def _gaps(means: Sequence[Float[np.ndarray, "estimates _series"]]) -> Estimates:
    """Gaps and firing from the means of both choices, of their pairs where both fire, and of other wordings."""
    gaps = [percent_below(part[:, 0], part[:, 1]) for part in means]
    return {
        "gap_from_reference": gaps[0],
        "gap_from_lang": gaps[2],
        "symmetric_gap": (gaps[0] - gaps[2]) / 2,
        "magnitude_from_reference": gaps[1],
        "magnitude_from_lang": gaps[3],
        "ceiling": gaps[4],
        "floor": percent_below(means[0][:, 0], means[0][:, 3]),
        "firing_from_reference": means[0][:, 2],
        "firing_from_lang": means[2][:, 2],
    }


def _chosen(
    own: Float32[np.ndarray, "texts features"],
    other: Float32[np.ndarray, "texts features"],
    chosen: Chosen,
    *more: Float32[np.ndarray, "texts features"],
) -> tuple[Grouped, Grouped]:
    """Activations of the language that chose, of the other, whether that fires, and `more`; then where it does fire."""
    feature, text = chosen
    here, there = own[text, feature], other[text, feature]
    both = there > 0
    return (
        Grouped(np.stack([here, there, both, *(codes[text, feature] for codes in more)]), feature),
        Grouped(np.stack([here[both], there[both]]), feature[both]),
    )


def _worded(
    home: _Reference,
    own: Float32[np.ndarray, "texts features"],
    features: Int[np.ndarray, " features"],
    chosen: Chosen,
) -> Grouped:
    """Activations of the texts chosen that have another wording, and of that."""
    row = np.full(len(own), -1)
    row[np.searchsorted(home.codes.texts, home.wordings.texts)] = np.arange(len(home.wordings.texts))
    there = row[chosen.text] >= 0
    feature, text = chosen.feature[there], chosen.text[there]
    return Grouped(np.stack([own[text, feature], home.wordings.dense(features)[row[text], feature]]), feature)


def derangement(texts: int, seed: int) -> Int[np.ndarray, " texts"]:
    """Another text for each, no two the same: the next in a random circle of all."""
    circle = np.random.default_rng([seed, texts]).permutation(texts)
    other = np.empty(texts, dtype=np.int64)
    other[circle] = np.roll(circle, -1)
    return other


def _retrieval(
    home: Float32[np.ndarray, "texts features"], away: Float32[np.ndarray, "texts features"], bootstrap: int, seed: int
) -> Estimates:
    """Mean over texts of the reciprocal ranks of the reference's text and of the translation, and of their cosine."""
    own, theirs = (centred_units(codes, codes.mean(axis=0, keepdims=True, dtype=np.float64)) for codes in (home, away))
    cosines = np.einsum("tf,tf->t", own, theirs)
    values = np.stack([reciprocal_ranks(theirs, own), reciprocal_ranks(own, theirs), cosines])
    (means,) = joint_bootstrap([Grouped(values, np.arange(len(home)))], replicates=bootstrap, seed=(seed,))
    return dict(zip(_CODES, means.T, strict=True))


def _column(measure: str) -> str:
    return f"{measure}_pct" if measure in _IN_PERCENT else measure


def _with_intervals(estimates: Estimates, confidence: float) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    for measure in _MEASURES:
        values = estimates[measure]
        row[_column(measure)] = or_none(values[0])
        interval = percentile_interval(values[1:], confidence)
        row[f"{measure}_ci_low"], row[f"{measure}_ci_high"] = interval
    return row


def _over_layers(layers: Sequence[Estimates], confidence: float) -> dict[str, Any]:
    """Each measure's mean over the layers where it is defined, with its interval."""
    means: Estimates = {}
    for measure in _MEASURES:
        defined = [of[measure] for of in layers if np.isfinite(of[measure][0])]
        means[measure] = np.mean(defined, axis=0) if defined else np.full_like(layers[0][measure], np.nan)
    n_layers = sum(bool(np.isfinite(of["symmetric_gap"][0])) for of in layers)
    return _with_intervals(means, confidence) | {"n_layers": n_layers}


def _reasons(row: Mapping[str, Any]) -> list[str]:
    """Why measures of a row are null."""
    reasons = {
        "no feature fires in the reference": not row["n_features_reference"],
        "no feature fires in the language": not row["n_features_lang"],
        "no text has another wording": not row["n_wordings"],
        "a text's code is the mean of its language": row["code_centred"] is None,
    }
    return [reason for reason, holds in reasons.items() if holds]
