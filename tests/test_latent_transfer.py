"""Consistency and transfer against SciPy, loops over questions, identities, and a case computed by hand."""

import logging
from itertools import permutations

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr
from statsmodels.stats.proportion import proportion_confint

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.latent.ranks import Pairs, rank
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.latent.transfer import transfer
from isogloss.latent.transfer_layers import transfer_layers
from isogloss.stats import percentile_interval
from isogloss.tables import read_table, table_metadata
from latent_tables import questions_of, random_scores, scores_of_ranks, write_scores

MEASURES = ("consistency", "positive_transfer", "negative_transfer")


def run(folder, paths, langs, tasks=None, *, bootstrap=50, prompt="letters", seed=3):
    tasks = tasks or ["belebele"] * len(langs)
    outputs = {name: str(folder / "tables" / f"{name}.parquet") for name in ("answers", "transfer", "transfer_summary")}
    transfer(
        scores=paths, tasks=tasks, langs=langs, prompts=dict.fromkeys(tasks, prompt), reference="en", **outputs,
        statistics=Statistics.model_construct(bootstrap=bootstrap, confidence=0.9), seed=seed, metadata={},
    )  # fmt: skip
    return {name: read_table(path) for name, path in outputs.items()} | {"metadata": table_metadata(outputs["answers"])}


def tables(folder, scores, answer, **options):
    """A score table of letters for each language of `scores`; native texts are ranked another way."""
    return [
        write_scores(folder / f"{lang}.parquet", answer, native=-values, letters=values, **options)
        for lang, values in scores.items()
    ]


def pair(table, a, b):
    return table.filter(pl.col("lang_a") == a, pl.col("lang_b") == b).row(0, named=True)


@pytest.fixture
def planted():
    """Four languages of which three share an easy part of 60 questions."""
    generator = np.random.default_rng(0)
    answer = generator.integers(4, size=60)
    scores = {lang: random_scores(generator, 60) for lang in ("en", "de", "hi", "sw")}
    for lang, share in (("en", 0.8), ("de", 0.6), ("hi", 0.3)):
        easy = np.arange(60) < share * 60
        scores[lang][easy, answer[easy]] = 0.0
    return answer, scores


def naive(answer, a, b):
    """Eq. 2 and 3 with a loop over questions."""
    right_a = right_b = both = same = 0
    for question, right in enumerate(answer):
        first, second = int(np.argmax(a[question])), int(np.argmax(b[question]))
        right_a += first == right
        right_b += second == right
        both += first == right and second == right
        same += first != right and second != right and first == second
    return both / right_a, same / (len(answer) - right_a)


def test_agrees_with_scipy_and_with_a_loop_for_every_ordered_pair(tmp_path, planted):
    answer, scores = planted
    results = run(tmp_path, tables(tmp_path, scores, answer), list(scores))
    assert results["transfer"].select("lang_a", "lang_b").rows() == list(permutations(scores, 2))
    for row in results["transfer"].iter_rows(named=True):
        a, b = scores[row["lang_a"]], scores[row["lang_b"]]
        assert row["consistency"] == pytest.approx(
            spearmanr(rankdata(a, axis=1).ravel(), rankdata(b, axis=1).ravel())[0]
        )
        each = [spearmanr(x, y)[0] for x, y in zip(a, b, strict=True)]
        assert row["consistency"] == pytest.approx(np.mean(each))
        assert (row["positive_transfer"], row["negative_transfer"]) == pytest.approx(naive(answer, a, b))
        assert row["n"] == 60
        for name in MEASURES:
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_transfers_both_ways_share_their_numerator(tmp_path, planted):
    answer, scores = planted
    results = run(tmp_path, tables(tmp_path, scores, answer), list(scores))
    right = {lang: int((scores[lang].argmax(axis=1) == answer).sum()) for lang in scores}
    for a, b in permutations(scores, 2):
        there, back = pair(results["transfer"], a, b), pair(results["transfer"], b, a)
        assert there["consistency"] == back["consistency"]
        assert there["positive_transfer"] * right[a] == pytest.approx(back["positive_transfer"] * right[b])
        assert there["negative_transfer"] * (60 - right[a]) == pytest.approx(
            back["negative_transfer"] * (60 - right[b])
        )


