"""Steering that is chosen on one half of the questions and judged on the other: against loops, by hand, and planted."""

import numpy as np
import polars as pl
import pytest

from isogloss.config.measures import Statistics
from isogloss.latent.halves import Setting, by_half, choose, halves, in_order
from isogloss.latent.judged import DIRECTIONS, steering_judged
from isogloss.latent.steering import steering
from isogloss.tables import read_table
from latent_tables import questions_of, random_scores, write_scores, write_steered

N = 60
LANGS = ["de", "hi", "sw"]
OWN = [("own", layer, gamma) for layer in (1, 2) for gamma in (-1.0, 1.0)]
CONTROLS = [("other", layer, gamma) for layer in (1, 2) for gamma in (-1.0, 1.0)]


class Study:
    """English and three languages, steered in settings that do nothing but shuffle, or that `gain` right answers."""

    def __init__(self, folder, gain=None, langs=LANGS, seed=0):
        self.folder, self.langs, self.generator = folder, langs, np.random.default_rng(seed)
        self.answer = self.generator.integers(4, size=N)
        self.right = {lang: self.generator.random(N) < 0.4 for lang in ["en", *langs]}
        self.steered = {lang: {("none", -1, 0.0): self.right[lang]} for lang in langs}
        for lang in langs:
            for setting in [*OWN, *CONTROLS]:
                changed = np.where(self.generator.random(N) < 0.3, ~self.right[lang], self.right[lang])
                self.steered[lang][setting] = changed | (np.arange(N) % 3 == 0) if setting == gain else changed
        self.scores = {lang: self.scored(folder / f"{lang}.parquet", right) for lang, right in self.right.items()}

    def as_scores(self, right):
        scores = random_scores(self.generator, len(right))
        wrong = (self.answer[: len(right)] + 1) % 4
        scores[np.arange(len(right)), np.where(right, self.answer[: len(right)], wrong)] = 0.0
        return scores

    def scored(self, path, right):
        return write_scores(path, self.answer, native=self.as_scores(right))

    def run(self, directions=None, tried=None, bootstrap=50):
        folder, tasks = self.folder, ["t"] * len(self.langs)
        tables = [
            write_steered(
                folder / f"steered-{lang}.parquet", self.answer,
                {setting: self.as_scores(right) for setting, right in settings.items()},
            )
            for lang, settings in self.steered.items()
        ]  # fmt: skip
        common = {"steered": tables, "tasks": tasks, "langs": self.langs, "seed": 1, "metadata": {}}
        common["statistics"] = Statistics.model_construct(bootstrap=bootstrap, confidence=0.9)
        choice = str(folder / "choice.parquet")
        steering(
            **common, scores=[self.scores[lang] for lang in self.langs], reference_scores={"t": self.scores["en"]},
            prompts={"t": "cloze"}, choice=choice, tried=tried,
            steering=str(folder / "a.parquet"), steering_summary=str(folder / "b.parquet"),
        )  # fmt: skip
        self.choice = read_table(choice)
        random = [self.random(lang, directions) for lang in self.langs] if directions else []
        steering_judged(
            **common, random=random, random_tasks=tasks[: len(random)], random_langs=self.langs[: len(random)],
            choice=choice, output=str(folder / "judged.parquet"),
        )  # fmt: skip
        return read_table(folder / "judged.parquet")

    def random(self, lang, directions):
        """As `steer_random` writes it: each tried question in the setting that the other half chose."""
        rows = []
        for row in self.choice.filter("tried").iter_rows(named=True):
            number = int(row["question"][1:])
            settings = {("none", -1, 0.0): self.right[lang][number]}
            settings |= {
                (f"random-{one}", row["layer"], row["gamma"]): correct[number]
                for one, correct in directions[lang].items()
            }
            for (vector, layer, gamma), right in settings.items():
                choice = self.answer[number] if right else (self.answer[number] + 1) % 4
                scores = [0.0 if at == choice else -1.0 for at in range(4)]
                rows.append((row["question"], int(self.answer[number]), vector, layer, gamma, scores))
        schema = {
            "question": pl.String,
            "answer": pl.Int32,
            "vector": pl.String,
            "layer": pl.Int32,
            "gamma": pl.Float64,
        }
        path = self.folder / f"random-{lang}.parquet"
        pl.DataFrame(
            rows, schema={**schema, "gamma": pl.Float64, "scores": pl.List(pl.Float64)}, orient="row"
        ).write_parquet(path)
        return str(path)


def change(study, lang, setting, rows):
    steered = study.steered[lang]
    return np.mean(steered[setting][rows].astype(float) - steered[("none", -1, 0.0)][rows])


def mean(found):
    """The own vectors' row of the mean over languages."""
    return found.filter(pl.col("lang").is_null(), vector="own").row(0, named=True)


def test_halves_are_even_and_a_matter_of_ids_alone():
    questions = questions_of(31)
    half = halves(questions, seed=1, task="t")
    assert (half == 0).sum() == 16
    turned = halves(questions[::-1], seed=1, task="t")
    assert [*in_order(questions, seed=1, task="t")] != [*range(31)]
    assert sum(half != turned[::-1]) == 0
    assert (half != halves(questions, seed=2, task="t")).any()


