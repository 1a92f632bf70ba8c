"""Log ratios planted and absent, latent accuracies by hand, and correlations against SciPy."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr

from isogloss.config.measures import Statistics
from isogloss.latent.answers import VARIANTS, log_ratios
from isogloss.latent.correlation import PREFIXES, TARGETS, correlations, stars
from isogloss.latent.process import latent_process
from isogloss.latent.transfer import transfer
from isogloss.tables import read_table, table_metadata
from latent_tables import random_scores, scores_of_ranks, write_scores

LANGS = ["en", "de", "es", "hi", "sw", "zh"]


def run(folder, paths, langs, *, tasks=None, aggregation="sum", prompt="cloze", bootstrap=200):
    tasks = tasks or ["belebele"] * len(langs)
    path = {
        name: str(folder / "tables" / f"{name}.parquet")
        for name in ("answers", "transfer", "transfer_summary", "latent", "latent_correlation")
    }
    common = {"scores": paths, "tasks": tasks, "langs": langs, "reference": "en", "seed": 7, "metadata": {}}
    common["statistics"] = Statistics.model_construct(bootstrap=bootstrap)
    transfer(
        **common, prompts=dict.fromkeys(tasks, prompt), answers=path["answers"], transfer=path["transfer"],
        transfer_summary=path["transfer_summary"],
    )  # fmt: skip
    latent_process(
        **common, aggregation=aggregation, answers=path["answers"], transfer=path["transfer"],
        latent=path["latent"], latent_correlation=path["latent_correlation"],
    )  # fmt: skip
    return {name: read_table(file) for name, file in path.items()} | {"metadata": table_metadata(path["latent"])}


@pytest.fixture
def planted():
    """Six languages of 80 questions at two layers; the larger a language's log ratio, the fewer it has right."""
    generator = np.random.default_rng(0)
    answer = generator.integers(4, size=80)
    ratios = dict(zip(LANGS, (0.0, -1.0, -0.5, 1.0, 1.5, 0.0), strict=True))
    tables = {}
    for lang, ratio in ratios.items():
        reference = np.stack([random_scores(generator, 80) - 2 for _ in range(2)])
        native = reference + generator.normal(size=(2, 80, 1)) * 0.5 + np.array([0.0, ratio])[:, None, None]
        hard = generator.permutation(80) < 80 * (0.4 + 0.25 * ratio)
        native[1, ~hard, answer[~hard]] += 3.0
        native[1, ~hard] -= 0.75  # the mean over choices stays
        tables[lang] = (native, reference if lang != "en" else native)
    return answer, ratios, tables


def write(folder, answer, tables, layers=(1, 3), lengths=None):
    lengths = lengths or {}
    return [
        write_scores(
            folder / f"{lang}.parquet",
            answer,
            native=native,
            reference=reference,
            layers=layers,
            lengths=lengths.get(lang, (1,) * 4),
        )
        for lang, (native, reference) in tables.items()
    ]


def cell(table, lang, layer):
    return table.filter(pl.col("lang") == lang, pl.col("layer") == layer).row(0, named=True)


def test_a_planted_log_ratio_is_found_and_an_absent_one_is_not(tmp_path, planted):
    answer, ratios, tables = planted
    latent = run(tmp_path, write(tmp_path, answer, tables), LANGS, aggregation="mean")["latent"]
    assert latent.select("layer", "lang").rows() == [(layer, lang) for layer in (1, 3) for lang in LANGS]
    for lang, ratio in ratios.items():
        for layer, planted_ratio in ((1, 0.0), (3, ratio)):
            row = cell(latent, lang, layer)
            if lang == "en":
                assert (row["log_ratio"], row["log_ratio_low"], row["log_ratio_high"]) == (None, None, None)
                continue
            assert row["log_ratio_low"] < planted_ratio < row["log_ratio_high"]
            assert (row["log_ratio_low"] < 0 < row["log_ratio_high"]) == (planted_ratio == 0.0)


def test_both_aggregations_by_hand():
    native, reference = np.log([[[0.4, 0.2, 0.1, 0.1]]]), np.log([[[0.1, 0.2, 0.05, 0.05]]])
    assert log_ratios(native, reference, "sum") == pytest.approx(np.log([[0.8 / 0.4]]))
    assert log_ratios(native, reference, "mean") == pytest.approx(np.log([[4 * 1 * 2 * 2]]) / 4)


def test_improbable_texts_do_not_underflow():
    assert log_ratios(np.full((1, 1, 4), -2000.0), np.full((1, 1, 4), -2001.0), "sum") == pytest.approx(1.0)


