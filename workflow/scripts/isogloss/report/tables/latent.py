"""HTML tables of paper B."""

import polars as pl

from isogloss.report.shared.wording import VECTOR_TITLES, named, signed
from isogloss.report.tables.sheet import (
    FAMILY,
    FINE,
    LANG,
    LANGUAGES,
    LAYER,
    P_ADJUSTED,
    QUESTIONS,
    SHARE,
    TASK,
    TAUGHT,
    Column,
    P,
    Sheet,
    bounded,
    decimals,
    language,
    probability,
    sheet,
    text,
    whole,
)

MOST_PAIRS = 500
"""So many pairs of languages are listed; of more, each language's means."""

_CONSISTENCY = bounded("consistency", "consistency (ρ)", FINE)
_TRANSFER = bounded("positive_transfer", "positive transfer (%)", SHARE)
_NEGATIVE = bounded("negative_transfer", "negative transfer (%)", SHARE)
_LOG_RATIO = bounded("log_ratio", "log ratio (nats a token; above 0: native)", decimals(2))
_TARGETS = {
    "accuracy": "accuracy",
    "consistency": "mean consistency with the others",
    "positive_transfer": "mean positive transfer from the others",
}
_ABOVE = bounded("transfer_above_chance", "positive transfer above chance (%)", SHARE)
_MEASURED = (
    _CONSISTENCY, Column("consistency_chance", "consistency by chance (ρ)", FINE),
    _TRANSFER, Column("positive_transfer_chance", "positive transfer by chance (%)", SHARE),
    _NEGATIVE, Column("negative_transfer_chance", "negative transfer by chance (%)", SHARE), _ABOVE,
)  # fmt: skip
_PAIRS = (TASK, language("lang_a", "from"), language("lang_b", "to"), *_MEASURED, QUESTIONS)
_BY_LANGUAGE = (
    TASK,
    LANG,
    Column("consistency", "mean consistency with the others (ρ)", FINE),
    Column("into", "mean positive transfer from the others (%)", SHARE),
    Column("out_of", "mean positive transfer to the others (%)", SHARE),
    language("source", "best source"),
    Column("best", "positive transfer from it (%)", SHARE),
    LANGUAGES,
)