def test_ties_have_average_ranks_and_the_first_of_the_highest_is_the_answer(tmp_path):
    generator = np.random.default_rng(1)
    answer = generator.integers(4, size=40)
    scores = {lang: generator.integers(3, size=(40, 4)).astype(float) for lang in ("en", "de")}
    row = pair(run(tmp_path, tables(tmp_path, scores, answer), ["en", "de"])["transfer"], "en", "de")
    ranks = [rankdata(values, axis=1).ravel() for values in scores.values()]
    assert row["consistency"] == pytest.approx(pearsonr(*ranks)[0])
    assert (row["positive_transfer"], row["negative_transfer"]) == pytest.approx(naive(answer, *scores.values()))


def test_chance_is_the_mean_over_questions_put_in_other_places(tmp_path):
    """Against a naive twin: the second language's questions shuffled among those with the same right choice."""
    generator = np.random.default_rng(4)
    answer = generator.integers(3, size=90)
    scores = {lang: random_scores(generator, 90) for lang in ("en", "de", "sw")}
    for lang, share in (("en", 0.7), ("de", 0.5)):
        easy = generator.random(90) < share
        scores[lang][easy, answer[easy]] = 0.0
    scores["sw"][:, 2] += 1.5  # likes a letter
    scores["de"][:, 2] += 1.0
    table = run(tmp_path, tables(tmp_path, scores, answer), list(scores), bootstrap=2)["transfer"]
    strata = [np.flatnonzero(answer == choice) for choice in range(3)]
    for a, b in (("en", "de"), ("de", "sw"), ("sw", "en")):
        row, drawn = pair(table, a, b), []
        for _ in range(1500):
            order = np.arange(90)
            for rows in strata:
                order[rows] = generator.permutation(rows)
            other = scores[b][order]
            ranks = [rankdata(values, axis=1).ravel() for values in (scores[a], other)]
            drawn.append((np.corrcoef(*ranks)[0, 1], *naive(answer, scores[a], other)))
        error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
        expected = [row[f"{name}_chance"] for name in MEASURES]
        assert (np.abs(np.mean(drawn, axis=0) - expected) < 4 * error).all()
    # A language that always takes one letter is right as often as that letter is, whatever the other does.
    scores["sw"][:, 2] += 100
    always = pair(run(tmp_path, tables(tmp_path, scores, answer), list(scores), bootstrap=2)["transfer"], "en", "sw")
    right = scores["en"].argmax(axis=1) == answer
    assert always["positive_transfer"] == pytest.approx(np.mean(answer[right] == 2))
    assert always["positive_transfer_chance"] == pytest.approx(always["positive_transfer"])


def test_chance_by_hand(tmp_path):
    # Right choices 0 0 1 1. en is right in all but the second (takes 1), de in the first and third (else takes 2).
    answer = np.array([0, 0, 1, 1])
    en = scores_of_ranks([[4, 3, 2, 1], [3, 4, 2, 1], [3, 4, 2, 1], [3, 4, 2, 1]])
    de = scores_of_ranks([[4, 3, 2, 1], [3, 2, 4, 1], [3, 4, 2, 1], [2, 3, 4, 1]])
    row = pair(run(tmp_path, tables(tmp_path, {"en": en, "de": de}, answer), ["en", "de"])["transfer"], "en", "de")
    # Both right: of the zeros 1 * 1 / 2, of the ones 2 * 1 / 2; never the same wrong choice.
    assert row["positive_transfer_chance"] == pytest.approx((0.5 + 1.0) / 3)
    assert row["negative_transfer_chance"] == 0
    # Ranks less 2.5, summed: zeros en (2, 2, -1, -3), de (2, 0, 1, -3); ones en (1, 3, -1, -3), de (0, 2, 1, -3).
    assert row["consistency_chance"] == pytest.approx(((4 - 1 + 9) / 2 + (6 - 1 + 9) / 2) / 20)


