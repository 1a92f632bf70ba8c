"""SAEs of several seeds: matched decoder rows against a naive twin and SciPy, shares against plain counts."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.spatial.distance import cdist

from checkout import REPOSITORY, read_study
from config_sections import grouped
from isogloss.bilingual.sae_seeds import mutual_share, rotation, sae_seeds
from isogloss.config import load_study
from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.report.findings.bilingual import sae_seeds as found
from isogloss.report.shared.context import Context
from isogloss.sae import matching
from isogloss.sae.matching import MATCHED, matched, nearest
from isogloss.stats import proportion_interval
from isogloss.tables import open_table, read_table
from isogloss.tables.bilingual import SAE_SEEDS
from synthetic import settings
from synthetic_bilingual import bilingual_tables
from test_bilingual_features import describe
from test_checkpoint_saes import run, table_of_tokens

STUDY = read_study(REPOSITORY / "config" / "studies" / "planted-truth.yaml")


def decoders(seed: int, features: int = 60, others: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Two decoders of random rows, a third of which are nearly the same in another order and length."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(features, 8, generator=generator)
    new = torch.randn(others, 8, generator=generator)
    shared = features // 3
    new[torch.randperm(others, generator=generator)[:shared]] = 3 * rows[:shared] + 0.2 * new[:shared]
    return rows, new


def twin(rows: torch.Tensor, others: torch.Tensor) -> list[bool]:
    """Whether each row is matched, in plain loops."""
    a, b = rows.double().tolist(), others.double().tolist()

    def cosine(x: list[float], y: list[float]) -> float:
        lengths = sum(v * v for v in x) ** 0.5 * sum(v * v for v in y) ** 0.5
        return sum(v * w for v, w in zip(x, y, strict=True)) / lengths

    pairs = []
    for i, row in enumerate(a):
        j = max(range(len(b)), key=lambda j, row=row: cosine(row, b[j]))
        back = max(range(len(a)), key=lambda k, j=j: cosine(a[k], b[j]))
        pairs.append(back == i and cosine(row, b[j]) > 0.7)
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_matched_rows_are_those_of_plain_loops_and_of_scipy(seed: int, monkeypatch: pytest.MonkeyPatch):
    rows, others = decoders(seed, others=45 + 15 * (seed % 2))
    (cosines, there), (_, back) = nearest(rows, others), nearest(others, rows)
    similar = 1 - cdist(rows.double().numpy(), others.double().numpy(), "cosine")
    np.testing.assert_allclose(cosines.numpy(), similar.max(axis=1), atol=1e-6)
    assert there.tolist() == similar.argmax(axis=1).tolist()
    assert back.tolist() == similar.argmax(axis=0).tolist()
    pairs = matched(cosines, there, back).tolist()
    assert pairs == twin(rows, others)
    assert 15 < sum(pairs) < 45
    monkeypatch.setattr(matching, "_LARGEST", 100)  # two rows at a time
    again, _ = nearest(rows, others)
    torch.testing.assert_close(again, cosines)


def test_by_hand():
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    other = torch.tensor([[2.0, 0.0], [1.0, 1.01], [0.0, -3.0]])
    # The nearest of the first are the rows 0, 1, 2 of the other, with cosines 1, 1.01 / √2.0201 = 0.711 and 0; only the
    # first two are the nearest of those and above 0.7.
    row = mutual_share(one, other, 0.95)
    low, high = proportion_interval(2, 3, 0.95)
    assert (row["stability"], row["stability_low"], row["stability_high"], row["n_features"]) == (2 / 3, low, high, 3)
    assert row["nearest_cosine"] == pytest.approx((1 + 1.01 / 2.0201**0.5 + 0) / 3)
    # At 1 to 0.97 the second pair is nearest still, but its cosine is 0.696.
    other[1] = torch.tensor([0.97, 0.94])
    assert mutual_share(one, other, 0.95)["stability"] == 1 / 3
    assert MATCHED == 0.7


def test_the_same_rows_are_all_matched_in_any_order_and_length_and_their_negatives_are_not():
    rows, others = decoders(0)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    assert mutual_share(rows, rows.clone(), 0.9)["stability"] == 1
    assert mutual_share(rows, 5 * rows[order], 0.9)["nearest_cosine"] == pytest.approx(1)
    assert mutual_share(rows, 5 * rows[order], 0.9)["stability"] == 1
    assert mutual_share(rows[:4], -rows[:4], 0.9)["stability"] < 1
    turn = rotation(8, 0)
    torch.testing.assert_close(turn @ turn.T, torch.eye(8))
    assert mutual_share(rows @ turn, rows, 0.9)["stability"] < 1
    assert mutual_share(rows @ turn, rows @ turn, 0.9)["stability"] == 1
    one_way, other_way = mutual_share(rows, others, 0.9), mutual_share(others, rows, 0.9)
    assert one_way == other_way | {"nearest_cosine": pytest.approx(other_way["nearest_cosine"])}


@pytest.fixture(scope="module")
def trained(lm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """SAEs of two seeds by the stages themselves, the first seed's twice (as 1 and 3)."""
    folder = tmp_path_factory.mktemp("seeds")
    tokens = {
        "tokens": table_of_tokens(folder / "train.parquet", 300, 0, lm_folder),
        "evaluation": table_of_tokens(folder / "evaluation.parquet", 60, 1, lm_folder),
    }
    for name, seed in ((1, 1), (2, 2), (3, 1)):
        out = run(lm_folder, tokens, folder / str(name), seed=seed, layers=[2], step=100)
        describe(lm_folder, out / "sae", tokens["evaluation"], out, languages=["en", "es"], layers=[2])
    return {name: folder / str(name) for name in (1, 2, 3)}


