"""What joins the papers: the joined table by hand, partial correlations and R² against other ways to compute them."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from statsmodels.regression.linear_model import OLS

from isogloss.config.measures import Statistics
from isogloss.joined.instruments import ANALYSES, INSTRUMENTS, joined_tables, joins
from isogloss.joined.join import FEWEST, join
from isogloss.joined.prediction import correlate, explained
from isogloss.languages import language
from isogloss.partial import partial_correlation
from isogloss.permutation import order_test
from isogloss.stats import pearson
from isogloss.tables import read_table, table_metadata, write_table

LANGS = ["en", "es", "it", "id", "ca", "zh", "ru", "hi", "ml"]
SETTINGS: dict[str, Any] = {"replicates": 200, "confidence": 0.95, "seed": [0]}


def residual(y: np.ndarray, *controls: np.ndarray) -> np.ndarray:
    return np.asarray(OLS(y, np.column_stack([np.ones(len(y)), *controls])).fit().resid)


def test_partial_correlation_is_that_of_regressions_residuals_and_without_controls_pearsons():
    x, y, tokens, script = np.random.default_rng(1).normal(size=(4, 9))
    expected = float(np.corrcoef(residual(x, tokens, script), residual(y, tokens, script))[0, 1])
    assert correlate(x, y, np.column_stack([tokens, script]), **SETTINGS).r == pytest.approx(expected)
    plain = correlate(x[:7], y[:7], np.empty((7, 0)), **SETTINGS)
    assert plain.r == pytest.approx(pearson(x[:7], y[:7], 0.95).r)
    assert plain.p == order_test(x[:7], y[:7], [0]).p
    assert plain.n_orders == 5040


def test_no_partial_correlation_of_what_controls_explain():
    x, y, z = np.random.default_rng(0).normal(size=(3, 6))
    assert partial_correlation(2 * z + 1, y, z[:, None], [0]) == (None, None, 0)
    assert partial_correlation(x, y, np.zeros((6, 1)), [0]).r == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_a_partial_correlation_by_hand():
    """r of x and y is .5, of each with z .5: (.5 - .25) / (1 - .25) = 1/3."""
    common = np.array([1, 1, 1, 1, -1, -1, -1, -1], float)
    first, second = np.array([1, 1, -1, -1] * 2, float), np.array([1, -1] * 4, float)
    x, y = common + first, common + second
    r = correlate(x, y, np.empty((8, 0)), **SETTINGS).r
    z = common + first * second
    assert r == pytest.approx(0.5)
    assert correlate(x, y, z[:, None], **SETTINGS).r == pytest.approx(1 / 3)


def test_p_permutes_what_the_controls_leave_of_y():
    x, y, z = np.random.default_rng(3).normal(size=(3, 6))
    observed = abs(np.corrcoef(residual(x, z), residual(y, z))[0, 1])
    fitted = y - residual(y, z)
    rs = [
        abs(np.corrcoef(residual(x, z), residual(fitted + residual(y, z)[list(order)], z))[0, 1])
        for order in permutations(range(6))
    ]
    expected = np.mean(np.array(rs) >= observed - 1e-12)
    assert correlate(x, y, z[:, None], **SETTINGS).p == pytest.approx(expected)


def test_the_interval_draws_languages_drops_undefined_draws_and_counts_them():
    x, y, z = np.random.default_rng(4).normal(size=(3, 9))
    fit = correlate(x, y, z[:, None], **SETTINGS)
    drawn = np.random.default_rng([0]).integers(0, 9, (200, 9))
    naive = []
    for row in drawn:
        left = residual(x[row], z[row]), residual(y[row], z[row])
        defined = all((one**2).sum() > 1e-9 for one in left)
        naive.append(float(np.corrcoef(*left)[0, 1]) if defined else np.nan)
    defined = np.array(naive)[np.isfinite(naive)]
    assert fit.n_undefined == 200 - len(defined)
    assert fit.interval == pytest.approx(tuple(np.quantile(defined, [0.025, 0.975])))


def test_controls_that_do_not_vary_take_nothing_out_and_those_that_are_the_series_leave_nothing():
    x, y = np.random.default_rng(5).normal(size=(2, 8))
    flat = np.ones((8, 1))
    assert correlate(x, y, flat, **SETTINGS).r == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlate(x, y, x[:, None], **SETTINGS).r is None


def test_r2_left_out_is_that_of_a_regression_without_each_point():
    x, tokens, y = np.random.default_rng(6).normal(size=(3, 9))
    both = explained(y, np.column_stack([x, tokens]))
    design = np.column_stack([np.ones(9), x, tokens])
    errors, base = [], []
    for point in range(9):
        others = np.arange(9) != point
        errors.append(y[point] - design[point] @ np.asarray(OLS(y[others], design[others]).fit().params))
        base.append(y[point] - y[others].mean())
    assert both.r2 == pytest.approx(OLS(y, design).fit().rsquared)
    assert both.r2_left_out == pytest.approx(1 - np.sum(np.square(errors)) / np.sum(np.square(base)))
    assert explained(y, np.empty((9, 0))) == pytest.approx((0.0, 0.0))


def test_a_script_of_one_language_says_nothing_of_it_once_left_out():
    y = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    alone = np.array([0.0, 0.0, 0.0, 0.0, 1.0])[:, None]
    fit = explained(y, alone)
    assert fit.r2 == pytest.approx(1 - 5 / 50)
    errors = [1 - 3, 2 - 8 / 3, 3 - 7 / 3, 4 - 2, 10 - 2.5]  # among others of its script; without one, the mean
    base = [1 - 19 / 4, 2 - 18 / 4, 3 - 17 / 4, 4 - 16 / 4, 10 - 10 / 4]
    assert fit.r2_left_out == pytest.approx(1 - np.sum(np.square(errors)) / np.sum(np.square(base)))


def tables(folder: Path, langs: list[str] = LANGS, **changes: pl.DataFrame | None) -> dict[str, str]:
    """A model's tables: two layers whose values are known; None takes a table away."""
    rng = np.random.default_rng(7)
    others = [lang for lang in langs if lang != "en"]
    layered = pl.DataFrame(
        [(layer, lang) for layer in (1, 4) for lang in langs], schema=["layer", "lang"], orient="row"
    )
    layered = layered.with_columns(pl.col("layer").cast(pl.Int32))

    def noise(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
        return frame.with_columns(**{name: rng.normal(size=frame.height) for name in names})

    of_others = layered.filter(pl.col("lang") != "en")
    made: dict[str, pl.DataFrame | None] = {
        "language_gap": noise(layered, "gap_pct"),
        "reciprocal_gap": noise(of_others, "gap_from_reference_pct", "gap_from_lang_pct", "symmetric_gap_pct"),
        "activation_controls": layered.with_columns(
            token_ratio=pl.col("lang").replace_strict({lang: 1 + 0.3 * (at % 4) for at, lang in enumerate(langs)})
        ),
        "similarity": noise(layered, "retrieval", "centred"),
        "accuracy": pl.DataFrame(
            [
                ("base", task, lang, 0.2 + 0.1 * at + 0.01 * number + 0.02 * (at == 3))
                for number, task in enumerate(("arc", "mmlu"))
                for at, lang in enumerate(langs)
            ]
            + [("base", "part", lang, 0.9) for lang in langs[:2]]
            + [("all-l2", "arc", "hi", 0.0)],
            schema=["adapter", "task", "lang", "accuracy"],
            orient="row",
        ),
        "transfer": pl.DataFrame(
            {"lang_a": ["en", "es", "en"], "lang_b": ["hi", "hi", "ml"], "positive_transfer": [0.5, 0.7, None]}
        ),
        "latent": noise(of_others, "log_ratio").with_columns(task=pl.lit("arc")),
        "steering_judged": pl.DataFrame(
            [
                ("arc", vector, lang, gain)
                for lang in (None, *others)
                for vector, gain in (("own", 0.05), ("random", 0.5))
            ],
            schema={"task": pl.String, "vector": pl.String, "lang": pl.String, "change_judged": pl.Float64},
            orient="row",
        ),
        "features": pl.DataFrame(
            {
                "step": [1, 1, 9, 9, 9, 9, 9],
                "layer": pl.Series([1] * 7, dtype=pl.Int32),
                "class": ["mixed", "mixed", "en", "mixed", "mixed", "es", "silent"],
                "p_en": [0.5, 0.5, 1.0, 0.5, 0.0, 0.05, None],
                "p_es": [0.5, 0.5, 0.0, 0.5, 1.0, 0.95, None],
            }
        ),
    }
    paths: dict[str, str] = {}
    for name, frame in (made | changes).items():
        if frame is not None:
            paths[name] = str(folder / f"{name}.parquet")
            write_table(paths[name], frame)
    return paths


def run(folder: Path, paths: dict[str, str], langs: list[str] = LANGS):
    names = ("joined", "joined_correlations", "joined_incremental")
    outputs = {name: str(folder / "out" / f"{name}.parquet") for name in names}
    join(
        tables=paths,
        languages={lang: [language(lang).script, language(lang).top_family] for lang in langs},
        reference="en",
        statistics=Statistics(bootstrap=100),
        seed=0,
        metadata={},
        **outputs,
    )
    return {name: read_table(path) for name, path in outputs.items()}, table_metadata(outputs["joined"])


def test_joined_by_hand(tmp_path: Path):
    paths = tables(tmp_path)
    out, metadata = run(tmp_path, paths)
    joined = out["joined"]
    assert joined.select("layer", "lang").rows() == [(layer, lang) for layer in (None, 1, 4) for lang in LANGS]
    assert metadata["lacking"] == {}
    assert (metadata["tokens_of"], metadata["reference"]) == ("phrases", "en")
    hindi = joined.filter(lang="hi")
    gap = read_table(paths["language_gap"]).filter(lang="hi")["gap_pct"].to_list()
    assert hindi["gap_pct"].to_list() == pytest.approx([np.mean(gap), *gap])
    assert hindi["steering_gain"].to_list() == [0.05, None, None]
    assert hindi["accuracy"].to_list() == pytest.approx([0.2 + 0.7 + 0.005] * 3)
    assert set(joined["n_tasks"]) == {2}  # the task of two languages is left out
    assert hindi["positive_transfer"].to_list() == pytest.approx([0.6] * 3)
    assert joined.filter(lang="ml")["positive_transfer"].null_count() == 3
    mean = {row["lang"]: row for row in joined.filter(pl.col("layer").is_null()).iter_rows(named=True)}
    assert mean["en"]["mixed_share"] == pytest.approx(1 / 2)  # one of its own, one mixed that fires in it
    assert mean["es"]["mixed_share"] == pytest.approx(2 / 3)
    assert mean["hi"]["mixed_share"] is None
    assert (mean["hi"]["script"], mean["hi"]["same_script"], mean["hi"]["family"]) == ("Deva", False, "Indo-European")
    assert (mean["id"]["same_script"], mean["id"]["family"], mean["ml"]["family"]) == (
        True,
        "Austronesian",
        "Dravidian",
    )


def test_correlations_are_those_of_the_joined_table_corrected_over_the_instruments(tmp_path: Path):
    out, _ = run(tmp_path, tables(tmp_path))
    points = out["joined"].filter(pl.col("layer").is_null(), pl.col("lang") != "en")
    rows = {row["instrument"]: row for row in out["joined_correlations"].iter_rows(named=True)}
    assert list(rows) == [one.column for one in INSTRUMENTS]
    controls = np.log(points["token_ratio"].to_numpy()), points["same_script"].to_numpy().astype(float)
    for name in ("gap_pct", "retrieval", "log_ratio"):
        x, y = points[name].to_numpy(), points["accuracy"].to_numpy()
        assert rows[name]["r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
        expected = np.corrcoef(residual(x, *controls), residual(y, *controls))[0, 1]
        assert rows[name]["partial_r"] == pytest.approx(expected)
        assert rows[name]["ci_low"] <= rows[name]["r"] <= rows[name]["ci_high"]
        assert rows[name]["n"] == rows[name]["partial_n"] == 8
    tested = [row for row in rows.values() if row["r"] is not None]
    assert {row["family_size"] for row in rows.values()} == {len(tested)} == {7}
    assert all(row["p_adjusted"] >= row["p"] for row in tested)
    assert rows["mixed_share"]["reason"] == f"needs {FEWEST} languages beside the reference, has 1"
    assert rows["steering_gain"]["reason"] == "steering_gain is the same in every language"
    beyond = {row["instrument"]: row for row in out["joined_incremental"].iter_rows(named=True)}
    x, y = points["centred"].to_numpy(), points["accuracy"].to_numpy()
    alone, both = explained(y, np.column_stack(controls)), explained(y, np.column_stack([*controls, x]))
    assert beyond["centred"]["gain_left_out"] == pytest.approx(both.r2_left_out - alone.r2_left_out)
    assert (beyond["centred"]["r2"], beyond["centred"]["r2_controls"]) == pytest.approx((both.r2, alone.r2))


def test_what_a_study_lacks_is_null_with_its_reason(tmp_path: Path):
    few = ["en", "es", "hi"]
    lacking = dict.fromkeys(
        ["reciprocal_gap", "latent", "steering_judged", "features", "transfer", "activation_controls"]
    )
    undefined = read_table(tables(tmp_path, few)["similarity"]).with_columns(centred=pl.lit(None, pl.Float64))
    out, metadata = run(tmp_path, tables(tmp_path, few, **lacking, similarity=undefined), langs=few)
    reasons = metadata["lacking"]
    assert reasons["log_ratio"] == reasons["steering_gain"] == "not measured: latent"
    assert reasons["symmetric_gap_pct"] == "not measured: gap"
    assert reasons["mixed_share"] == "not measured: bilingual"
    assert reasons["token_ratio"] == "no tokens of parallel texts are counted: gap or latent"
    assert reasons["centred"] == "undefined in every layer and language (similarity)"
    assert out["joined"].select("log_ratio", "token_ratio", "centred").null_count().row(0) == (9, 9, 9)
    correlations = out["joined_correlations"]
    assert correlations["r"].null_count() == correlations["partial_r"].null_count() == len(INSTRUMENTS)
    assert correlations["reason"].null_count() == correlations["partial_reason"].null_count() == 0
    assert correlations.filter(instrument="retrieval")["reason"][0].endswith("beside the reference, has 2")
    assert out["joined_incremental"]["reason"].null_count() == 0


def test_a_layer_that_lacks_a_language_is_no_part_of_the_mean_and_accuracy_may_be_paper_bs(tmp_path: Path):
    paths = tables(tmp_path)
    gaps = read_table(paths["language_gap"])
    holes = gaps.with_columns(
        gap_pct=pl.when((pl.col("layer") == 4) & (pl.col("lang") == "ru")).then(None).otherwise("gap_pct")
    )
    answers = pl.DataFrame({"task": ["a"] * len(LANGS), "lang": LANGS, "accuracy": np.linspace(0.1, 0.9, len(LANGS))})
    ratios = read_table(paths["latent"]).with_columns(
        task=pl.Series([("x", "y")[row % 2] for row in range(16)]), token_ratio=pl.Series([2.0, 4.0] * 8)
    )
    changed = tables(
        tmp_path, language_gap=holes, accuracy=None, activation_controls=None, answers=answers, latent=ratios
    )
    out, metadata = run(tmp_path, changed)
    row = out["joined"].filter(pl.col("layer").is_null(), pl.col("lang") == "hi").row(0, named=True)
    assert row["gap_pct"] == pytest.approx(gaps.filter(layer=1, lang="hi")["gap_pct"][0])
    assert row["accuracy"] == pytest.approx(0.8)
    tokens = ratios.filter(lang="hi")["token_ratio"].mean()
    assert (row["token_ratio"], metadata["tokens_of"]) == (tokens, "answers")


def test_who_is_joined():
    assert not joins({"similarity", "gap", "bilingual"})
    assert not joins({"benchmarks"})
    assert joins({"benchmarks", "gap"})
    assert joins({"latent"})
    assert joined_tables({"latent"}, steers=False) == ["answers", "transfer", "latent"]
    assert "steering_judged" in joined_tables({"latent"}, steers=True)
    assert {one.table for one in INSTRUMENTS} <= set(ANALYSES)