def test_a_case_computed_by_hand(tmp_path):
    # Answers 0 0 1. en predicts 0 1 1 (two right), de 0 1 2 (one right); both choose 1 for the second question.
    answer = np.array([0, 0, 1])
    en = scores_of_ranks([[4, 3, 2, 1], [3, 4, 2, 1], [1, 4, 3, 2]])
    de = scores_of_ranks([[4, 3, 2, 1], [3, 4, 1, 2], [1, 3, 4, 2]])
    results = run(tmp_path, tables(tmp_path, {"en": en, "de": de}, answer), ["en", "de"])
    there, back = pair(results["transfer"], "en", "de"), pair(results["transfer"], "de", "en")
    # Spearman of the three questions: 1, 1 - 6 * 2 / 60 = 0.8, 1 - 6 * 2 / 60 = 0.8.
    assert there["consistency"] == pytest.approx(2.6 / 3)
    assert (there["positive_transfer"], there["negative_transfer"]) == (0.5, 1.0)
    assert (back["positive_transfer"], back["negative_transfer"]) == (1.0, 0.5)
    assert results["answers"].select("lang", "accuracy", "n").rows() == [
        ("en", pytest.approx(2 / 3), 3), ("de", pytest.approx(1 / 3), 3)
    ]  # fmt: skip
    summary = results["transfer_summary"].row(0, named=True)
    assert summary["accuracy"] == pytest.approx(0.5)
    assert summary["accuracy_sd"] == pytest.approx(np.std([2 / 3, 1 / 3], ddof=1))
    assert (summary["positive_transfer"], summary["negative_transfer"]) == (0.75, 0.75)
    assert (summary["n_languages"], summary["n"]) == (2, 3)
    # Of en's two right answers de has half, of any question a third: (1/2 - 1/3) / (2/3); back (1 - 2/3) / (1/3).
    assert [row["transfer_above_chance"] for row in (there, back)] == pytest.approx([0.25, 1.0])
    assert summary["transfer_above_chance"] == pytest.approx(0.625)


def test_ties_of_the_best_choice_are_counted_and_of_others_not(tmp_path):
    answer = np.array([0, 0, 1, 1])
    scores = scores_of_ranks([[4, 4, 2, 1], [4, 2, 2, 1], [3, 3, 3, 3], [1, 2, 3, 4]])
    results = run(tmp_path, tables(tmp_path, {"en": scores, "de": -scores}, answer), ["en", "de"])
    assert results["answers"]["ties"].to_list() == [0.5, 0.25]


def test_no_room_above_chance_is_undefined(tmp_path):
    answer = np.zeros(5, int)
    some, always = scores_of_ranks([[4, 3, 2, 1]] * 3 + [[1, 2, 3, 4]] * 2), scores_of_ranks([[4, 3, 2, 1]] * 5)
    results = run(tmp_path, tables(tmp_path, {"en": some, "de": always}, answer), ["en", "de"])
    there, back = pair(results["transfer"], "en", "de"), pair(results["transfer"], "de", "en")
    assert (there["positive_transfer"], there["transfer_above_chance"]) == (1.0, None)
    assert back["transfer_above_chance"] == pytest.approx(0)  # 3 of 5 of those right there, 3 of 5 in all


