"""The study of planted truth at tiny sizes, through the real Snakefile to the verdicts."""

from copy import deepcopy
from pathlib import Path

import polars as pl
import pytest

from checkout import REPOSITORY, Checkout, read_study
from isogloss.tables import table_metadata

STUDY = read_study(REPOSITORY / "config" / "studies" / "planted-truth.yaml")
LANGS = ["en", "es", "ca", "hi"]
RESULTS = ["results/comparison/figures/planted_truth.svg", "results/comparison/html/planted_truth.html"]

pytestmark = pytest.mark.workflow


def tiny() -> dict:
    config = deepcopy(STUDY)
    config["languages"] = {"reference": "en", "high_resource": ["en", "es"], "medium_low_resource": ["ca", "hi"]}
    config["world"] |= {"languages": LANGS, "territories": 30}
    shape = {"layers": 2, "d_model": 32, "d_mlp": 64, "heads": 2, "key_value_heads": 1, "d_head": 16}
    sizes = {"features": 64, "k": 8, "tokens": 10_000, "batch_tokens": 1024, "buffer_tokens": 4096}
    shares = {"skewed": [0.5, 0.3, 0.15, 0.05], "equal": [0.25] * 4}
    for name, model in config["models"].items():
        model["shares"] = dict(zip(LANGS, shares[name], strict=True))
        model["architecture"] = shape | {"vocabulary": 512, "context": 512, "sliding_window": 64}
        model["training"] = {"tokens": 30_000, "batch_tokens": 1024, "checkpoints": 1, "warmup_steps": 5}
        model["sae"] = sizes | {"held_out_tokens": 2048, "warmup_steps": 5}
    config["phrases"] |= {"corpus_tokens": 8000}
    config["statistics"] = {"bootstrap": 100}
    config["benchmarks"]["tasks"]["hellaswag"] |= {"shots": 1, "questions": 8}
    return config


def test_two_seeds_end_in_verdicts_and_a_seed_more_trains_only_that(tmp_path: Path):
    checkout = Checkout(tmp_path / "isogloss", tiny())
    seeds = ("--config", 'planted={"seeds": [0, 1]}')
    checkout.finish(*RESULTS, *seeds)
    path = checkout.folder / "results/comparison/tables/planted_truth.parquet"
    truth = pl.read_parquet(path)
    judged = truth.filter(pl.col("measure") != "accuracy.accuracy")
    assert {"similarity.retrieval", "language_gap_summary.mean_gap_pct"} <= set(judged["measure"])
    assert set(truth["n_seeds"]) == {2}
    assert judged["slope"].null_count() == judged["null_slope"].null_count() == 0
    assert set(truth["n_languages"]) == {3}
    assert table_metadata(path)["without_control"] == []
    planned = checkout.planned(*RESULTS, "--config", 'planted={"seeds": [0, 1, 2]}')
    assert planned["train_toy"] == planned["train_sae"] == planned["similarity"] == 2
    assert planned["planted_truth"] == 1
    alone = ("--config", 'planted={"seeds": [0]}', 'models={"equal": {"analyses": []}}')
    line = checkout.complaint(*RESULTS, *alone)
    assert "planted truth: models skewed-0, equal-0 have no measure in common" in line
