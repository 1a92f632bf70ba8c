"""What a known truth looks like by where its facts were taught."""

import numpy as np
import polars as pl
import pytest

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.latent.answers import log_ratios
from isogloss.latent.steering import steering
from isogloss.latent.teaching import by_teaching
from isogloss.latent.transfer import transfer
from isogloss.tables import read_table, write_table
from latent_tables import questions_of, random_scores, write_scores, write_steered

EACH, HELD_OUT = 30, 6
TAUGHT = np.repeat(["all", "reference", "none"], EACH)
NONE, WEAK, STRONG = ("none", -1, 0.0), ("own", 1, 1.0), ("own", 3, 2.0)


class Planted:
    """English knows what it was taught; German knows what is taught in all, and steered strongly, what English does."""

    def __init__(self, folder):
        generator = np.random.default_rng(0)
        count = 3 * EACH
        self.folder, self.answer = folder, generator.integers(4, size=count)
        self.questions = questions_of(count)
        en, de, it = (random_scores(generator, count) for _ in range(3))
        for scores, knows in ((en, TAUGHT != "none"), (de, TAUGHT == "all"), (it, TAUGHT == "all")):
            scores[knows, self.answer[knows]] = 0.0
        self.native = {"en": en, "de": de, "it": it}
        self.reference = {"en": en, "de": de + 1.0, "it": it - (TAUGHT == "all")[:, None]}
        self.held_out = self.questions[::HELD_OUT]
        self.rest = [index for index, question in enumerate(self.questions) if question not in self.held_out]
        self.scores = {
            lang: write_scores(
                folder / f"{lang}.parquet", self.answer, native=[native, native],
                reference=[native, self.reference[lang]], layers=(1, 3), held_out=self.held_out,
            )
            for lang, native in self.native.items()
        }  # fmt: skip
        settings = {
            "de": {NONE: de, WEAK: de, STRONG: en, ("random", 3, 2.0): en},
            "it": {NONE: it, WEAK: it, STRONG: it, ("random", 3, 2.0): en},
        }
        self.steered = {
            lang: write_steered(
                folder / f"steered-{lang}.parquet", self.answer[self.rest],
                {key: scores[self.rest] for key, scores in by_setting.items()}, [self.questions[p] for p in self.rest],
            )
            for lang, by_setting in settings.items()
        }  # fmt: skip
        self.facts = folder / "facts.parquet"
        write_table(self.facts, pl.DataFrame({"fact": self.questions, "taught": TAUGHT}))

    def run(self, langs=("en", "de", "it"), steered=("de", "it")):
        output = self.folder / "latent_by_teaching.parquet"
        by_teaching(
            scores=[self.scores[lang] for lang in langs], tasks=["hellaswag"] * len(langs), langs=list(langs),
            reference="en", prompts={"hellaswag": "cloze"}, steered=[self.steered[lang] for lang in steered],
            steered_tasks=["hellaswag"] * len(steered), steered_langs=list(steered), facts=str(self.facts),
            aggregation="mean", output=str(output),
            statistics=Statistics.model_construct(bootstrap=100, confidence=0.9), seed=2, metadata={},
        )  # fmt: skip
        return read_table(output)


@pytest.fixture
def planted(tmp_path):
    return Planted(tmp_path)


def row(table, lang, taught):
    rows = table.filter(pl.col("lang") == lang, pl.col("taught") == taught)
    assert rows.height == 1
    return rows.row(0, named=True)


def test_rows_by_language_and_teaching(planted):
    table = planted.run()
    assert table.select("lang", "taught").rows() == [
        (lang, taught) for lang in ("en", "de", "it") for taught in ("all", "reference", "none")
    ]
    assert table["n"].to_list() == [EACH] * 9


def test_what_was_taught_is_known_and_what_was_taught_to_the_reference_alone_is_not(planted):
    table = planted.run()
    assert row(table, "de", "all")["accuracy"] == 1.0
    assert row(table, "de", "all")["positive_transfer"] == 1.0
    alone = row(table, "de", "reference")
    assert alone["accuracy_low"] < 0.25 < alone["accuracy_high"]
    assert alone["positive_transfer"] == alone["accuracy"]  # English has all of these right
    assert row(table, "en", "reference")["accuracy"] == 1.0
    assert row(table, "en", "none")["accuracy"] < 0.5


