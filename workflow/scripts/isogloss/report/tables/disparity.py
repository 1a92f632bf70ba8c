"""HTML tables of paper A, and of what its numbers stand on: SAEs, phrases and translations."""

import polars as pl

from isogloss.report.shared.wording import GROUP_TITLES, VARIANT_TITLES
from isogloss.report.tables.sheet import (
    FINE,
    LANG,
    LAYER,
    N_FEATURES,
    N_PHRASES,
    P_ADJUSTED,
    PERCENT,
    QUESTIONS,
    SAE_COLUMNS,
    SHARE,
    TASK,
    TAUGHT,
    Column,
    P,
    bounded,
    decimals,
    probability,
    sheet,
    text,
    whole,
)

_CHANCE, _PHRASES = Column("chance", "chance (%)", SHARE), whole("n", "phrases")
_VARIANT = text("variant", "variant", VARIANT_TITLES)

SIMILARITY = sheet(
    LAYER, LANG, bounded("cosine", "cosine to the reference", FINE, "ci"),
    bounded("cosine_shuffled", "cosine, shuffled pairs", FINE, "cosine_shuffled_ci"), _PHRASES,
    bounded("centred", "cosine, each language's mean subtracted", FINE, "centred_ci"),
    bounded("retrieval", "retrieval (mean reciprocal rank), translation asks", FINE, "retrieval_ci"),
    bounded("retrieval_reverse", "retrieval, reference asks", FINE, "retrieval_reverse_ci"),
    Column("retrieval_chance", "retrieval by chance", FINE), whole("retrieval_n", "texts ranked"),
)  # fmt: skip

GROUP_GAP = sheet(LAYER, _VARIANT, bounded("gap_pct", "activation gap (%)", PERCENT, "ci"))

LANGUAGE_GAP_SUMMARY = sheet(
    LANG, bounded("mean_gap_pct", "mean gap over layers (%)", PERCENT, "ci"),
    Column("std_gap_pct", "standard deviation over layers (points)", PERCENT), whole("n_layers", "layers"),
)  # fmt: skip

LANGUAGE_GAP = sheet(
    LAYER, LANG, Column("mean_activation", "mean activation (SAE units)", FINE),
    bounded("gap_pct", "gap to the reference (%)", PERCENT, "ci"),
    probability("p_adjusted", "p of no difference, corrected"), N_FEATURES, N_PHRASES,
    note="p tests that features answer to the language as to the reference. The choice of the reference's"
    " phrases as top activators alone breaks that, so a small p does not show a disparity.",
)  # fmt: skip

_BOTH_WAYS = (
    bounded("gap_from_reference_pct", "gap chosen in the reference (%)", PERCENT, "gap_from_reference_ci"),
    bounded("gap_from_lang_pct", "the reference's gap chosen in the language (%)", PERCENT, "gap_from_lang_ci"),
    bounded("symmetric_gap_pct", "symmetric gap (%)", PERCENT, "symmetric_gap_ci"),
    bounded("ceiling_pct", "ceiling: another wording in the reference (%)", PERCENT, "ceiling_ci"),
    bounded("floor_pct", "floor: another text in the language (%)", PERCENT, "floor_ci"),
    bounded("firing_from_reference", "language fires what the reference chose (%)", SHARE, "firing_from_reference_ci"),
    bounded("firing_from_lang", "reference fires what the language chose (%)", SHARE, "firing_from_lang_ci"),
    bounded(
        "magnitude_from_reference_pct", "gap chosen in the reference, where both fire (%)", PERCENT,
        "magnitude_from_reference_ci",
    ),
    bounded(
        "magnitude_from_lang_pct", "reference's gap chosen in the language, where both fire (%)", PERCENT,
        "magnitude_from_lang_ci",
    ),
    bounded("code_retrieval", "retrieval by codes (mean reciprocal rank), translation asks", FINE, "code_retrieval_ci"),
    bounded("code_retrieval_reverse", "retrieval by codes, reference asks", FINE, "code_retrieval_reverse_ci"),
    bounded("code_centred", "cosine of centred codes", FINE, "code_centred_ci"),
)  # fmt: skip

RECIPROCAL_GAP_SUMMARY = sheet(LANG, *_BOTH_WAYS, whole("n_layers", "layers"))

RECIPROCAL_GAP = sheet(
    LAYER, LANG, *_BOTH_WAYS, Column("code_retrieval_chance", "retrieval by chance", FINE),
    whole("n_features_reference", "features of the reference"), whole("n_features_lang", "features of the language"),
    whole("n_texts", "texts"),
)  # fmt: skip

