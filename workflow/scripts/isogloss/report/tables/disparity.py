"""HTML tables of paper A."""

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
)  # fmt: skip

_CHANCE, _PHRASES, _VARIANT = (
    Column("chance", "chance (%)", SHARE),
    whole("n", "phrases"),
    text("variant", "variant", VARIANT_TITLES),
)

SIMILARITY = sheet(
    LAYER,
    LANG,
    measured("cosine", "cosine to the reference", FINE),
    measured("cosine_shuffled", "cosine, shuffled pairs", FINE, "cosine_shuffled_"),
    _PHRASES,
)

GROUP_GAP = sheet(LAYER, _VARIANT, measured("gap_pct", "activation gap (%)", PERCENT))

LANGUAGE_GAP_SUMMARY = sheet(
    LANG,
    measured("mean_gap_pct", "mean gap over layers (%)", PERCENT),
    Column("std_gap_pct", "standard deviation over layers (points)", PERCENT),
    whole("n_layers", "layers"),
)

LANGUAGE_GAP = sheet(
    LAYER,
    LANG,
    Column("mean_activation", "mean activation (SAE units)", FINE),
    measured("gap_pct", "gap to the reference (%)", PERCENT),
    probability("p_adjusted", "p of no difference, corrected"),
    N_FEATURES,
    N_PHRASES,
    note="p tests that features answer to the language as to the reference. The choice of the reference's"
    " phrases as top activators alone breaks that, so a small p does not show a disparity.",
)

GROUP_ACTIVATION = sheet(
    LAYER,
    text("group", "group", GROUP_TITLES),
    _VARIANT,
    measured("mean_activation", "mean activation (SAE units)", FINE),
)

ACTIVATION_CONTROLS = sheet(
    LAYER,
    LANG,
    measured("gap_pct", "gap, own feature (%)", PERCENT, "gap_"),
    measured("gap_equal_tokens_pct", "gap at equal token counts (%)", PERCENT, "gap_equal_tokens_"),
    measured("gap_shuffled_pct", "gap, feature of another phrase (%)", PERCENT, "gap_shuffled_"),
    measured("gap_random_pct", "gap, random feature (%)", PERCENT, "gap_random_"),
    Column("token_ratio", "tokens / reference's tokens", decimals(2)),
    Column("characters_per_token", "characters per token", decimals(2)),
    _PHRASES,
)

ACCURACY = sheet(
    TASK,
    LANG,
    text("metric", "metric"),
    measured("accuracy", "accuracy (%)", SHARE),
    Column("stderr", "standard error (points)", decimals(2, 100)),
    _CHANCE,
    QUESTIONS,
    rows=lambda frame: frame.filter(pl.col("adapter") == "base"),
)

ACCURACY_CHANGE = sheet(
    text("adapter", "adapter"),
    TASK,
    LANG,
    measured("accuracy", "accuracy (%)", SHARE),
    measured("difference", "change against base (points)", SHARE, "difference_"),
    probability("p", "p (McNemar)"),
    P_ADJUSTED,
    QUESTIONS,
    rows=lambda frame: frame.filter(pl.col("adapter") != "base"),
)

ACCURACY_BY_TEACHING = sheet(
    text("adapter", "adapter"), TASK, LANG, TAUGHT, measured("accuracy", "accuracy (%)", SHARE), _CHANCE, QUESTIONS
)

GAP_ACCURACY_CORRELATION = sheet(
    TASK, measured("r", "Pearson's r", decimals(2)), P, P_ADJUSTED, whole("n", "languages")
)

ALIGNMENT_GAIN = sheet(
    text("run", "run"),
    LAYER,
    LANG,
    Column("before", "before (SAE units)", FINE),
    Column("after", "after (SAE units)", FINE),
    measured("gain_pct", "gain (%)", PERCENT),
    measured("gain_held_out_pct", "gain, held-out features (%)", PERCENT, "held_out_"),
    measured("retention_pct", "retention of the reference (%)", PERCENT, "retention_"),
    N_FEATURES,
    N_PHRASES,
)