def test_each_layers_means_are_the_summary_of_a_model_that_ends_there(tmp_path, planted):
    answer, scores = planted
    layered = {lang: [values[::-1], values] for lang, values in scores.items()}
    paths = [
        write_scores(
            tmp_path / f"{lang}.parquet", answer, native=np.negative(by_layer), letters=by_layer, layers=(1, 3)
        )
        for lang, by_layer in layered.items()
    ]
    common = {"tasks": ["t"] * 4, "langs": list(scores), "prompts": {"t": "letters"}, "seed": 3, "metadata": {}}
    common["statistics"] = Statistics.model_construct(bootstrap=20, confidence=0.9)
    transfer_layers(**common, scores=paths, output=str(tmp_path / "layers.parquet"))
    found = read_table(tmp_path / "layers.parquet")
    assert found["layer"].to_list() == [1, 3]
    for number, row in enumerate(found.iter_rows(named=True)):
        single = {lang: by_layer[number] for lang, by_layer in layered.items()}
        (tmp_path / f"{number}").mkdir()
        results = run(tmp_path, tables(tmp_path / f"{number}", single, answer), list(single), ["t"] * 4, bootstrap=20)
        summary = results["transfer_summary"].row(0, named=True)
        for name in (*MEASURES, "transfer_above_chance", "accuracy"):
            assert [row[f"{name}{end}"] for end in ("", "_low", "_high")] == pytest.approx(
                [summary[f"{name}{end}"] for end in ("", "_low", "_high")]
            )
        assert row["consistency_chance"] == pytest.approx(summary["consistency_chance"])
    other = write_scores(tmp_path / "other.parquet", answer, native=scores["hi"], letters=scores["hi"], layers=(2,))
    with pytest.raises(IsoglossError, match=r"other.parquet: read at layers \[2\], others of t at \[1, 3\]"):
        transfer_layers(**common, scores=[*paths[:3], other], output=str(tmp_path / "no.parquet"))


def test_a_language_identical_to_the_reference_and_a_shuffled_one(tmp_path):
    generator = np.random.default_rng(2)
    answer = generator.integers(4, size=400)
    en = random_scores(generator, 400)
    en[:200][np.arange(200), answer[:200]] = 0.0
    shuffled = generator.permuted(en, axis=1)
    results = run(
        tmp_path, tables(tmp_path, {"en": en, "same": en, "shuffled": shuffled}, answer), ["en", "same", "shuffled"]
    )
    same, other = pair(results["transfer"], "en", "same"), pair(results["transfer"], "en", "shuffled")
    assert [same[f"{name}{end}"] for name in MEASURES for end in ("", "_low", "_high")] == pytest.approx([1.0] * 9)
    assert abs(other["consistency"]) < 0.08
    assert other["consistency_low"] < 0 < other["consistency_high"]
    assert other["positive_transfer"] == pytest.approx(0.25, abs=0.08)


def test_no_right_answer_and_no_wrong_one_leave_transfer_undefined(tmp_path):
    answer = np.zeros(5, int)
    never, always = scores_of_ranks([[1, 2, 3, 4]] * 5), scores_of_ranks([[4, 3, 2, 1]] * 5)
    results = run(tmp_path, tables(tmp_path, {"en": always, "de": never}, answer), ["en", "de"])
    there, back = pair(results["transfer"], "en", "de"), pair(results["transfer"], "de", "en")
    assert (there["positive_transfer"], there["negative_transfer"], there["negative_transfer_low"]) == (0.0, None, None)
    assert (back["positive_transfer"], back["positive_transfer_high"], back["negative_transfer"]) == (None, None, 0.0)
    assert results["transfer_summary"]["positive_transfer"].to_list() == [0.0]
    rare = never.copy()
    rare[0] = always[0]
    row = pair(run(tmp_path, tables(tmp_path, {"en": rare, "de": never}, answer), ["en", "de"])["transfer"], "en", "de")
    assert (row["positive_transfer"], row["positive_transfer_low"]) == (0.0, None)