GROUP_ACTIVATION = sheet(
    LAYER, text("group", "group", GROUP_TITLES), _VARIANT,
    bounded("mean_activation", "mean activation (SAE units)", FINE, "ci"),
)  # fmt: skip

ACTIVATION_CONTROLS = sheet(
    LAYER, LANG, bounded("gap_pct", "gap, own feature (%)", PERCENT, "gap_ci"),
    bounded("gap_equal_tokens_pct", "gap at equal token counts (%)", PERCENT, "gap_equal_tokens_ci"),
    bounded("gap_shuffled_pct", "gap, feature of another phrase (%)", PERCENT, "gap_shuffled_ci"),
    bounded("gap_random_pct", "gap, random feature (%)", PERCENT, "gap_random_ci"),
    Column("token_ratio", "tokens / reference's tokens", decimals(2)),
    Column("characters_per_token", "characters per token", decimals(2)), _PHRASES,
)  # fmt: skip

ACCURACY = sheet(
    TASK, LANG, text("metric", "metric"), bounded("accuracy", "accuracy (%)", SHARE, "ci"),
    Column("stderr", "standard error (points)", decimals(2, 100)), _CHANCE, QUESTIONS,
    rows=lambda frame: frame.filter(adapter="base"),
)  # fmt: skip

ACCURACY_CHANGE = sheet(
    text("adapter", "adapter"), TASK, LANG, bounded("accuracy", "accuracy (%)", SHARE, "ci"),
    bounded("difference", "change against base (points)", SHARE, "difference_ci"), probability("p", "p (McNemar)"),
    P_ADJUSTED, QUESTIONS,
    rows=lambda frame: frame.filter(pl.col("adapter") != "base"),
)  # fmt: skip

ACCURACY_BY_TEACHING = sheet(
    text("adapter", "adapter"), TASK, LANG, TAUGHT, bounded("accuracy", "accuracy (%)", SHARE, "ci"), _CHANCE, QUESTIONS
)  # fmt: skip

GAP_ACCURACY_CORRELATION = sheet(
    TASK, bounded("r", "Pearson's r", decimals(2), "ci"), P, P_ADJUSTED, whole("n", "languages")
)  # fmt: skip

ALIGNMENT_GAIN = sheet(
    text("run", "run"), LAYER, LANG, Column("before", "before (SAE units)", FINE),
    Column("after", "after (SAE units)", FINE), bounded("gain_pct", "gain (%)", PERCENT, "ci"),
    bounded("gain_held_out_pct", "gain, held-out features (%)", PERCENT, "held_out_ci"),
    bounded("retention_pct", "retention of the reference (%)", PERCENT, "retention_ci"), N_FEATURES, N_PHRASES,
)  # fmt: skip

SAE_QUALITY = sheet(LAYER, *SAE_COLUMNS)

REPRODUCTION = sheet(
    LAYER, whole("records", "records measured"), Column("same_peak_pct", "same peak token (%)", PERCENT),
    Column("median_correlation", "median correlation over tokens", FINE),
    Column("lowest_correlation", "lowest correlation", FINE),
    Column("median_scale", "median of measured / recorded maximum", decimals(2)),
)  # fmt: skip

TRANSLATION_QUALITY = sheet(
    LANG, whole("n", "phrases"), whole("ok", "kept"), Column("kept_pct", "kept (%)", PERCENT), whole("empty", "empty"),
    whole("runaway", "runaway"), whole("too_long", "too long"), whole("low_chrf", "low chrF"),
    bounded("chrf", "round-trip chrF", PERCENT, "ci"),
    Column("characters_ratio", "characters / reference's characters", decimals(2)),
)  # fmt: skip

PHRASE_COUNTS = sheet(
    LAYER, whole("documents", "documents searched"), whole("records", "records read"),
    whole("tokens", "tokens searched"), whole("features_sampled", "features sampled"),
    whole("features_with_phrases", "features with phrases"), whole("windows", "windows found"),
    whole("duplicates_dropped", "duplicates dropped"), whole("records_malformed", "malformed records"),
    whole("unknown_tokens_dropped", "with unknown tokens"), whole("bos_peaks_dropped", "strongest at BOS"),
    whole("empty_dropped", "blank"), whole("n_phrases", "phrases kept"),
)  # fmt: skip
"""Kinds of model have some of the columns each."""