def test_stage_has_a_row_for_each_seed_and_each_two(trained: dict[int, Path], tmp_path: Path):
    output = tmp_path / "sae_seeds.parquet"
    given: dict[str, Any] = {
        "saes": {name: str(out / "sae") for name, out in trained.items()},
        "features": {name: str(out / "features.parquet") for name, out in trained.items()},
        "table": str(output),
        "layer": 2,
        "languages": ["en", "es"],
        "minimum_activations": 4,
        "confidence": 0.9,
        "bootstrap": 0,
        "metadata": {"study": "test"},
    }
    sae_seeds(**grouped(given, statistics=Statistics))
    assert {field.name: field.type for field in open_table(output).schema_arrow} == SAE_SEEDS
    table = read_table(output)
    assert set(table["layer"]) == {2}
    assert set(table["step"]) == {100}
    single = table.filter(pl.col("seed_b").is_null())
    assert single["seed_a"].to_list() == [1, 2, 3]
    for row in single.to_dicts():
        features = read_table(trained[row["seed_a"]] / "features.parquet")
        active = features.filter(pl.col("class") != "silent")
        counted = active.filter(pl.col("n_activations") >= 4)
        assert (row["n_features"], row["n_alive"]) == (64, len(active))
        for column, of, rows in (
            ("mixed_share", "class", active),
            ("mixed_share_counted", "class", counted),
            ("mixed_share_firings", "class_firings", active),
        ):
            mixed = (rows[of] == "mixed").sum()
            assert 0 < row[column] == mixed / len(rows) < 1
            bounds = proportion_interval(mixed, len(rows), 0.9)
            assert (row[f"{column}_low"], row[f"{column}_high"]) == bounds
        assert row["stability"] is row["nearest_cosine"] is None
    pairs = {(row["seed_a"], row["seed_b"]): row for row in table.drop_nulls("seed_b").to_dicts()}
    assert list(pairs) == [(1, 2), (1, 3), (2, 3)]
    assert pairs[1, 3]["stability"] == 1  # the same seed
    assert pairs[1, 3]["nearest_cosine"] == pytest.approx(1)
    assert pairs[1, 2]["stability"] == pairs[2, 3]["stability"] < 1
    assert all(row["nearest_cosine_chance"] < 0.9 for row in pairs.values())
    assert all(row["mixed_share"] is row["n_alive"] is None for row in pairs.values())


def test_the_report_says_what_the_table_says():
    (sentence,) = found(bilingual_tables(("en", "es"), 4), Context("skewed", settings()))
    assert sentence == (
        "Of SAEs that differ in the seed alone (layer 1 of the finished model), mixed are 40.0 % [38.0, 42.0] with seed"
        " 0, 45.0 % [43.0, 47.0] with seed 1 and 50.0 % [48.0, 52.0] with seed 2 of the features. The features"
        " themselves come again (mutually nearest decoder rows with a cosine above 0.7) in 10.0 % [8.0, 12.0] for seeds"
        " 0 and 1, 20.0 % [18.0, 22.0] for seeds 0 and 2 and 30.0 % [28.0, 32.0] for seeds 1 and 2; by chance in 1.0 %."
    )


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([0, 1], "bilingual.sae_seeds: 0 is the study's seed, which its own SAEs have; give other ones"),
        ([1, 1], "bilingual: named twice: 1; name each once"),
        ([-1], "bilingual.sae_seeds.0: Input should be greater than or equal to 0 (got -1)"),
    ],
)
def test_each_mistake_about_seeds_is_one_line(seeds: list[int], message: str):
    config = deepcopy(STUDY)
    config["bilingual"]["sae_seeds"] = seeds
    with pytest.raises(IsoglossError) as caught:
        load_study(config)
    assert message in str(caught.value).splitlines()[1]


def test_published_saes_have_no_other_seeds():
    config = read_study(REPOSITORY / "config" / "studies" / "disparity-gemma-2-2b.yaml")
    config["models"] = {
        name: {**model, "analyses": ["bilingual"]} for name, model in config["models"].items() if "saes" in model
    }
    config.setdefault("bilingual", {})["sae_seeds"] = [1]
    with pytest.raises(IsoglossError, match=r"bilingual\.sae_seeds: the SAEs of models\.\S+ are published ones; give"):
        load_study(config)