def test_bootstrap_replicates_are_those_of_a_loop_over_resampled_questions(planted):
    answer, scores = planted
    stacked = np.stack(list(scores.values()))
    resamples = Resamples(60, replicates=5, seed=3, task="belebele")
    pairs = Pairs(rank(stacked, answer), resamples)
    generator = np.random.default_rng([3, *b"belebele"])
    for draw in range(1, 6):
        drawn = generator.integers(60, size=60)
        for a in range(4):
            measured = pairs.of(a)
            for b in range(4):
                first, second = stacked[a][drawn], stacked[b][drawn]
                assert measured.consistency[b, draw] == pytest.approx(
                    spearmanr(rankdata(first, axis=1).ravel(), rankdata(second, axis=1).ravel())[0]
                )
                assert (measured.positive_transfer[b, draw], measured.negative_transfer[b, draw]) == pytest.approx(
                    naive(answer[drawn], first, second)
                )


def test_sums_are_the_same_in_any_chunks(monkeypatch):
    values = np.random.default_rng(0).normal(size=(3, 50))
    whole = Resamples(50, replicates=40, seed=1, task="t").sums(values)
    monkeypatch.setattr("isogloss.latent.resampling._CHUNK", 7)
    assert Resamples(50, replicates=40, seed=1, task="t").sums(values) == pytest.approx(whole, rel=1e-14)


def test_intervals_are_the_percentiles_of_stats(caplog):
    draws = np.random.default_rng(0).normal(size=(4, 101))
    draws[2, 7] = np.nan
    columns = with_intervals("x", draws, 0.9)
    for number in range(4):
        low, high = percentile_interval(draws[number, 1:], 0.9)
        got = (columns["x_low"][number], columns["x_high"][number])
        assert got == pytest.approx((np.nan, np.nan) if low is None else (low, high), nan_ok=True)
    assert np.isnan(with_intervals("x", draws[:, :1], 0.9)["x_low"]).all()
    assert "x: in 1 of 4 intervals some resamples are undefined and left out, 1 of 100 at most" in caplog.text
    draws[2, 0], draws[1, 1:7] = np.nan, np.nan  # the estimate itself; more than a twentieth
    assert np.isnan(with_intervals("x", draws, 0.9)["x_high"]).tolist() == [False, True, True, False]


def test_intervals_cover_the_consistency_of_the_population_as_often_as_they_say():
    generator = np.random.default_rng(5)
    ranks = np.array(list(permutations(range(1, 5))), float)
    truth = 0.5  # half of the questions are answered alike, half independently
    hits = 0
    for trial in range(200):
        first = ranks[generator.integers(24, size=100)]
        alike = generator.random(100) < truth
        second = np.where(alike[:, None], first, ranks[generator.integers(24, size=100)])
        resamples = Resamples(100, replicates=200, seed=trial, task="t")
        measured = Pairs(rank(np.stack([first, second]), np.zeros(100, int)), resamples).of(0)
        columns = with_intervals("c", measured.consistency[1:], 0.9)
        hits += bool(columns["c_low"][0] <= truth <= columns["c_high"][0])
    assert 0.84 <= hits / 200 <= 0.95


def test_cloze_ranks_the_native_texts_at_the_last_layer_and_letters_the_letters(tmp_path):
    answer = np.array([0, 1])
    right, wrong = scores_of_ranks([[4, 1, 2, 3], [1, 4, 2, 3]]), scores_of_ranks([[1, 4, 2, 3], [4, 1, 2, 3]])
    path = write_scores(tmp_path / "en.parquet", answer, native=[wrong, right], letters=[right, wrong], layers=(1, 3))
    assert run(tmp_path, [path], ["en"], prompt="cloze")["answers"]["accuracy"].to_list() == [1.0]
    assert run(tmp_path, [path], ["en"], prompt="letters")["answers"]["accuracy"].to_list() == [0.0]


