"""What measures find of planted shares: seeds and controls of the configuration, slopes, intervals and verdicts."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
import yaml
from scipy.stats import spearmanr

from isogloss.config import load_study
from isogloss.config.measures import Statistics
from isogloss.config.planted import Report, dealt
from isogloss.errors import IsoglossError
from isogloss.joined.measures import ANALYSES, MEASURES, Measure, shared_tables
from isogloss.joined.planted_truth import judged, measure_planted_truth
from isogloss.joined.slopes import Slope, slope
from isogloss.stats import Interval
from isogloss.tables import open_table, read_table, table_metadata, write_table
from isogloss.tables.joined import PLANTED_TRUTH

REPOSITORY = Path(__file__).parents[1]
STUDY = yaml.safe_load((REPOSITORY / "config" / "studies" / "planted-truth.yaml").read_text(encoding="utf-8"))
STATISTICS = Statistics(bootstrap=200, confidence=0.9)


def changed(path: str, value: Any) -> dict[str, Any]:
    config = deepcopy(STUDY)
    *parents, last = path.split(".")
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


# The configuration


def test_each_toy_model_comes_once_a_seed_beside_its_control():
    study = load_study(STUDY)
    assert list(study.models) == ["skewed-6", "equal-6", "skewed-7", "equal-7", "skewed-8", "equal-8"]
    for seed in (6, 7, 8):
        assert study.seed_of(f"skewed-{seed}") == study.seed_of(f"equal-{seed}") == seed
        assert study.control_of(f"skewed-{seed}") == f"equal-{seed}"
        assert study.control_of(f"equal-{seed}") is None
    assert study.models["skewed-7"].title == "Skewed shares, seed 7"
    assert load_study(study.model_dump(mode="json")) == study
    assert list(load_study(changed("planted.seeds", [0])).models) == ["skewed-0", "equal-0"]


@pytest.mark.parametrize("block", range(4))
def test_each_seed_deals_the_same_shares_to_other_languages(block: int):
    shares = STUDY["models"]["skewed"]["shares"]
    sizes = sorted(shares.values())
    deals = [dealt(shares, "en", seed) for seed in range(3 * block, 3 * block + 3)]
    assert all(deal["en"] == 0.25 and sorted(deal.values()) == sizes for deal in deals)
    assert all(list(deal) == list(shares) for deal in deals)
    for code in set(shares) - {"en"}:  # a larger, a middle and a smaller one, whatever the script
        small, middle, large = sorted(deal[code] for deal in deals)
        assert small <= 0.02
        assert 0.03 <= middle <= 0.08
        assert large >= 0.12
    assert deals != [dealt(shares, "en", seed + 3) for seed in range(3 * block, 3 * block + 3)]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("planted", {"once": ["bilingual"]}, "planted: once: of seeds, and there are none; give planted.seeds, or"),
        ("planted.once", ["steering"], "planted.once.0: Input should be 'similarity', 'gap',"),
        ("planted.seeds", [3, 3], "planted.seeds: named twice: 3; name each once"),
        ("planted.seeds", [-1], "planted.seeds.0: Input should be greater than or equal to 0 (got -1)"),
        ("planted", None, "planted: Input should be a valid dictionary or instance of Planted (got None); write its"),
        (
            "models.equal.shares",
            STUDY["models"]["skewed"]["shares"],
            "planted.seeds: compares a toy model whose shares are planted with one of equal shares; give one of each",
        ),
        ("models.skewed.seed", 7, "models.skewed.seed: planted.seeds gives this model its seeds; leave one of the two"),
        (
            "models.skewed-7",
            STUDY["models"]["skewed"],
            "models.skewed-7: planted.seeds makes a model of this name of models.skewed; choose another",
        ),
        ("report.headline", "similarity.none", "report.headline: Input should be 'language_gap_summary.mean_gap_pct',"),
    ],
)
def test_each_mistake_about_seeds_is_one_line(path: str, value: Any, message: str):
    with pytest.raises(IsoglossError) as caught:
        load_study(changed(path, value))
    first, line = str(caught.value).splitlines()
    assert first == "1 mistake(s) in the configuration"
    assert line.startswith(f"  config: {message}")


def test_a_mistake_in_a_model_is_named_in_each_that_is_made_of_it():
    with pytest.raises(IsoglossError, match=r"models\.skewed-6\.shares: shares sum to 1\.25; they must sum to 1"):
        load_study(changed("models.skewed.shares.en", 0.5))
    with pytest.raises(IsoglossError, match=r"models\.equal-8\.width: unknown key"):
        load_study(changed("models.equal.width", 3))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 4),
        ("training.tokens", 10_000),
        ("sae.k", 8),
        ("layers", [1]),
        ("shares", STUDY["models"]["skewed"]["shares"]),
    ],
)
def test_a_control_differs_in_shares_alone(path: str, value: Any):
    config = changed("planted", {})
    assert load_study(config).control_of("skewed") == "equal"
    *parents, last = path.split(".")
    node = config["models"]["equal"]
    for key in parents:
        node[key] = dict(node[key])
        node = node[key]
    node[last] = value
    study = load_study(config)
    assert study.control_of("skewed") is None
    assert not any("control" in model for model in study.resolved()["models"].values())


def test_a_headline_may_be_any_internal_measure():
    names = get_args(Report.model_fields["headline"].annotation)
    assert sorted(names) == sorted(measure.name for measure in MEASURES if measure.judged)


def test_tables_are_those_that_both_models_have():
    assert shared_tables(["gap", "similarity", "latent"], ["gap", "benchmarks"]) == [
        table for table, analysis in ANALYSES.items() if analysis == "gap"
    ]
    assert shared_tables(["similarity"], ["gap"]) == []


def test_an_analysis_may_run_once_only():
    study = load_study(STUDY)
    assert [name for name, model in study.models.items() if "bilingual" in model.analyses] == ["skewed-6"]
    others = [set(model.analyses) for name, model in study.models.items() if name != "skewed-6"]
    assert others == [{"similarity", "gap", "benchmarks"}] * 5
    every = load_study(changed("planted", {"seeds": [6, 7]})).models
    assert [name for name, model in every.items() if "bilingual" in model.analyses] == ["skewed-6", "skewed-7"]


# Tables of models with a planted slope


LANGS = ("zh", "ru", "es", "it", "id", "hi")
SHARES = {"en": 0.4, "zh": 0.2, "ru": 0.15, "es": 0.1, "it": 0.07, "id": 0.05, "hi": 0.03}
Value = Callable[[str, int, str, int], float | None]  # of world (skewed or equal), seed, language, layer


def rotated(seed: int) -> dict[str, float]:
    sizes = [SHARES[lang] for lang in LANGS]
    return {"en": 0.4} | {lang: sizes[(at + 2 * seed) % 6] for at, lang in enumerate(LANGS)}


class Worlds:
    """Tables of a skewed and an equal model a seed, in the contract's form, and the stage's tables of them."""

    def __init__(self, folder: Path, seeds: tuple[int, ...] = (0, 1, 2), langs: tuple[str, ...] = LANGS) -> None:
        self.folder, self.seeds, self.langs = folder, seeds, langs
        self.tables: dict[str, dict[str, str]] = {f"{world}-{s}": {} for s in seeds for world in ("skewed", "equal")}
        self.shares = {f"skewed-{s}": rotated(s) for s in seeds}
        self.shares |= {f"equal-{s}": dict.fromkeys(("en", *LANGS), 1 / 7) for s in seeds}

    def ratio(self, seed: int, lang: str) -> float:
        return float(np.log(self.shares[f"skewed-{seed}"][lang] * 7))

    def write(self, table: str, column: str, value: Value, units: tuple[Any, ...] = (0, 1), **more: Any) -> "Worlds":
        unit = {"accuracy": "task", "language_gap_summary": ""}.get(table, "layer")
        for model, paths in self.tables.items():
            world, seed = model.split("-")
            rows = [
                ({unit: one} if unit else {}) | {"lang": lang, column: value(world, int(seed), lang, at)} | more
                for at, one in enumerate(units if unit else (0,))
                for lang in ("en", *self.langs)
            ]
            path = self.folder / model / f"{table}.parquet"
            if path.exists():  # a further column
                frame = read_table(path).with_columns(pl.Series(column, [row[column] for row in rows], pl.Float64))
            else:
                frame = pl.DataFrame(rows, schema_overrides={column: pl.Float64})
            write_table(path, frame)
            paths[table] = str(path)
        return self

    def judge(self, statistics: Statistics = STATISTICS) -> dict[tuple[str, int | None], dict[str, Any]]:
        self.output = self.folder / "planted_truth.parquet"
        self.points = self.folder / "planted_truth_points.parquet"
        measure_planted_truth(
            tables=self.tables,
            pairs=[(seed, f"skewed-{seed}", f"equal-{seed}") for seed in self.seeds],
            shares=self.shares,
            reference="en",
            statistics=statistics,
            seed=11,
            planted_truth=str(self.output),
            planted_truth_points=str(self.points),
            metadata={"study": "test"},
        )
        return {(row["measure"], row["layer"]): row for row in read_table(self.output).iter_rows(named=True)}


def noise(*key: Any) -> float:
    return float(np.random.default_rng([ord(mark) for mark in repr(key)]).normal())


def level(lang: str) -> float:
    """What a script or a wording does to a language, in both worlds alike; far larger than what is planted."""
    return 5.0 * ("en", *LANGS).index(lang)


def planted(worlds: Worlds, size: float, scatter: float = 0.05) -> Value:
    def value(world: str, seed: int, lang: str, layer: int) -> float:
        effect = size * worlds.ratio(seed, lang) if world == "skewed" and lang != "en" else 0.0
        return level(lang) + layer + effect + scatter * noise(world, seed, lang, layer)

    return value


def naive(points: pl.DataFrame, column: str, replicates: int, confidence: float, seed: int) -> tuple[list[float], int]:
    """Interval of the slope by loops: drawn languages and seeds written out as points, and a line fitted to them."""
    langs = {lang: at for at, lang in enumerate(points["lang"].unique(maintain_order=True))}
    seeds = {number: at for at, number in enumerate(sorted(set(points["seed"])))}
    generator = np.random.default_rng([seed])
    of_langs = generator.multinomial(len(langs), [1 / len(langs)] * len(langs), size=replicates)
    of_seeds = generator.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), size=replicates)
    slopes = []
    for a, b in zip(of_langs, of_seeds, strict=True):
        design, y = [], []
        for row in points.iter_rows(named=True):
            for _ in range(int(a[langs[row["lang"]]] * b[seeds[row["seed"]]])):
                design.append([row["log_ratio"], *(row["seed"] == number for number in seeds)])
                y.append(row[column])
        x = np.array(design, float)
        drawn = x[:, x.any(axis=0)]  # seeds that were drawn
        if np.linalg.matrix_rank(drawn) == drawn.shape[1]:
            slopes.append(np.linalg.lstsq(drawn, np.array(y), rcond=None)[0][0])
    tail = (1 - confidence) / 2
    return np.quantile(slopes, [tail, 1 - tail]).tolist(), replicates - len(slopes)


def test_slopes_intervals_and_rank_correlation_against_statsmodels_scipy_and_loops(tmp_path):
    worlds = Worlds(tmp_path)
    worlds.write("similarity", "cosine", planted(worlds, 0.3, 0.4))
    for column in ("centred", "retrieval", "retrieval_reverse"):
        worlds.write("similarity", column, planted(worlds, 0.3))
    row = worlds.judge()["similarity.cosine", None]
    points = read_table(worlds.points).filter(pl.col("measure") == "similarity.cosine")
    assert points.height == row["n"] == 18
    assert (row["n_languages"], row["n_seeds"]) == (6, 3)
    for column, prefix in (("difference", ""), ("null_difference", "null_")):
        levels = np.column_stack([points["seed"] == seed for seed in (0, 1, 2)])
        for design in (levels, np.ones((18, 1))):  # a level a seed changes nothing where each has the same shares
            fit = sm.OLS(points[column].to_numpy(), np.column_stack([points["log_ratio"], design])).fit()
            assert row[f"{prefix}slope"] == pytest.approx(fit.params[0], rel=1e-9)
        interval, undefined = naive(points, column, 200, 0.9, 11)
        assert [row[f"{prefix}ci_low"], row[f"{prefix}ci_high"]] == pytest.approx(interval, rel=1e-7)
        assert row["n_undefined"] == undefined
    assert row["rho"] == pytest.approx(spearmanr(points["share"], points["adjusted"]).statistic)
    # The points themselves, from the values that were written
    values = {
        (world, seed, lang): np.mean([planted(worlds, 0.3, 0.4)(world, seed, lang, layer) for layer in (0, 1)])
        for world in ("skewed", "equal")
        for seed in (0, 1, 2)
        for lang in LANGS
    }
    for point in points.iter_rows(named=True):
        seed, lang = point["seed"], point["lang"]
        assert point["log_ratio"] == pytest.approx(worlds.ratio(seed, lang))
        skewed, equal = values["skewed", seed, lang], values["equal", seed, lang]
        assert point["difference"] == pytest.approx(skewed - equal)
        assert point["null_difference"] == pytest.approx(equal - values["equal", (seed + 1) % 3, lang])
        mean = np.mean([values["equal", other, lang] for other in (0, 1, 2)])
        assert point["adjusted"] == pytest.approx(skewed - mean)


def test_a_hand_computed_case(tmp_path):
    """Three languages, two seeds: the difference is 3 times the log of the ratio, plus 1 in the second seed."""
    worlds = Worlds(tmp_path, seeds=(0, 1), langs=("zh", "es", "hi"))
    ratios = {0: {"zh": 2.0, "es": 1.0, "hi": 0.5}, 1: {"zh": 1.0, "es": 0.5, "hi": 2.0}}
    for seed, of_langs in ratios.items():
        worlds.shares[f"skewed-{seed}"] = {lang: ratio / 7 for lang, ratio in of_langs.items()}

    def value(world: str, seed: int, lang: str, _: int) -> float:
        if lang == "en":
            return 100.0
        return 3 * np.log(ratios[seed][lang]) + seed if world == "skewed" else 0.0

    row = worlds.write("language_gap_summary", "mean_gap_pct", value).judge()[
        ("language_gap_summary.mean_gap_pct", None)
    ]
    assert [row[name] for name in ("slope", "ci_low", "ci_high")] == pytest.approx([3.0] * 3)  # whatever is drawn
    assert (row["null_slope"], row["null_ci_low"], row["null_ci_high"]) == (0, 0, 0)
    assert (row["verdict"], row["reason"]) == ("fails", "rises where it should fall")
    # shares by rank 5.5 5.5 3.5 3.5 1.5 1.5, values 5 6 3 4 1 2: 1 - 6 * (6 * 0.25) / (6 * 35), with ties
    assert row["rho"] == pytest.approx(spearmanr([5.5, 5.5, 3.5, 3.5, 1.5, 1.5], [5, 6, 3, 4, 1, 2]).statistic)


def test_a_measure_that_follows_the_shares_passes_and_one_that_follows_the_script_fails(tmp_path):
    worlds = Worlds(tmp_path)
    worlds.write("similarity", "retrieval", planted(worlds, 0.3)).write("similarity", "cosine", planted(worlds, 0.0))
    worlds.write("similarity", "centred", planted(worlds, -0.3)).write(
        "similarity", "retrieval_reverse", planted(worlds, 0.3)
    )
    worlds.write("language_gap_summary", "mean_gap_pct", planted(worlds, -0.3))
    worlds.write("accuracy", "accuracy", planted(worlds, 0.3), units=("arc", "hellaswag"), adapter="base")
    rows = worlds.judge(Statistics(bootstrap=200, confidence=0.99))  # of nulls at 90 % too many exclude zero
    passing = ("similarity.retrieval", "similarity.retrieval_reverse", "language_gap_summary.mean_gap_pct")
    for name in passing:
        assert (rows[name, None]["verdict"], rows[name, None]["reason"]) == ("passes", None)
    assert rows["similarity.cosine", None]["reason"] == "the interval of the slope includes zero"
    assert rows["similarity.centred", None]["reason"] == "falls where it should rise"
    accuracy = rows["accuracy.accuracy", None]
    assert (accuracy["verdict"], accuracy["reason"]) == (None, "behaviour, not an internal measure: not judged")
    assert accuracy["ci_low"] > 0
    assert rows["similarity.retrieval", None]["rho"] > 0.9
    assert next(iter(rows)) == ("language_gap_summary.mean_gap_pct", None)  # in the order of the measures
    schema = open_table(worlds.output).schema_arrow
    assert {column: schema.field(column).type for column in schema.names} == PLANTED_TRUTH
    assert table_metadata(worlds.output)["study"] == "test"


def test_a_measure_that_finds_something_where_nothing_was_planted_fails(tmp_path):
    worlds = Worlds(tmp_path)

    def value(world: str, seed: int, lang: str, layer: int) -> float:
        """Each equal world falls with the shares of its own seed, so that the null follows them."""
        own = worlds.ratio(seed, lang) if lang != "en" else 0.0
        return (2.0 if world == "skewed" else 1.0) * own + 0.01 * noise(world, seed, lang, layer)

    for column in ("cosine", "centred", "retrieval", "retrieval_reverse"):
        worlds.write("similarity", column, value)
    row = worlds.judge()["similarity.cosine", None]
    assert row["ci_low"] > 0
    assert row["null_ci_low"] > 0
    assert (row["verdict"], row["reason"]) == ("fails", "finds a slope where nothing was planted")


def test_the_best_layer_is_chosen_in_the_equal_worlds(tmp_path):
    worlds = Worlds(tmp_path)

    def value(world: str, seed: int, lang: str, layer: int) -> float:
        high = {"equal": 0, "skewed": 1}[world] == layer
        return planted(worlds, 0.3)(world, seed, lang, 0) + 10 * high + (1000 if lang == "en" else 0)

    for column in ("cosine", "centred", "retrieval", "retrieval_reverse"):
        worlds.write("similarity", column, value)
    rows = worlds.judge()
    assert [layer for name, layer in rows if name == "similarity.retrieval"] == [None, 0]
    assert [layer for name, layer in rows if name == "similarity.cosine"] == [None]
    points = read_table(worlds.points).filter(pl.col("measure") == "similarity.retrieval")
    assert points["difference"].filter(points["layer"].is_null()).abs().max() < 2
    assert points["difference"].filter(points["layer"] == 0).max() < -8


def test_values_are_compared_over_the_layers_that_all_models_have(tmp_path):
    worlds = Worlds(tmp_path)

    def value(world: str, seed: int, lang: str, layer: int) -> float | None:
        if (lang, layer) == ("zh", 1) and (world, seed) == ("skewed", 2):
            return None
        if lang == "hi" and (world, seed) == ("equal", 0):
            return float("nan")
        return 100.0 * layer + planted(worlds, -0.3)(world, seed, lang, 0)

    row = worlds.write("language_gap", "mean_activation", value).judge()["language_gap.mean_activation", None]
    assert (row["n"], row["n_languages"]) == (15, 5)
    points = read_table(worlds.points)
    assert points.filter(lang="zh")["value"].max() < 20  # layer 0 alone, in every seed
    assert points.filter(lang="ru")["value"].min() > 50


def test_one_seed_can_fail_a_measure_but_not_pass_it(tmp_path):
    worlds = Worlds(tmp_path, seeds=(1,))
    worlds.write("language_gap_summary", "mean_gap_pct", planted(worlds, -0.3, 0.01))
    worlds.write("language_gap", "mean_activation", planted(worlds, 0.0))
    rows = worlds.judge()
    follows = rows["language_gap_summary.mean_gap_pct", None]
    assert follows["ci_high"] < 0
    assert (follows["null_slope"], follows["null_ci_low"], follows["verdict"]) == (None, None, None)
    assert follows["reason"].startswith("follows the shares, but one seed cannot show")
    assert rows["language_gap.mean_activation", None]["verdict"] == "fails"
    assert read_table(worlds.points)["null_difference"].null_count() == 12


@pytest.mark.parametrize(
    ("langs", "shares", "reason"),
    [
        (("zh",), {}, "defined in 1 languages beside the reference, needs 3"),
        (LANGS, dict.fromkeys(LANGS, 1 / 7), "the planted shares of these languages are all as in the control"),
        ((), {}, "defined in 0 languages beside the reference, needs 3"),
    ],
)
def test_what_cannot_be_judged_is_null_with_its_reason(tmp_path, langs, shares, reason):
    worlds = Worlds(tmp_path, langs=langs)
    for seed in worlds.seeds:
        worlds.shares[f"skewed-{seed}"] |= shares
    row = worlds.write("language_gap_summary", "mean_gap_pct", lambda *key: noise(*key)).judge()
    (verdict,) = row.values()
    assert (verdict["verdict"], verdict["reason"]) == (None, reason)
    assert verdict["ci_low"] is None


def test_resamples_without_spread_are_dropped_and_counted():
    x, y = np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.1, -0.1, 0.0, 1.0])
    cells = (np.arange(4), np.zeros(4, int))
    one = slope(x, y, *cells, replicates=1000, confidence=0.95, seed=[0])
    assert one.value == pytest.approx(1.0)
    assert one.n_undefined == pytest.approx(1000 * (0.75**4 + 0.25**4), abs=50)
    assert one.interval.low is not None
    rare = slope(np.repeat([0.0, 1.0], [19, 1]), np.arange(20.0), np.arange(20), np.zeros(20, int),
                 replicates=1000, confidence=0.95, seed=[0])  # fmt: skip
    assert 300 < rare.n_undefined < 420
    lone = slope(x[:2], np.array([1.0, 2.0]), np.arange(2), np.zeros(2, int), replicates=100, confidence=0.95, seed=[0])
    assert lone.value is None


def test_a_wide_null_needs_an_interval():
    fine, none = Interval(0.1, 0.2), Interval(None, None)
    measure = Measure("t", "c", 1, "T", "")
    assert judged(measure, Slope(0.15, fine, 0), Slope(None, none, 0), 5, 3) == (
        None,
        "no interval where nothing was planted",
    )
    assert judged(measure, Slope(0.15, none, 900), Slope(0.0, none, 900), 5, 3) == (
        None,
        "too many resamples without a slope",
    )


def run(tmp_path: Path, tables: Mapping[str, Mapping[str, str]], pairs: list[tuple[int, str, str]]) -> None:
    measure_planted_truth(
        tables=tables, pairs=pairs, shares={}, reference="en", statistics=STATISTICS, seed=0,
        planted_truth=str(tmp_path / "a.parquet"), planted_truth_points=str(tmp_path / "b.parquet"), metadata={},
    )  # fmt: skip


def test_models_without_a_control_or_without_a_common_measure_are_refused_in_a_line(tmp_path):
    with pytest.raises(IsoglossError, match="no toy model of planted shares has a control; add one of equal shares"):
        run(tmp_path, {}, [])
    with pytest.raises(IsoglossError, match="models a, b have no measure in common; give models and controls the same"):
        run(tmp_path, {"a": {"accuracy": "none"}, "b": {}}, [(0, "a", "b")])
    assert list(tmp_path.iterdir()) == []
