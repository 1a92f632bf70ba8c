"""What figures of papers B and C say of themselves: read from their tables, whole where nothing is defined."""

import re

import numpy as np
import polars as pl
import pytest

from isogloss.report import wanted
from isogloss.report.catalogue import BETWEEN_FIGURES, FIGURES
from isogloss.report.entry import Takeaway, load
from isogloss.report.figures.blank import fill_blanks
from isogloss.report.shared.context import Context
from synthetic import SHARES, make_tables, settings
from synthetic_bilingual import bilingual_tables
from synthetic_joined import models_tables
from synthetic_latent import bounded, latent_tables

CONFIG = settings()
CONTEXT = Context("skewed", wanted.figure_settings(CONFIG))
PAIRED = {"transfer", "transfer_summary", "transfer_layers", "steering", "steering_summary", "steering_judged"}
OF_B = [name for name, entry in FIGURES.items() if "latent" in entry.needs.analyses]
OF_C = [name for name, entry in FIGURES.items() if "bilingual" in entry.needs.analyses]


def say(name: str, tables: dict[str, pl.DataFrame]) -> Takeaway:
    return load(FIGURES[name].takeaway)(tables, CONTEXT)


def without_values(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables with every estimate undefined."""
    kept = ("gamma", "alpha", "learning_rate", "pc1", "pc2", "explained_1", "explained_2")
    nothing = pl.lit(None, pl.Float64)
    return {
        name: frame.with_columns(
            nothing.alias(column)
            for column in frame.columns
            if frame[column].dtype == pl.Float64 and column not in kept
        )
        for name, frame in tables.items()
    }


def of_the_reference_alone() -> dict[str, pl.DataFrame]:
    """A study that asked one language: no pair, nothing steered."""
    tables = latent_tables(("en", "hi"), (3,))
    return {
        name: frame.clear() if name in PAIRED else frame.filter(lang="en") if "lang" in frame.columns else frame
        for name, frame in tables.items()
    }


TABLES = {
    "ten": latent_tables(tuple(SHARES), (1, 5, 9, 13)),
    "two": latent_tables(("en", "hi"), (3,)),
    "three tasks": latent_tables(("en", "hi", "es"), (3,), tasks=("belebele", "mmmlu", "hellaswag")),
    "one": of_the_reference_alone(),
    "many layers": bilingual_tables(("en", "ja"), 28),
    "one layer and step": bilingual_tables(("en", "hi"), 1, steps=(7,)),
    "joined": make_tables(CONFIG, "skewed"),
}
TABLES |= {f"{kind}, undefined": without_values(tables) for kind, tables in TABLES.items() if kind != "joined"}
KINDS_OF_C = ("many layers", "one layer and step")
CASES = [(name, kind) for name in OF_B for kind in TABLES if not kind.startswith((*KINDS_OF_C, "joined"))]
CASES += [(name, kind) for name in OF_C for kind in TABLES if kind.startswith(KINDS_OF_C)]
CASES += [(name, "joined") for name in ("ablation", "training", "sae_quality", "joined_correlations")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_takeaway_is_a_whole_sentence_whatever_is_defined(name, kind):
    said = say(name, TABLES[kind])
    assert re.fullmatch(r"\S.*\.", said.text), said
    assert not re.search(r"None|nan|\{|  ", said.text + said.n), said
    assert len(said.text) < 400


@pytest.mark.parametrize("name", [name for name in (*OF_B, *OF_C) if name != "projection"])
def test_a_figure_without_values_says_so_in_words(name):
    kinds = ("one layer and step, undefined",) if name in OF_C else ("two, undefined", "one, undefined")
    for kind in kinds:
        figure = load(FIGURES[name].drawing)(TABLES[kind], CONTEXT)
        fill_blanks(figure)
        assert any(text.get_text() for axes in figure.axes for text in axes.texts), (name, kind)


def test_panels_with_values_are_left_as_they_are():
    figure = load(FIGURES["steering"].drawing)(TABLES["ten"], CONTEXT)
    fill_blanks(figure)
    assert "not defined" not in {text.get_text() for axes in figure.axes for text in axes.texts}


def test_transfer_says_on_how_many_questions_it_rests():
    tables = TABLES["ten"]
    row = tables["transfer_summary"].row(0, named=True)
    said = say("transfer", tables)
    shown, low, high, chance = (
        f"{100 * row[name]:.0f}"
        for name in ("positive_transfer", "positive_transfer_low", "positive_transfer_high", "positive_transfer_chance")
    )
    assert (
        f"{shown} % [{low}, {high}] are right in the other, less than what shuffled questions give ({chance} %)"
        in said.text
    )
    right = np.round(400 * tables["answers"]["accuracy"].to_numpy())
    assert f"a cell rests on {right.min():.0f} to {right.max():.0f} questions answered rightly" in said.n
    few = tables["answers"].with_columns(accuracy=pl.lit(0.05))
    assert "90 of 90 cells on fewer than 30" in say("transfer", tables | {"answers": few}).n


def test_steering_counts_settings_on_either_side_of_zero():
    frame = TABLES["ten"]["steering"]
    at = (pl.col("layer") == 5) & (pl.col("gamma") == 2.0) & (pl.col("vector") == "own")
    level = frame.with_columns(
        accuracy_change=pl.when(at).then(0.2 + 0.001 * pl.col("lang").str.len_bytes()).otherwise(0.0)
    )
    said = say("steering", {"steering": level}).text
    assert (
        "more than a random direction does in 1 of 16 settings of layer and γ, lower it in 0; at most 20.2 points"
        in said
    )
    alone = level.filter(pl.col("vector") != "random")
    assert "no random control was run" in say("steering", {"steering": alone}).text


@pytest.mark.parametrize(("change", "verdict"), [(0.05, "a gain"), (-0.05, "a loss"), (0.0, "no gain is shown")])
def test_judged_steering_follows_its_interval(change, verdict):
    judged = TABLES["ten"]["steering_judged"]
    own = pl.col("lang").is_null() & (pl.col("vector") == "own")
    values = {name: pl.lit(value) for name, value in bounded("change_judged", change, 0.01).items()}
    frame = judged.filter(own).with_columns(**values)
    said = say("steering_judged", {"steering_judged": frame}).text
    assert f": {verdict} (" in said
    assert f"{100 * change:.1f} points".replace("-", "−") in said


def test_the_lens_is_said_by_layers_and_languages():
    latent = TABLES["ten"]["latent"].with_columns(log_ratio=pl.col("log_ratio") - 5, log_ratio_high=pl.lit(-0.1))
    said = say("latent", {"latent": latent}).text
    assert (
        said
        == "The lens prefers English answers in layers 1, 5, 9 and 13; English in 9 of 9 languages at most (layer 1)."
    )


def test_injection_needs_both_intervals_to_differ_from_matched_features():
    frame = bilingual_tables(("en", "es"), 4)["intervention_summary"]
    assert say("intervention", {"intervention_summary": frame}).text.endswith("over draws: they help more.")
    wide = frame.with_columns(beyond_matched_draws_low=pl.lit(-5.0), beyond_matched_draws_high=pl.lit(5.0))
    assert say("intervention", {"intervention_summary": wide}).text.endswith(
        "[−5.0, 5.0] over draws: no difference shown."
    )


def test_instruments_count_beyond_tokens_and_script_only_if_they_help_languages_left_out():
    tables = make_tables(CONFIG, "skewed")
    assert (
        "beyond tokens and script 1: centred cosine (r = 0.90 [0.50, 0.98])" in say("joined_correlations", tables).text
    )
    useless = tables["joined_incremental"].with_columns(gain_left_out=pl.lit(-0.1))
    said = say("joined_correlations", tables | {"joined_incremental": useless}).text
    assert "none is shown to; the nearest is centred cosine" in said


def test_features_over_training_say_whether_intervals_part():
    frame = bilingual_tables(("en", "es"), 4)["selectivity"].filter(pl.col("layer") == 1)
    mixed = frame.filter(pl.col("class") == "mixed").sort("step")
    said = say("selectivity", {"selectivity": frame})
    assert said.text.startswith(f"{100 * mixed['share'][-1]:.0f} % [")
    up = frame.with_columns(share=pl.col("step").rank("dense") / 10).with_columns(
        share_low=pl.col("share") - 0.01, share_high=pl.col("share") + 0.01
    )
    assert "at step 1,328, up from 10 %" in say("selectivity", {"selectivity": up}).text


def test_models_are_compared_on_the_same_questions_only():
    tables = {f"comparison/{name}": frame for name, frame in models_tables(CONFIG).items()}
    context = Context("", wanted.figure_settings(CONFIG))
    takeaway = load(BETWEEN_FIGURES["models"].takeaway)
    said = takeaway(tables, context)
    assert "Equal shares" in said.text
    assert "Skewed shares" in said.text
    one = tables | {
        name: frame.filter(pl.col("model") == "skewed") for name, frame in tables.items() if "model" in frame.columns
    }
    assert takeaway(one, context).text == "No two models were measured alike, so nothing can be compared."


def test_ablation_says_the_methods_whose_interval_lies_above_zero():
    tables = make_tables(CONFIG, "skewed")
    low = tables["ablation_summary"].with_columns(beyond_random_low=pl.lit(-1.0))
    assert say("ablation", tables | {"ablation_summary": low}).text.startswith("It is not shown that")
    assert "(2 of 3 methods)" in say("ablation", tables).text