def test_the_choice_by_hand_and_ties_go_to_the_weakest():
    half = np.array([0, 0, 1, 1])
    changes = {
        Setting(2, 2.0): np.array([[1.0, 0, 0, 0]]), Setting(1, 1.0): np.array([[0.0, 1, -1, 0]]),
        Setting(1, -1.0): np.array([[0.0, 0, 0, 1]]),
    }  # fmt: skip
    assert choose(changes, half) == (Setting(1, 1.0), Setting(1, -1.0))
    assert by_half(changes, half, (Setting(1, -1.0), Setting(1, 1.0))).tolist() == [[0, 0, -1, 0]]
    assert choose({}, half) is None
    assert choose(changes, np.zeros(4, int)) is None


def test_agrees_with_loops_over_settings_and_halves(tmp_path):
    study = Study(tmp_path)
    found = study.run()
    half = np.array(study.choice["half"])
    for vector, settings in (("own", OWN), ("other", CONTROLS)):
        best = [
            max(
                settings, key=lambda one, side=side: np.mean([change(study, lang, one, half == side) for lang in LANGS])
            )
            for side in (0, 1)
        ]
        rows = found.filter(vector=vector)
        assert rows["lang"].to_list() == [None, *LANGS]
        assert rows.select("layer_first", "gamma_first", "layer_second", "gamma_second").row(0) == (
            *best[0][1:],
            *best[1][1:],
        )
        for lang in LANGS:
            row = rows.filter(lang=lang).row(0, named=True)
            for name, used in (("change_chosen", best), ("change_judged", best[::-1])):
                expected = np.mean([change(study, lang, used[side], half == side) for side in (0, 1)])
                assert row[name] == pytest.approx(expected)
            assert row["change_judged_low"] <= row["change_judged"] <= row["change_judged_high"]
        means = rows.filter(pl.col("lang").is_not_null())
        assert rows["change_judged"][0] == pytest.approx(means["change_judged"].mean())
        if vector == "own":
            chosen = dict(study.choice.select("half", pl.struct("layer", "gamma")).iter_rows())
            assert [tuple(chosen[side].values()) for side in (0, 1)] == [best[1][1:], best[0][1:]]
            own = best
        else:
            at_own = [("other", *one[1:]) for one in own[::-1]]
            expected = np.mean([np.mean([change(study, "hi", at_own[side], half == side)]) for side in (0, 1)])
            row = rows.filter(lang="hi").row(0, named=True)
            assert row["at_own"] == pytest.approx(expected)
            judged = found.filter(vector="own", lang="hi")["change_judged"][0]
            assert row["own_less"] == pytest.approx(judged - expected)


def test_what_is_chosen_among_settings_that_do_nothing_gains_only_where_it_was_chosen(tmp_path):
    gaps, judged = [], []
    for seed in range(6):
        (tmp_path / f"{seed}").mkdir()
        row = mean(Study(tmp_path / f"{seed}", seed=seed).run(bootstrap=2))
        gaps.append(row["change_chosen"] - row["change_judged"])
        judged.append(row["change_judged"])
    assert np.mean(gaps) > 0.02
    planted = mean(Study(tmp_path, gain=("own", 2, 1.0)).run())
    assert [planted[f"{name}_{end}"] for end in ("first", "second") for name in ("layer", "gamma")] == [2, 1.0] * 2
    assert planted["change_judged"] == planted["change_chosen"] > np.max(judged) + 0.05


@pytest.mark.parametrize("tried", [None, 20])
def test_random_directions_are_held_against_the_own_vector_on_the_same_questions(tmp_path, tried):
    study = Study(tmp_path, gain=("own", 2, 1.0))
    own = {lang: study.steered[lang][("own", 2, 1.0)] for lang in LANGS}
    directions = {lang: {1: study.right[lang], 2: own[lang], 3: study.right[lang]} for lang in LANGS}
    found = study.run(directions, tried=tried)
    tries = np.array(study.choice["tried"])
    assert tries.sum() == (tried or N)
    rows = found.filter(vector=DIRECTIONS)
    assert rows["lang"].to_list() == [None, *LANGS]
    for row in rows.iter_rows(named=True):
        langs = [row["lang"]] if row["lang"] else LANGS
        gain = np.mean([change(study, lang, ("own", 2, 1.0), tries) for lang in langs])
        assert (row["n"], row["n_directions"], row["n_as_large"], row["p"]) == (tries.sum(), 3, 1, 0.5)
        assert (row["at_own"], row["own_less"]) == pytest.approx((gain / 3, 2 * gain / 3))


def test_a_single_language_has_no_interval_over_languages_and_nothing_chosen_a_reason(tmp_path):
    row = mean(Study(tmp_path, langs=["hi"]).run())
    assert (row["change_judged_low"], row["reason"]) == (None, "one language: no interval over languages")
    study = Study(tmp_path)
    for lang in LANGS:
        study.steered[lang] = {setting: right for setting, right in study.steered[lang].items() if setting[0] != "own"}
    found = study.run()
    assert study.choice.height == 0
    assert found["reason"].to_list() == ["no own vector, or fewer than two questions: nothing to choose"]
    assert found["change_judged"].to_list() == [None]
