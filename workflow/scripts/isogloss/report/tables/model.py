"""HTML tables of what paper A's numbers stand on: SAEs, phrases and translations."""

from isogloss.report.tables.sheet import (
    FINE,
    LANG,
    LAYER,
    PERCENT,
    SAE_COLUMNS,
    Column,
    decimals,
    measured,
    sheet,
    whole,
)  # fmt: skip

SAE_QUALITY = sheet(LAYER, *SAE_COLUMNS)

REPRODUCTION = sheet(
    LAYER,
    whole("records", "records measured"),
    Column("same_peak_pct", "same peak token (%)", PERCENT),
    Column("median_correlation", "median correlation over tokens", FINE),
    Column("lowest_correlation", "lowest correlation", FINE),
    Column("median_scale", "median of measured / recorded maximum", decimals(2)),
)

TRANSLATION_QUALITY = sheet(
    LANG,
    whole("n", "phrases"),
    whole("ok", "kept"),
    Column("kept_pct", "kept (%)", PERCENT),
    whole("empty", "empty"),
    whole("runaway", "runaway"),
    whole("too_long", "too long"),
    whole("low_chrf", "low chrF"),
    measured("chrf", "round-trip chrF", PERCENT),
    Column("characters_ratio", "characters / reference's characters", decimals(2)),
)

PHRASE_COUNTS = sheet(
    LAYER,
    whole("documents", "documents searched"),
    whole("records", "records read"),
    whole("tokens", "tokens searched"),
    whole("features_sampled", "features sampled"),
    whole("features_with_phrases", "features with phrases"),
    whole("windows", "windows found"),
    whole("duplicates_dropped", "duplicates dropped"),
    whole("records_malformed", "malformed records"),
    whole("unknown_tokens_dropped", "with unknown tokens"),
    whole("bos_peaks_dropped", "strongest at BOS"),
    whole("empty_dropped", "blank"),
    whole("n_phrases", "phrases kept"),
)
"""Kinds of model have some of the columns each."""
