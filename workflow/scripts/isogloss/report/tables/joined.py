"""The HTML tables of what joins the three papers."""

import polars as pl

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.report.tables.sheet import (
    FINE,
    LANG,
    PERCENT,
    SHARE,
    Column,
    bounded,
    decimals,
    probability,
    sheet,
    text,
    whole,
)

_UNITS = {"log_ratio": ("nats", decimals(2)), "retrieval": ("reciprocal rank", FINE), "centred": ("cosine", FINE)}
_UNITS |= {"mixed_share": ("%", SHARE), "steering_gain": ("points", SHARE)}


def _measured(column: str, title: str) -> Column:
    unit, show = _UNITS.get(column, ("%", PERCENT))
    return Column(column, f"{title} ({unit})", show)


JOINED = sheet(
    LANG,
    *(_measured(one.column, one.title) for one in INSTRUMENTS),
    Column("accuracy", "accuracy (%)", SHARE),
    Column("positive_transfer", "positive transfer into it (%)", SHARE),
    Column("token_ratio", "tokens / reference's tokens", decimals(2)),
    text("script", "script"), text("family", "family"),
    note="Means over layers; the table has every layer, too. A dash: not measured in this language (the metadata of the"
    " table say why). Retrieval is of the reference's text; gain of steering is what the language's own vector adds to"
    " accuracy on questions that did not choose its setting.",
    rows=lambda frame: frame.filter(pl.col("layer").is_null()),
)  # fmt: skip
JOINED_CORRELATIONS = sheet(
    text("instrument", "instrument", {one.column: one.title for one in INSTRUMENTS}),
    bounded("r", "r with accuracy", decimals(2), "ci"),
    probability("p_adjusted", "p, corrected"),
    bounded("partial_r", "r given tokens and script", decimals(2), "partial_ci"),
    probability("partial_p_adjusted", "p of it, corrected"),
    whole("partial_n", "languages"), whole("partial_family_size", "tests corrected together"),
    whole("partial_n_undefined", "resamples left out"), text("partial_reason", "why there is none"),
    note="A language is one observation, the reference none. Taken out: the log of tokens per text, as a multiple of"
    " the reference's, and whether the script is the reference's. Intervals draw languages, p permutes them.",
)  # fmt: skip
JOINED_INCREMENTAL = sheet(
    text("instrument", "instrument", {one.column: one.title for one in INSTRUMENTS}),
    Column("r2_controls", "R², tokens and script", decimals(2)), Column("r2", "R², and the instrument", decimals(2)),
    Column("r2_left_out_controls", "R² of languages left out, tokens and script", decimals(2)),
    Column("r2_left_out", "R² of languages left out, and the instrument", decimals(2)),
    Column("gain_left_out", "gain by the instrument, languages left out", decimals(2)),
    whole("n", "languages"), text("reason", "why there is none"),
    note="R² is the share of the variance of accuracy over languages that a fit explains. Of languages left out of the"
    " fit it may fall below 0: then the mean of the other languages predicts better. Only a gain there says that an"
    " instrument predicts beyond tokens and script.",
)  # fmt: skip
