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
    decimals,
    measured,
    probability,
    sheet,
    text,
    whole,
)

_CHANCE, _PHRASES, _VARIANT = (
    Column("chance", "chance (%)", SHARE),
    whole("n", "phrases"),
    text("variant", "variant", VARIANT_TITLES),
)

SIMILARITY = sheet(
    LAYER, LANG, measured("cosine", "cosine to the reference", FINE),
    measured("cosine_shuffled", "cosine, shuffled pairs", FINE, "cosine_shuffled_"), _PHRASES,
)  # fmt: skip

GROUP_GAP = sheet(LAYER, _VARIANT, measured("gap_pct", "activation gap (%)", PERCENT))

LANGUAGE_GAP_SUMMARY = sheet(
    LANG, measured("mean_gap_pct", "mean gap over layers (%)", PERCENT),
    Column("std_gap_pct", "standard deviation over layers (points)", PERCENT), whole("n_layers", "layers"),
)  # fmt: skip

LANGUAGE_GAP = sheet(
    LAYER, LANG, Column("mean_activation", "mean activation (SAE units)", FINE),
    measured("gap_pct", "gap to the reference (%)", PERCENT),
    probability("p_adjusted", "p of no difference, corrected"), N_FEATURES, N_PHRASES,
    note="p tests that features answer to the language as to the reference. The choice of the reference's"
    " phrases as top activators alone breaks that, so a small p does not show a disparity.",
)  # fmt: skip

GROUP_ACTIVATION = sheet(
    LAYER, text("group", "group", GROUP_TITLES), _VARIANT,
    measured("mean_activation", "mean activation (SAE units)", FINE),
)  # fmt: skip

ACTIVATION_CONTROLS = sheet(
    LAYER, LANG, measured("gap_pct", "gap, own feature (%)", PERCENT, "gap_"),
    measured("gap_equal_tokens_pct", "gap at equal token counts (%)", PERCENT, "gap_equal_tokens_"),
    measured("gap_shuffled_pct", "gap, feature of another phrase (%)", PERCENT, "gap_shuffled_"),
    measured("gap_random_pct", "gap, random feature (%)", PERCENT, "gap_random_"),
    Column("token_ratio", "tokens / reference's tokens", decimals(2)),
    Column("characters_per_token", "characters per token", decimals(2)), _PHRASES,
)  # fmt: skip

ACCURACY = sheet(
    TASK, LANG, text("metric", "metric"), measured("accuracy", "accuracy (%)", SHARE),
    Column("stderr", "standard error (points)", decimals(2, 100)), _CHANCE, QUESTIONS,
    rows=lambda frame: frame.filter(adapter="base"),
)  # fmt: skip

ACCURACY_CHANGE = sheet(
    text("adapter", "adapter"), TASK, LANG, measured("accuracy", "accuracy (%)", SHARE),
    measured("difference", "change against base (points)", SHARE, "difference_"), probability("p", "p (McNemar)"),
    P_ADJUSTED, QUESTIONS,
    rows=lambda frame: frame.filter(pl.col("adapter") != "base"),
)  # fmt: skip

ACCURACY_BY_TEACHING = sheet(
    text("adapter", "adapter"), TASK, LANG, TAUGHT, measured("accuracy", "accuracy (%)", SHARE), _CHANCE, QUESTIONS
)  # fmt: skip

GAP_ACCURACY_CORRELATION = sheet(
    TASK, measured("r", "Pearson's r", decimals(2)), P, P_ADJUSTED, whole("n", "languages")
)  # fmt: skip

ALIGNMENT_GAIN = sheet(
    text("run", "run"), LAYER, LANG, Column("before", "before (SAE units)", FINE),
    Column("after", "after (SAE units)", FINE), measured("gain_pct", "gain (%)", PERCENT),
    measured("gain_held_out_pct", "gain, held-out features (%)", PERCENT, "held_out_"),
    measured("retention_pct", "retention of the reference (%)", PERCENT, "retention_"), N_FEATURES, N_PHRASES,
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
    measured("chrf", "round-trip chrF", PERCENT),
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