def test_the_sum_is_of_probabilities_question_by_question(tmp_path, planted):
    answer, _, tables = planted
    results = run(tmp_path, write(tmp_path, answer, tables), LANGS, bootstrap=20)
    native, reference = tables["hi"]
    for number, layer in enumerate((1, 3)):
        expected = np.log(np.exp(native[number]).sum(axis=1) / np.exp(reference[number]).sum(axis=1))
        row = cell(results["latent"], "hi", layer)
        assert row["log_ratio"] == pytest.approx(expected.mean())
        half = 2 * expected.std() / np.sqrt(80)
        assert (row["log_ratio_low"], row["log_ratio_high"]) == pytest.approx(
            (expected.mean() - half, expected.mean() + half), abs=half
        )
    assert results["metadata"]["log_ratio"] == "sum"


def test_latent_accuracies_of_each_layer(tmp_path):
    answer = np.array([0, 1, 2])
    right = scores_of_ranks([[4, 3, 2, 1], [3, 4, 2, 1], [1, 2, 4, 3]])
    wrong = scores_of_ranks([[1, 3, 2, 4], [4, 3, 2, 1], [4, 2, 1, 3]])
    mixed = np.concatenate([right[:2], wrong[2:]])
    paths = [
        write_scores(tmp_path / "en.parquet", answer, native=[right, right], letters=[right, mixed], layers=(1, 3)),
        write_scores(
            tmp_path / "de.parquet", answer, native=[wrong, mixed], reference=[right, wrong], letters=[wrong, right],
            layers=(1, 3),
        ),
    ]  # fmt: skip
    latent = run(tmp_path, paths, ["en", "de"], prompt="letters")["latent"]
    columns = ["layer", "lang", "accuracy_native", "accuracy_reference", "accuracy_letters"]
    assert latent.select(columns).rows() == [
        (1, "en", 1.0, 1.0, 1.0), (1, "de", 0.0, 1.0, 0.0),
        (3, "en", 1.0, 1.0, pytest.approx(2 / 3)), (3, "de", pytest.approx(2 / 3), 0.0, 1.0),
    ]  # fmt: skip
    assert latent["accuracy_native_low"].null_count() == 0


def test_letters_are_null_where_none_were_scored(tmp_path, planted):
    answer, _, tables = planted
    latent = run(tmp_path, write(tmp_path, answer, tables), LANGS, bootstrap=5)["latent"]
    assert latent["accuracy_letters"].null_count() == latent.height


def test_correlations_are_pearsons_over_languages_without_the_reference(tmp_path, planted):
    answer, _, tables = planted
    results = run(tmp_path, write(tmp_path, answer, tables), LANGS)
    others = LANGS[1:]
    x = [np.mean([cell(results["latent"], lang, layer)["log_ratio"] for layer in (1, 3)]) for lang in others]
    pairs = results["transfer"].rows(named=True)

    def means(name, of):
        return {lang: np.mean([row[name] for row in pairs if row[of] == lang]) for lang in LANGS}

    targets = {
        "accuracy": dict(results["answers"].select("lang", "accuracy").rows()),
        "consistency": means("consistency", "lang_a"),
        "positive_transfer": means("positive_transfer", "lang_b"),
    }
    table = results["latent_correlation"]
    assert table["target"].to_list() == list(targets)
    for row, values in zip(table.iter_rows(named=True), targets.values(), strict=True):
        expected = pearsonr(x, [values[lang] for lang in others])
        bounds = expected.confidence_interval(0.95)
        assert (row["r"], row["p"], row["n"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue), 5)
        assert (row["r_low"], row["r_high"]) == pytest.approx((bounds.low, bounds.high))
        assert row["stars"] == stars(row["p"])
    assert table["r"][0] < -0.8
    assert table["p_adjusted"].min() == pytest.approx(3 * table["p"].min())


def test_stars_are_the_papers():
    assert [stars(p) for p in (0.06, 0.05, 0.049, 0.0099, 0.001, 0.0009, None)] == [
        "",
        "",
        "*",
        "**",
        "**",
        "***",
        None,
    ]


def test_fewer_than_three_languages_have_no_correlation_and_do_not_count_as_tests(tmp_path, planted):
    answer, _, tables = planted
    paths = write(tmp_path, answer, tables)
    table = run(
        tmp_path, [*paths, *paths[:3]], [*LANGS, *LANGS[:3]], tasks=["belebele"] * 6 + ["mmmlu"] * 3, bootstrap=5
    )["latent_correlation"]  # fmt: skip
    few = table.filter(pl.col("task") == "mmmlu")
    assert few["n"].to_list() == [2, 2, 2]
    for column in ("r", "r_low", "p", "p_adjusted", "stars"):
        assert few[column].null_count() == 3
    assert table["p_adjusted"].drop_nulls().len() == 3