def _transfer(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """A row a pair; of many pairs, a row a task and language: its means over the others, and its best source."""
    if frame.height <= MOST_PAIRS:
        return frame, _PAIRS
    key = ["task", "lang"]
    pairs = frame.rename({"lang_a": "lang", "lang_b": "other"})
    mean, falling = pl.col("positive_transfer").mean(), {"descending": True, "nulls_last": True, "maintain_order": True}
    means = {"out_of": mean, "n_languages": 1 + pl.len()}
    out = pairs.group_by(key, maintain_order=True).agg(pl.col("consistency").mean(), **means)
    incoming = frame.rename({"lang_b": "lang", "lang_a": "source"}).sort("positive_transfer", **falling)
    best = {"source": pl.col("source").first(), "best": pl.col("positive_transfer").first()}
    into = incoming.group_by(key).agg(into=mean, **best)
    return out.join(into, on=key, how="left", maintain_order="left"), _BY_LANGUAGE


TRANSFER = Sheet(
    arrange=_transfer,
    note="Positive transfer: of the questions answered rightly in the first language, the share answered rightly"
    " in the second, too; negative: of those answered wrongly, the share with the same wrong choice. Above chance:"
    " positive transfer with the second language's accuracy taken out, (tr − acc) / (1 − acc).",
)

TRANSFER_LAYERS = sheet(
    TASK, LAYER, bounded("accuracy", "mean accuracy (%)", SHARE), *_MEASURED, LANGUAGES, QUESTIONS,
    note="Means over all ordered pairs of languages, choices ranked by the logit lens at the layer.",
)  # fmt: skip

ANSWERS = sheet(
    TASK, LANG, bounded("accuracy", "accuracy (%)", SHARE), Column("ties", "best choice tied (% of questions)", SHARE),
    QUESTIONS,
)  # fmt: skip

TRANSFER_SUMMARY = sheet(
    TASK, Column("accuracy", "mean accuracy (%)", SHARE),
    Column("accuracy_sd", "standard deviation over languages (points)", SHARE), *_MEASURED, LANGUAGES, QUESTIONS,
)  # fmt: skip

LATENT = sheet(
    TASK, LAYER, LANG, _LOG_RATIO, bounded("accuracy_native", "accuracy of native answers (%)", SHARE),
    bounded("accuracy_reference", "accuracy of reference answers (%)", SHARE),
    Column("accuracy_letters", "accuracy of letters (%)", SHARE),
    bounded("log_ratio_total", "log ratio of whole texts (nats)", decimals(2)),
    bounded("log_ratio_character", "log ratio by character (nats a character)", decimals(2)),
    Column("token_ratio", "tokens, native to reference", decimals(2)), QUESTIONS,
)  # fmt: skip

_BY_LENGTH = tuple(
    column
    for prefix, label in (("", "by token"), ("total_", "whole texts"), ("character_", "by character"))
    for column in (
        *([Column(f"{prefix}r", f"{label}: r", decimals(2))] if prefix else []),
        Column(f"{prefix}partial_r", f"{label}: partial r", decimals(2)),
        probability(f"{prefix}partial_p", f"{label}: p of partial r"),
        Column(f"{prefix}length_r", f"{label}: r with log token ratio", decimals(2)),
    )
)

LATENT_CORRELATION = sheet(
    TASK, text("target", "log ratio against", _TARGETS), bounded("r", "Pearson's r", decimals(2)),
    text("stars", "stars"), P, P_ADJUSTED, FAMILY, whole("n", "languages"), *_BY_LENGTH,
    note="Over languages, the reference left out. Partial: with the log of the token ratio taken out; its p is over"
    " orders of the languages. * p < 0.05, ** p < 0.01, *** p < 0.001.",
)  # fmt: skip

STEERING_SUMMARY = sheet(
    TASK, text("vector", "vector", VECTOR_TITLES), whole("layer", "layer steered (0‑based)"),
    Column("gamma", "multiplier γ", signed), bounded("accuracy_change", "change of accuracy (points)", SHARE),
    bounded("consistency_change", "change of consistency (ρ)", FINE),
    bounded("positive_transfer_change", "change of transfer from the reference (points)", SHARE), LANGUAGES,
    rows=lambda frame: frame.filter(pl.col("vector") != "none"),
    note="Change against no steering, mean over languages. Of many settings, the largest change is too"
    " large by selection; compare it with the controls at the same layer and γ.",
)  # fmt: skip


def _or_mean(code: str) -> str:
    return "mean over languages" if code == "all" else named(code)


_SETTINGS = tuple(
    column
    for end, half in (("first", "first half"), ("second", "second half"))
    for column in (
        whole(f"layer_{end}", f"layer that the {half} chose (0‑based)"),
        Column(f"gamma_{end}", f"γ that the {half} chose", signed),
    )
)
STEERING_JUDGED = sheet(
    TASK, text("vector", "vector", VECTOR_TITLES), Column("lang", "language", _or_mean, numeric=False), *_SETTINGS,
    Column("change_chosen", "change where it was chosen (points)", SHARE),
    bounded("change_judged", "change in the other half (points)", SHARE),
    bounded("at_own", "change in the own vectors' settings (points)", SHARE),
    bounded("own_less", "own vectors less this one (points)", SHARE),
    whole("n_directions", "random directions"), whole("n_as_large", "of these as large"), probability("p", "p"),
    whole("n_settings", "settings"), LANGUAGES, QUESTIONS, text("reason", "why there is none"),
    note="Change of accuracy. Each half of the questions chooses layer and γ, the other half judges them. Intervals: of"
    " the mean, Student's over languages; of a language, bootstrap over questions.",
    rows=lambda frame: frame.with_columns(pl.col("lang").fill_null("all")),
)  # fmt: skip

LATENT_BY_TEACHING = sheet(
    TASK, LANG, TAUGHT, bounded("accuracy", "accuracy (%)", SHARE),
    bounded("consistency", "consistency with the reference (ρ)", FINE),
    bounded("positive_transfer", "positive transfer from the reference (%)", SHARE), _LOG_RATIO,
    bounded("steered_accuracy_change", "change of accuracy when steered (points)", SHARE), QUESTIONS,
)  # fmt: skip