def test_each_teaching_is_what_transfer_measures_of_its_questions(planted, tmp_path):
    table = planted.run()
    for taught in ("all", "reference", "none"):
        some = taught == TAUGHT
        paths = [
            write_scores(tmp_path / "as" / f"{lang}.parquet", planted.answer[some], native=planted.native[lang][some])
            for lang in ("en", "de")
        ]
        outputs = {name: str(tmp_path / "as" / name) for name in ("answers", "transfer", "transfer_summary")}
        transfer(
            scores=paths, tasks=["t", "t"], langs=["en", "de"], prompts={"t": "cloze"}, reference="en", **outputs,
            statistics=Statistics.model_construct(bootstrap=2, confidence=0.9), seed=0, metadata={},
        )  # fmt: skip
        measured = read_table(outputs["transfer"]).filter(pl.col("lang_a") == "en").row(0, named=True)
        for name in ("consistency", "positive_transfer"):
            result = row(table, "de", taught)
            assert result[name] == pytest.approx(measured[name])
            assert result[f"{name}_low"] <= result[name] <= result[f"{name}_high"]


def test_log_ratio_is_the_mean_over_layers(planted):
    table = planted.run()
    native, reference = planted.native["it"], planted.reference["it"]
    for taught, ratio in (("all", 0.5), ("reference", 0.0)):
        assert row(table, "it", taught)["log_ratio"] == pytest.approx(ratio)
        some = taught == TAUGHT
        layers = log_ratios(np.stack([native, native])[:, some], np.stack([native, reference])[:, some], "mean")
        assert row(table, "it", taught)["log_ratio"] == pytest.approx(layers.mean())


def test_the_own_vector_is_that_of_the_best_setting_over_languages(planted, tmp_path):
    table = planted.run()
    assert table.filter(pl.col("lang") != "en").select("layer", "gamma").unique().rows() == [(3, 2.0)]
    gained = row(table, "de", "reference")
    assert gained["steered_accuracy_change"] > 0.5
    assert gained["steered_accuracy_change_low"] > 0
    assert gained["n_steered"] == EACH - EACH // HELD_OUT
    assert row(table, "it", "reference")["steered_accuracy_change"] == 0.0
    outputs = {name: str(tmp_path / name) for name in ("steering", "steering_summary")}
    steering(
        steered=[planted.steered["de"]], tasks=["hellaswag"], langs=["de"], scores=[planted.scores["de"]],
        reference_scores={"hellaswag": planted.scores["en"]}, prompts={"hellaswag": "cloze"}, **outputs,
        choice=str(planted.folder / "choice.parquet"), tried=None,
        statistics=Statistics.model_construct(bootstrap=2, confidence=0.9), seed=0, metadata={},
    )  # fmt: skip
    whole = read_table(outputs["steering"]).filter(pl.col("vector") == "own", pl.col("layer") == 3)
    rows = table.filter(pl.col("lang") == "de")
    mean = (rows["steered_accuracy_change"] * rows["n_steered"]).sum() / rows["n_steered"].sum()
    assert whole["accuracy_change"][0] == pytest.approx(mean)


def test_the_reference_is_not_held_against_itself(planted):
    result = row(planted.run(), "en", "all")
    for column in ("consistency", "positive_transfer", "log_ratio", "steered_accuracy_change", "layer"):
        assert result[column] is None


def test_without_steering_its_columns_are_null(planted):
    table = planted.run(steered=())
    assert table["steered_accuracy_change"].null_count() == table.height
    assert table["gamma"].null_count() == table.height


def test_bad_input_is_refused_in_one_line(planted):
    with pytest.raises(IsoglossError, match="reference language en has no scores"):
        planted.run(langs=("de", "it"))
    write_table(planted.facts, pl.DataFrame({"fact": planted.questions[1:], "taught": TAUGHT[1:]}))
    with pytest.raises(IsoglossError, match="question q0 is about no fact"):
        planted.run()