def test_a_target_without_spread_has_no_correlation(tmp_path):
    generator = np.random.default_rng(1)
    answer = np.zeros(6, int)
    same = scores_of_ranks([[4, 3, 2, 1]] * 6)
    tables = {lang: (same + generator.normal(), same) for lang in LANGS}
    table = run(tmp_path, write(tmp_path, answer, tables, layers=(3,)), LANGS, bootstrap=5)["latent_correlation"]
    assert table["r"].to_list() == [None, None, None]


def test_three_normalisations_and_the_token_ratio_by_hand(tmp_path):
    """Two choices; tokens of native and reference texts 4 and 2, characters 2 and 6."""
    answer, native, reference = np.array([0, 1]), np.log([[0.5, 0.25]] * 2), np.log([[0.25, 0.5]] * 2)
    paths = [
        write_scores(tmp_path / "en.parquet", answer, native=reference),
        write_scores(tmp_path / "hi.parquet", answer, native=native, reference=reference, lengths=(4, 2, 2, 6)),
    ]
    latent = run(tmp_path, paths, ["en", "hi"], bootstrap=5)["latent"]
    row = latent.filter(pl.col("lang") == "hi").row(0, named=True)
    assert row["log_ratio"] == pytest.approx(0)
    assert row["log_ratio_total"] == pytest.approx(np.log((0.5**4 + 0.25**4) / (0.25**2 + 0.5**2)))
    assert row["log_ratio_character"] == pytest.approx(np.log((0.5**2 + 0.25**2) / (0.25 ** (1 / 3) + 0.5 ** (1 / 3))))
    assert row["token_ratio"] == 2
    own = latent.filter(pl.col("lang") == "en").row(0, named=True)
    assert (own["log_ratio_total"], own["log_ratio_character"], own["token_ratio"]) == (None, None, 1)


def test_a_variant_that_follows_length_alone_predicts_nothing_once_length_is_out(tmp_path, planted):
    answer, _, tables = planted
    tokens = dict(zip(LANGS, (4, 5, 6, 9, 12, 4), strict=True))
    lengths = {lang: (tokens[lang], 4, 7 + number, 10) for number, lang in enumerate(LANGS)}
    results = run(tmp_path, write(tmp_path, answer, tables, lengths=lengths), LANGS, bootstrap=5)
    others = LANGS[1:]
    mean = results["latent"].group_by("lang", maintain_order=True).agg(pl.col(*PREFIXES).mean())
    by = {name: dict(mean.select("lang", name).rows()) for name in PREFIXES}
    length = np.log([tokens[lang] / 4 for lang in others])
    right = dict(results["answers"].select("lang", "accuracy").rows())
    y = np.array([right[lang] for lang in others])
    row = results["latent_correlation"].row(0, named=True)
    for name, prefix in PREFIXES.items():
        x = np.array([by[name][lang] for lang in others])
        assert row[f"{prefix}r"] == pytest.approx(pearsonr(x, y)[0])
        assert row[f"{prefix}length_r"] == pytest.approx(pearsonr(x, length)[0])
        rxy, rxz, ryz = (pearsonr(*pair)[0] for pair in ((x, y), (x, length), (y, length)))
        expected = (rxy - rxz * ryz) / np.sqrt((1 - rxz**2) * (1 - ryz**2))  # the textbook's formula
        assert row[f"{prefix}partial_r"] == pytest.approx(expected)
        assert 0 < row[f"{prefix}partial_p"] <= 1
        orders = [np.corrcoef(x, y[list(order)])[0, 1] for order in permutations(range(5))]
        assert row[f"{prefix}p_permutation"] == pytest.approx(np.mean(np.abs(orders) >= abs(rxy) - 1e-12))


def test_no_partial_correlation_of_three_languages():
    rows = [
        {"task": "t", "lang": lang, "token_ratio": 1 + at / 2, **dict.fromkeys(VARIANTS, float(at**2))}
        | dict.fromkeys(TARGETS, at % 2 + at / 9)
        for at, lang in enumerate("abc")
    ]
    points = pl.DataFrame(rows)
    three = correlations(points, 0.95, "holm", 0)
    assert three["partial_r"].null_count() == three["partial_p"].null_count() == three["n"].len() == len(TARGETS)
    assert three["r"].null_count() == 0
