"""The columns of every HTML table: what is shown of a Parquet table, under which header, in which unit."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from isogloss.report.figures.classes import class_title
from isogloss.report.wording import TASK_TITLES, VECTOR_TITLES, named, number, signed


def decimals(digits: int, factor: float = 1.0) -> Callable[[Any], str]:
    """How numbers of so many digits are shown, `factor` times as large."""
    return lambda value: number(factor * value, digits)


def _count(value: Any) -> str:
    return f"{value:,}"


def _p_value(value: Any) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


class Column(NamedTuple):
    """How a column is shown; `low` and `high` name the columns of its interval, set as one column after it."""

    name: str
    header: str  # with the unit
    show: Callable[[Any], str]
    numeric: bool = True
    low: str = ""
    high: str = ""


_TEACHING = {"all": "every language", "reference": "reference only", "none": "no language"}
_VARIANTS = {"with_reference": "reference in high-resource", "without_reference": "reference left out"}
_GROUPS = {"high_resource": "high-resource", "medium_low_resource": "medium-to-low-resource"}

_percent, _share, _cosine = decimals(1), decimals(1, 100), decimals(3)


def _text(name: str, header: str, names: Mapping[str, str] | None = None) -> Column:
    return Column(name, header, lambda value: (names or {}).get(str(value), str(value)), numeric=False)


_LAYER = Column("layer", "decoder layer (0‑based)", _count)
_LANG = Column("lang", "language", named, numeric=False)
_TASK = _text("task", "task", TASK_TITLES)
_N = Column("n", "phrases", _count)
_CHANCE = Column("chance", "chance (%)", _share)
_N_FEATURES, _N_PHRASES = Column("n_features", "features", _count), Column("n_phrases", "phrases", _count)


_STEP = Column("step", "training step", _count)
_INJECTED = Column(
    "class", "class injected", lambda code: "none (as it is)" if code == "none" else class_title(code), numeric=False
)
_CLASS = Column("class", "class", class_title, numeric=False)


def _measured(name: str, header: str, show: Callable[[Any], str], prefix: str = "") -> Column:
    return Column(name, header, show, low=f"{prefix}ci_low", high=f"{prefix}ci_high")


def _bounded(name: str, header: str, show: Callable[[Any], str]) -> Column:
    return Column(name, header, show, low=f"{name}_low", high=f"{name}_high")


_VECTOR = _text("vector", "vector", VECTOR_TITLES)
_LANGUAGES, _QUESTIONS = Column("n_languages", "languages", _count), Column("n", "questions", _count)
_CONSISTENCY = _bounded("consistency", "consistency (ρ)", _cosine)
_TRANSFER = _bounded("positive_transfer", "positive transfer (%)", _share)
_TARGETS = {
    "accuracy": "accuracy", "consistency": "mean consistency with the others",
    "positive_transfer": "mean positive transfer from the others",
}  # fmt: skip

LATENT_COLUMNS: dict[str, tuple[Column, ...]] = {
    "answers": (_TASK, _LANG, _bounded("accuracy", "accuracy (%)", _share), _QUESTIONS),
    "transfer_summary": (
        _TASK, Column("accuracy", "mean accuracy (%)", _share),
        Column("accuracy_sd", "standard deviation over languages (points)", _share), _CONSISTENCY, _TRANSFER,
        _bounded("negative_transfer", "negative transfer (%)", _share), _LANGUAGES, _QUESTIONS,
    ),
    "transfer": (
        _TASK, Column("lang_a", "from", named, numeric=False), Column("lang_b", "to", named, numeric=False),
        _CONSISTENCY, _TRANSFER, _bounded("negative_transfer", "negative transfer (%)", _share), _QUESTIONS,
    ),
    "latent": (
        _TASK, _LAYER, _LANG, _bounded("log_ratio", "log ratio (nats a token; above 0: native)", decimals(2)),
        _bounded("accuracy_native", "accuracy of native answers (%)", _share),
        _bounded("accuracy_reference", "accuracy of reference answers (%)", _share),
        Column("accuracy_letters", "accuracy of letters (%)", _share), _QUESTIONS,
    ),
    "latent_correlation": (
        _TASK, _text("target", "log ratio against", _TARGETS), _bounded("r", "Pearson's r", decimals(2)),
        _text("stars", "stars"), Column("p", "p", _p_value), Column("p_adjusted", "p, corrected", _p_value),
        Column("n", "languages", _count),
    ),
    "steering_summary": (
        _TASK, _VECTOR, Column("layer", "layer steered (0‑based)", _count),
        Column("gamma", "multiplier γ", signed),
        _bounded("accuracy_change", "change of accuracy (points)", _share),
        _bounded("consistency_change", "change of consistency (ρ)", _cosine),
        _bounded("positive_transfer_change", "change of transfer from the reference (points)", _share), _LANGUAGES,
    ),
    "latent_by_teaching": (
        _TASK, _LANG, _text("taught", "fact taught in", _TEACHING), _bounded("accuracy", "accuracy (%)", _share),
        _bounded("consistency", "consistency with the reference (ρ)", _cosine),
        _bounded("positive_transfer", "positive transfer from the reference (%)", _share),
        _bounded("log_ratio", "log ratio (nats a token; above 0: native)", decimals(2)),
        _bounded("steered_accuracy_change", "change of accuracy when steered (points)", _share), _QUESTIONS,
    ),
}  # fmt: skip
"""Columns of paper B's tables."""

