"""Steered tables against the transfer tables of the same answers, by hand, and the interval over languages."""

import logging

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.latent.steering import steering
from isogloss.latent.transfer import transfer
from isogloss.stats import student_interval
from isogloss.tables import read_table
from latent_tables import questions_of, random_scores, scores_of_ranks, write_scores, write_steered

N, HELD_OUT = 60, 10
MEASURES = ("accuracy", "consistency", "positive_transfer")
NONE, BEST, WORST = ("none", -1, 0.0), ("own", 2, 2.0), ("own", 2, -2.0)


class Planted:
    """English, and three languages that the own vector turns into English, or away from it."""

    def __init__(self, folder):
        generator = np.random.default_rng(0)
        self.folder, self.answer = folder, generator.integers(4, size=N)
        self.en = random_scores(generator, N)
        easy = np.arange(N) % 4 > 0
        self.en[easy, self.answer[easy]] = 0.0
        self.langs = ["de", "hi", "sw"]
        self.settings = {}
        for lang in self.langs:
            plain = random_scores(generator, N)
            random = np.where(generator.random((N, 1)) < 0.5, plain, random_scores(generator, N))
            self.settings[lang] = {NONE: plain, BEST: self.en, WORST: -self.en, ("random", 2, 2.0): random}
        self.questions = questions_of(N)
        held_out = self.questions[:HELD_OUT]
        self.scores = {
            lang: write_scores(folder / f"{lang}.parquet", self.answer, native=scores, held_out=held_out)
            for lang, scores in {
                "en": self.en,
                **{lang: settings[NONE] for lang, settings in self.settings.items()},
            }.items()
        }
        self.steered = {lang: self.write(lang, settings) for lang, settings in self.settings.items()}

    def write(self, lang, settings):
        rest = {key: scores[HELD_OUT:] for key, scores in settings.items()}
        path = self.folder / f"steered-{lang}.parquet"
        return write_steered(path, self.answer[HELD_OUT:], rest, self.questions[HELD_OUT:])

    def run(self, langs=None, bootstrap=100):
        langs = langs or self.langs
        outputs = {name: str(self.folder / "tables" / f"{name}.parquet") for name in ("steering", "steering_summary")}
        self.choice = str(self.folder / "choice.parquet")
        steering(
            steered=[self.steered[lang] for lang in langs], tasks=["belebele"] * len(langs), langs=langs,
            scores=[self.scores[lang] for lang in langs], reference_scores={"belebele": self.scores["en"]},
            prompts={"belebele": "cloze"}, **outputs, choice=self.choice, tried=12,
            statistics=Statistics.model_construct(bootstrap=bootstrap, confidence=0.9), seed=1, metadata={},
        )  # fmt: skip
        return tuple(read_table(path) for path in outputs.values())


@pytest.fixture
def planted(tmp_path):
    return Planted(tmp_path)


def row(table, lang, setting):
    vector, layer, gamma = setting
    rows = table.filter(
        pl.col("lang") == lang, pl.col("vector") == vector, pl.col("layer") == layer, pl.col("gamma") == gamma
    )
    assert rows.height == 1
    return rows.row(0, named=True)


def test_each_setting_is_what_transfer_measures_of_such_a_language(planted, tmp_path):
    table, _ = planted.run()
    assert table.height == 3 * 4
    for lang, settings in planted.settings.items():
        for setting, scores in settings.items():
            paths = [
                write_scores(
                    tmp_path / "as" / f"{name}.parquet", planted.answer[HELD_OUT:], native=native[HELD_OUT:]
                )
                for name, native in (("en", planted.en), (lang, scores))
            ]  # fmt: skip
            outputs = {name: str(tmp_path / "as" / name) for name in ("answers", "transfer", "transfer_summary")}
            transfer(
                scores=paths, tasks=["t", "t"], langs=["en", lang], prompts={"t": "cloze"}, reference="en", **outputs,
                statistics=Statistics.model_construct(bootstrap=2, confidence=0.9), seed=0, metadata={},
            )  # fmt: skip
            measured = read_table(outputs["transfer"]).filter(pl.col("lang_a") == "en").row(0, named=True)
            steered = row(table, lang, setting)
            assert steered["accuracy"] == pytest.approx(read_table(outputs["answers"])["accuracy"][1])
            assert steered["consistency"] == pytest.approx(measured["consistency"])
            assert steered["positive_transfer"] == pytest.approx(measured["positive_transfer"])
            assert steered["n"] == N - HELD_OUT


