"""HTML tables of paper C."""

import polars as pl

from isogloss.report.shared.classes import class_order, class_title, language_order
from isogloss.report.shared.wording import named
from isogloss.report.tables.sheet import (
    FINE,
    LAYER,
    N_FEATURES,
    SAE_COLUMNS,
    SHARE,
    Column,
    Sheet,
    bounded,
    decimals,
    sheet,
    whole,
)

SCORES = {"chrf": "chrF", "bleu": "BLEU", "comet": "COMET"}
"""How the intervention's scores of translations are called; higher is better."""

_STEP = whole("step", "training step")
_SETTING = (
    Column("alpha", "strength α", "{:g}".format),
    whole("n_features", "features injected, N"),
    Column("class", "class injected", lambda code: "none (as it is)" if code == "none" else class_title(code), False),
    whole("step", "into step"),
)
_DOSE = (
    ("injected_norm", "norm of what is added", decimals(2)),
    ("mean_firings", "tokens a feature fires on", decimals(0)),
    ("selective_share", "of the class by all firings (%)", SHARE),
)
_MEASURES = (
    *("perplexity", "change", "ci_low", "ci_high", "beyond_random", "beyond_random_low", "beyond_random_high"),
    *("beyond_matched", "beyond_matched_low", "beyond_matched_high"),
    *("beyond_matched_draws_low", "beyond_matched_draws_high", *(name for name, _, _ in _DOSE)),
)


def _rank(classes: pl.Series) -> pl.Expr:
    """The place of each row's class, no class first."""
    return pl.col("class").replace_strict({code: rank for rank, code in enumerate(["none", *class_order(classes)])})


def _last_step(frame: pl.DataFrame) -> pl.DataFrame:
    last = frame.filter(step=frame["step"].max())
    return last.sort("layer", _rank(last["class"]))


def _side_by_side(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """As in the paper's Table 1: a row an injection, the languages' measures side by side."""
    key = ["alpha", "n_features", "class", "step"]
    columns, wide = [*_SETTING], frame.select(key).unique()
    langs = language_order(frame["lang"])
    for lang in (*langs, "all"):
        measures = frame.filter(lang=lang).select(*key, pl.col(_MEASURES).name.prefix(f"{lang} "))
        wide = wide.join(measures, on=key, how="left", nulls_equal=True)
        title = "all documents" if lang == "all" else named(lang)
        columns += [
            Column(f"{lang} perplexity", f"{title}: perplexity", decimals(2)),
            Column(f"{lang} change", f"{title}: change", decimals(2), low=f"{lang} ci_low", high=f"{lang} ci_high"),
        ]
    columns.append(bounded("all beyond_random", "all documents: against random", decimals(2)))
    columns.append(bounded("all beyond_matched", "all documents: against matched", decimals(2)))
    draws = ("all beyond_matched_draws_low", "all beyond_matched_draws_high")
    columns.append(Column("all beyond_matched", "… over draws", decimals(2), low=draws[0], high=draws[1]))
    columns += [Column(f"all {name}", header, show) for name, header, show in _DOSE]
    for score, header in SCORES.items():
        scored = frame.drop_nulls(score) if score in frame.columns else frame.clear()
        for lang in (lang for lang in langs if lang in set(scored["lang"])):
            scores = scored.filter(lang=lang).select(*key, pl.col(score).alias(f"{lang} {score}"))
            wide = wide.join(scores, on=key, how="left", nulls_equal=True)
            columns.append(Column(f"{lang} {score}", f"{header} into {named(lang)}", decimals(1)))
    return wide.sort("alpha", "n_features", _rank(wide["class"])), tuple(columns)


SELECTIVITY = sheet(
    LAYER, Column("class", "class", class_title, numeric=False),
    bounded("share", "share of the features that are not silent (%)", SHARE),
    bounded("share_counted", "share of those counted often enough (%)", SHARE),
    bounded("share_firings", "share by all firings (%)", SHARE),
    bounded("agreement", "same class both ways (%)", SHARE),
    bounded("monosemanticity", "monosemanticity (0 to 1)", FINE),
    bounded("monosemanticity_excess", "less its null, of several tokens", FINE),
    bounded("monosemanticity_calibrated_excess", "less its null, calibrated similarity", FINE),
    bounded("span_length", "span length (tokens)", decimals(2)), N_FEATURES, _STEP,
    rows=_last_step,
)  # fmt: skip

SELECTIVITY_BY_MINIMUM = sheet(
    LAYER, Column("class", "class", class_title, numeric=False), whole("minimum", "counted activations, at least"),
    bounded("share", "share (%)", SHARE), N_FEATURES, whole("n_features_counted", "of features"), _STEP,
    rows=lambda frame: _last_step(frame.filter(pl.col("class") != "all")),
)  # fmt: skip

SAE_SEEDS = sheet(
    whole("seed_a", "seed"), whole("seed_b", "matched with seed"), LAYER,
    bounded("mixed_share", "mixed (%)", SHARE),
    bounded("mixed_share_counted", "mixed, of those counted often enough (%)", SHARE),
    bounded("mixed_share_firings", "mixed by all firings (%)", SHARE),
    bounded("stability", "features matched (%)", SHARE),
    Column("stability_chance", "… by chance (%)", SHARE),
    Column("nearest_cosine", "cosine with the nearest row", decimals(2)),
    Column("nearest_cosine_chance", "… by chance", decimals(2)),
    N_FEATURES, whole("n_alive", "of them fire"), _STEP,
)  # fmt: skip

INTERVENTION = Sheet(
    arrange=_side_by_side,
    note="Perplexity of the unfinished model with features of a class injected; change: against the same"
    " model as it is, below zero is better; against random: change less that with as many random features; against"
    " matched: less that with features that fire as often, scaled to add vectors as long.",
)

SAE_TRAINING = sheet(
    _STEP, LAYER, *SAE_COLUMNS, Column("learning_rate", "learning rate", "{:g}".format),
    rows=lambda frame: frame.sort("step", "layer"),
)  # fmt: skip