def test_accuracy_has_wilsons_interval(tmp_path, planted):
    answer, scores = planted
    for row in run(tmp_path, tables(tmp_path, scores, answer), list(scores))["answers"].iter_rows(named=True):
        low, high = proportion_confint(round(row["accuracy"] * 60), 60, alpha=0.1, method="wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((low, high))


def test_summary_is_the_mean_over_ordered_pairs(tmp_path, planted):
    answer, scores = planted
    results = run(tmp_path, tables(tmp_path, scores, answer), list(scores))
    summary = results["transfer_summary"].row(0, named=True)
    for name in MEASURES:
        assert summary[name] == pytest.approx(results["transfer"][name].mean())
        assert summary[f"{name}_low"] < summary[name] < summary[f"{name}_high"]
    assert summary["accuracy_sd"] == pytest.approx(np.std(results["answers"]["accuracy"].to_numpy(), ddof=1))
    assert summary["accuracy_low"] < summary["accuracy"] < summary["accuracy_high"]


def test_a_single_language_has_no_pairs(tmp_path, planted):
    answer, scores = planted
    results = run(tmp_path, tables(tmp_path, {"en": scores["en"]}, answer), ["en"])
    assert results["transfer"].height == 0
    row = results["transfer_summary"].row(0, named=True)
    assert (row["consistency"], row["accuracy_sd"], row["n_languages"]) == (None, None, 1)


def test_questions_that_a_language_lacks_are_left_out_of_all_and_counted(tmp_path, planted, caplog):
    answer, scores = planted
    whole = tables(tmp_path, scores, answer)
    order = [*reversed(range(10, 60))]
    part = write_scores(
        tmp_path / "part.parquet", answer[order], native=scores["hi"][order], letters=scores["hi"][order],
        questions=[f"q{number}" for number in order],
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        results = run(tmp_path, [*whole[:2], part], ["en", "de", "hi"])
    assert "10 question(s)" in caplog.text
    assert results["metadata"]["questions_left_out"] == {"belebele": 10}
    row = pair(results["transfer"], "en", "hi")
    assert (row["positive_transfer"], row["negative_transfer"]) == pytest.approx(
        naive(answer[10:], scores["en"][10:], scores["hi"][10:])
    )
    assert row["n"] == 50


def test_tasks_are_apart_and_another_task_changes_no_bit(tmp_path, planted):
    answer, scores = planted
    paths = tables(tmp_path, scores, answer)
    alone = run(tmp_path, paths, list(scores))["transfer"]
    both = run(
        tmp_path, [*paths[:2], *paths], [*list(scores)[:2], *scores], ["mmmlu"] * 2 + ["belebele"] * 4
    )["transfer"]  # fmt: skip
    assert both.filter(pl.col("task") == "belebele").equals(alone)
    assert both.filter(pl.col("task") == "mmmlu").height == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": [1, 0, 0]}, "the answer to question q0 is choice 1"),
        ({"questions": ["a", "b", "c"]}, "no question stands in all of 2 tables"),
        ({"questions": ["q0", "q1", "q1"]}, "missing or twice"),
        ({"letters": None}, "no letters were scored"),
        ({"letters": np.full((3, 4), np.nan)}, "not one number a choice"),
        ({"letters": np.zeros((3, 5)), "native": np.zeros((3, 5))}, r"choices number \[4, 5\]"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, change, message):
    scores = scores_of_ranks([[1, 2, 3, 4]] * 3)
    options = {"native": scores, "letters": scores, "questions": questions_of(3), "answer": [0, 0, 0]}
    first = write_scores(tmp_path / "en.parquet", **options)
    second = write_scores(tmp_path / "de.parquet", **(options | change))
    with pytest.raises(IsoglossError, match=message) as error:
        run(tmp_path, [first, second], ["en", "de"])
    assert "\n" not in str(error.value)


def test_every_pair_of_many_languages_in_seconds():
    generator = np.random.default_rng(0)
    answer = generator.integers(4, size=90)
    stacked = np.stack([random_scores(generator, 90) for _ in range(122)])
    pairs = Pairs(rank(stacked, answer), Resamples(90, replicates=100, seed=0, task="t"))
    assert sum(pairs.of(first).consistency.shape[0] for first in range(122)) == 122 * 122