def test_steered_into_the_reference_it_is_the_reference(planted):
    table, _ = planted.run()
    for lang in planted.langs:
        best, plain = row(table, lang, BEST), row(table, lang, NONE)
        assert (best["consistency"], best["positive_transfer"]) == pytest.approx((1.0, 1.0))
        for name in MEASURES:
            assert best[f"{name}_change"] == pytest.approx(best[name] - plain[name])
            assert 0 < best[f"{name}_change_low"] <= best[f"{name}_change"] <= best[f"{name}_change_high"]
        assert row(table, lang, WORST)["consistency"] == pytest.approx(-1.0)


def test_unsteered_rows_change_nothing(planted):
    table, _ = planted.run()
    plain = table.filter(pl.col("vector") == "none")
    assert plain.height == 3
    for name in MEASURES:
        for end in ("", "_low", "_high"):
            assert plain[f"{name}_change{end}"].to_list() == [0.0] * 3


def test_changes_are_paired(planted):
    """Half of the answers under the random vector are the unsteered ones, so the change varies less than unpaired."""
    table, _ = planted.run(bootstrap=500)
    steered, plain = row(table, "de", ("random", 2, 2.0)), row(table, "de", NONE)
    p, q, n = steered["accuracy"], plain["accuracy"], N - HELD_OUT
    unpaired = 2 * 1.645 * np.sqrt((p * (1 - p) + q * (1 - q)) / n)
    assert steered["accuracy_change_high"] - steered["accuracy_change_low"] < 0.9 * unpaired


def test_the_summary_has_students_interval_over_languages(planted):
    table, summary = planted.run()
    assert summary["vector"].to_list() == ["own", "own", "random"]
    for entry in summary.iter_rows(named=True):
        of_setting = table.filter(pl.col("vector") == entry["vector"], pl.col("gamma") == entry["gamma"])
        for name in MEASURES:
            values = of_setting[f"{name}_change"].to_numpy()
            assert entry[f"{name}_change"] == pytest.approx(values.mean())
            if np.ptp(values):
                bounds = ttest_1samp(values, 0).confidence_interval(0.9)
                got = (entry[f"{name}_change_low"], entry[f"{name}_change_high"])
                assert got == pytest.approx((bounds.low, bounds.high))
        assert entry["n_languages"] == 3
    assert student_interval(1.0, None, 1, 0.9) == (None, None)


def test_without_a_right_answer_in_the_reference_transfer_is_null(planted):
    planted.en = scores_of_ranks(np.where(np.arange(4) == planted.answer[:, None], 1, 2))
    planted.scores["en"] = write_scores(planted.folder / "en.parquet", planted.answer, native=planted.en)
    table, summary = planted.run()
    assert table["positive_transfer"].null_count() == table.height
    assert summary["positive_transfer_change"].null_count() == summary.height
    assert table["accuracy"].null_count() == 0


def test_unsteered_answers_unlike_the_score_table_are_warned_of(planted, caplog):
    planted.settings["de"][NONE] = -planted.settings["de"][NONE]
    planted.steered["de"] = planted.write("de", planted.settings["de"])
    with caplog.at_level(logging.WARNING):
        planted.run(["de"], bootstrap=2)
    assert "50 of 50 unsteered answers differ" in caplog.text


def test_held_out_questions_are_no_cause_for_a_warning(planted, caplog):
    with caplog.at_level(logging.WARNING):
        planted.run(bootstrap=2)
    assert not caplog.records


def test_settings_are_checked(planted):
    settings = planted.settings["de"]
    planted.steered["de"] = planted.write("de", {key: scores for key, scores in settings.items() if key != NONE})
    with pytest.raises(IsoglossError, match="unsteered answers are not there once"):
        planted.run(["de"])
    planted.steered["de"] = planted.write("de", settings)
    table = read_table(planted.steered["de"])
    table[:-1].write_parquet(planted.steered["de"])
    with pytest.raises(IsoglossError, match="missing or twice at some vector, layer, gamma"):
        planted.run(["de"])