TRANSFER_BY_LANGUAGE = (
    _TASK, _LANG, Column("consistency", "mean consistency with the others (ρ)", _cosine),
    Column("into", "mean positive transfer from the others (%)", _share),
    Column("out_of", "mean positive transfer to the others (%)", _share),
    Column("source", "best source", named, numeric=False), Column("best", "positive transfer from it (%)", _share),
    Column("n_languages", "languages", _count),
)  # fmt: skip
"""Columns of the transfer table where there are too many pairs to list."""

COLUMNS: dict[str, tuple[Column, ...]] = {
    "similarity": (
        _LAYER, _LANG, _measured("cosine", "cosine to the reference", _cosine),
        _measured("cosine_shuffled", "cosine, shuffled pairs", _cosine, "cosine_shuffled_"), _N,
    ),
    "group_gap": (_LAYER, _text("variant", "variant", _VARIANTS), _measured("gap_pct", "activation gap (%)", _percent)),
    "language_gap_summary": (
        _LANG, _measured("mean_gap_pct", "mean gap over layers (%)", _percent),
        Column("std_gap_pct", "standard deviation over layers (points)", _percent),
        Column("n_layers", "layers", _count),
    ),
    "language_gap": (
        _LAYER, _LANG, Column("mean_activation", "mean activation (SAE units)", _cosine),
        _measured("gap_pct", "gap to the reference (%)", _percent),
        Column("p_adjusted", "p of no difference, corrected", _p_value), _N_FEATURES, _N_PHRASES,
    ),
    "group_activation": (
        _LAYER, _text("group", "group", _GROUPS), _text("variant", "variant", _VARIANTS),
        _measured("mean_activation", "mean activation (SAE units)", _cosine),
    ),
    "activation_controls": (
        _LAYER, _LANG, _measured("gap_pct", "gap, own feature (%)", _percent, "gap_"),
        _measured("gap_equal_tokens_pct", "gap at equal token counts (%)", _percent, "gap_equal_tokens_"),
        _measured("gap_shuffled_pct", "gap, feature of another phrase (%)", _percent, "gap_shuffled_"),
        _measured("gap_random_pct", "gap, random feature (%)", _percent, "gap_random_"),
        Column("token_ratio", "tokens / reference's tokens", decimals(2)),
        Column("characters_per_token", "characters per token", decimals(2)), _N,
    ),
    "accuracy": (
        _TASK, _LANG, _text("metric", "metric"), _measured("accuracy", "accuracy (%)", _share),
        Column("stderr", "standard error (points)", decimals(2, 100)), _CHANCE, Column("n", "questions", _count),
    ),
    "accuracy_change": (
        _text("adapter", "adapter"), _TASK, _LANG, _measured("accuracy", "accuracy (%)", _share),
        _measured("difference", "change against base (points)", _share, "difference_"),
        Column("p", "p (McNemar)", _p_value), Column("p_adjusted", "p, corrected", _p_value),
        Column("n", "questions", _count),
    ),
    "accuracy_by_teaching": (
        _text("adapter", "adapter"), _TASK, _LANG, _text("taught", "fact taught in", _TEACHING),
        _measured("accuracy", "accuracy (%)", _share), _CHANCE, Column("n", "questions", _count),
    ),
    "gap_accuracy_correlation": (
        _TASK, _measured("r", "Pearson's r", decimals(2)), Column("p", "p", _p_value),
        Column("p_adjusted", "p, corrected", _p_value), Column("n", "languages", _count),
    ),
    "alignment_gain": (
        _text("run", "run"), _LAYER, _LANG, Column("before", "before (SAE units)", _cosine),
        Column("after", "after (SAE units)", _cosine), _measured("gain_pct", "gain (%)", _percent),
        _measured("gain_held_out_pct", "gain, held-out features (%)", _percent, "held_out_"),
        _measured("retention_pct", "retention of the reference (%)", _percent, "retention_"), _N_FEATURES, _N_PHRASES,
    ),
    "selectivity": (
        _LAYER, _CLASS, _bounded("share", "share of the features that are not silent (%)", _share),
        _bounded("monosemanticity", "monosemanticity (0 to 1)", _cosine),
        _bounded("span_length", "span length (tokens)", decimals(2)), _N_FEATURES, _STEP,
    ),
    "intervention": (
        Column("alpha", "strength α", "{:g}".format), Column("n_features", "features injected, N", _count), _INJECTED,
        Column("step", "into step", _count),
    ),
    "sae_training": (
        _STEP, _LAYER, Column("fvu", "variance unexplained (%)", _share),
        Column("l0", "active features a token (L0)", decimals(1)), Column("dead_features", "dead features", _count),
        Column("features", "features", _count), Column("k", "k", _count), Column("n_tokens", "tokens", _count),
        Column("learning_rate", "learning rate", "{:g}".format),
    ),
    "sae_quality": (
        _LAYER, Column("fvu", "variance unexplained (%)", _share),
        Column("l0", "active features a token (L0)", decimals(1)), Column("dead_features", "dead features", _count),
        Column("features", "features", _count), Column("k", "k", _count), Column("n_tokens", "tokens", _count),
    ),
    "reproduction": (
        _LAYER, Column("records", "records measured", _count), Column("same_peak_pct", "same peak token (%)", _percent),
        Column("median_correlation", "median correlation over tokens", _cosine),
        Column("lowest_correlation", "lowest correlation", _cosine),
        Column("median_scale", "median of measured / recorded maximum", decimals(2)),
    ),
    "translation_quality": (
        _LANG, Column("n", "phrases", _count), Column("ok", "kept", _count), Column("kept_pct", "kept (%)", _percent),
        Column("empty", "empty", _count), Column("runaway", "runaway", _count), Column("too_long", "too long", _count),
        Column("low_chrf", "low chrF", _count), _measured("chrf", "round-trip chrF", _percent),
        Column("characters_ratio", "characters / reference's characters", decimals(2)),
    ),
    "phrase_counts": (
        _LAYER, Column("documents", "documents searched", _count), Column("records", "records read", _count),
        Column("tokens", "tokens searched", _count),
        Column("features_sampled", "features sampled", _count),
        Column("features_with_phrases", "features with phrases", _count), Column("windows", "windows found", _count),
        Column("duplicates_dropped", "duplicates dropped", _count),
        Column("records_malformed", "malformed records", _count),
        Column("unknown_tokens_dropped", "with unknown tokens", _count),
        Column("bos_peaks_dropped", "strongest at BOS", _count), Column("empty_dropped", "blank", _count),
        Column("n_phrases", "phrases kept", _count),
    ),
    **LATENT_COLUMNS,
}  # fmt: skip

NOTES = {
    "transfer": "Positive transfer: of the questions answered rightly in the first language, the share answered rightly"
    " in the second, too; negative: of those answered wrongly, the share with the same wrong choice.",
    "latent_correlation": "Over languages, the reference left out. * p < 0.05, ** p < 0.01, *** p < 0.001.",
    "steering_summary": "Change against no steering, mean over languages. Of many settings, the largest change is too"
    " large by selection; compare it with the controls at the same layer and γ.",
    "language_gap": "p tests that features answer to the language as to the reference. The choice of the reference's"
    " phrases as top activators alone breaks that, so a small p does not show a disparity.",
    "intervention": "Perplexity of the unfinished model with features of a class injected; change: against the same"
    " model as it is, below zero is better; against random: change less that with as many random features.",
    "examples": "Shade: activation as a share of the largest shown of the feature (hover for it); underlined: the"
    " strongest token of a context. A feature's class is of all its activations, not of these contexts.",
}
"""What a reader must know before reading a column, by table."""
