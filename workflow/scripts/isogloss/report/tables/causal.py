"""HTML table of the causal test."""

import polars as pl

from isogloss.report.shared.ablated import METHOD_TITLES
from isogloss.report.shared.wording import named
from isogloss.report.tables.sheet import FINE, N_FEATURES, Column, bounded, sheet, text, whole


def _methods_first(frame: pl.DataFrame) -> pl.DataFrame:
    """The row over languages before those of the languages."""
    return frame.with_columns(pl.col("ablated").fill_null("all"))


ABLATION_SUMMARY = sheet(
    text("method", "features chosen by", METHOD_TITLES),
    Column("ablated", "ablated language", lambda code: "mean over languages" if code == "all" else named(code), False),
    N_FEATURES, Column("own", "change in the language", FINE), Column("others", "change in the others", FINE),
    bounded("difference", "difference", FINE, "ci"),
    Column("own_random", "random features: in the language", FINE),
    Column("others_random", "random features: in the others", FINE),
    bounded("beyond_random", "difference beyond random features", FINE),
    whole("n_texts", "texts"), whole("n_languages", "languages with features"), text("reason", "why there is none"),
    note="Changes of loss in nats a token; above zero the loss is higher without the features.",
    rows=_methods_first,
)  # fmt: skip
