"""The tables over models: of known tables, with sizes counted in files that transformers wrote."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import linregress
from statsmodels.regression.linear_model import OLS
from transformers import Gemma2Config, Gemma2ForCausalLM

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.joined.compare_models import PACKED, compare_models
from isogloss.joined.sizes import SIZE_MEASURES, size_slopes
from isogloss.models.parameters import parameters
from isogloss.tables import read_table, write_table


def model(folder: Path, width: int, **more) -> int:
    """A tiny Gemma 2 in a folder; how many parameters transformers counts."""
    shape = {
        "vocab_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    decoder = Gemma2ForCausalLM(Gemma2Config(hidden_size=width, intermediate_size=2 * width, **shape))
    decoder.save_pretrained(folder, **more)
    return decoder.num_parameters()


def test_parameters_are_those_that_transformers_counts(tmp_path: Path):
    counted = model(tmp_path / "whole", 16)
    assert parameters(tmp_path / "whole") == counted
    counted = model(tmp_path / "shards", 16, max_shard_size="4KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert parameters(tmp_path / "shards") == counted


def test_a_tied_head_counts_once_and_packed_weights_not_at_all(tmp_path: Path):
    tensors = {"model.embed_tokens.weight": torch.zeros(8, 4), "lm_head.weight": torch.zeros(8, 4)}
    for name, tied in (("tied", "true"), ("apart", "false")):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(f'{{"tie_word_embeddings": {tied}}}')
    assert (parameters(tmp_path / "tied"), parameters(tmp_path / "apart")) == (32, 64)
    save_file(tensors | {"blocks": torch.zeros(4, dtype=torch.uint8)}, tmp_path / "tied" / "model.safetensors")
    assert parameters(tmp_path / "tied") is None


def test_a_folder_without_weights_or_with_damaged_ones_is_named(tmp_path: Path):
    with pytest.raises(IsoglossError, match=r"model\.safetensors: no such file, so nobody knows the model's size"):
        parameters(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(IsoglossError, match=r"model\.safetensors: damaged .* fetch the model again"):
        parameters(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(IsoglossError, match=r"config\.json: no JSON; fetch the model again"):
        parameters(tmp_path)


def write(folder: Path, **frames: pl.DataFrame) -> dict[str, str]:
    for name, frame in frames.items():
        write_table(folder / f"{name}.parquet", frame)
    return {name: str(folder / f"{name}.parquet") for name in frames}


def benchmarks(langs: list[str], *accuracies: float) -> pl.DataFrame:
    base = {"adapter": "base", "task": "arc", "n": 50, "chance": 0.25}
    rows = [base | {"lang": lang, "accuracy": value} for lang, value in zip(langs, accuracies, strict=True)]
    return pl.DataFrame([*rows, base | {"adapter": "all-l2", "lang": langs[0], "accuracy": 0.0}])


def parallel() -> dict[str, pl.DataFrame]:
    measures = {}
    for name, value in (("accuracy", 0.5), ("consistency", 0.4), ("positive_transfer", 0.7)):
        measures |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
    measures |= {"accuracy_sd": 0.05, "consistency_chance": 0.1, "positive_transfer_chance": 0.5}
    measures |= {"negative_transfer": None, "n_languages": 2, "n": 40}
    related = [("accuracy", -0.9), ("consistency", 0.2), ("positive_transfer", 0.3), ("accuracy", 0.1)]
    return {
        "transfer_summary": pl.DataFrame(
            [{"task": "belebele"} | measures], schema_overrides={"negative_transfer": pl.Float64}
        ),
        "answers": pl.DataFrame(
            {"task": ["belebele"] * 2, "lang": ["en", "hi"], "accuracy": [0.6, 0.4], "chance": 0.25}
        ),
        "latent_correlation": pl.DataFrame(
            [{"task": "belebele", "target": name, "r": r, "r_low": r - 0.1, "r_high": r + 0.1} for name, r in related]
        ),
    }


def selectivity() -> pl.DataFrame:
    """Three layers and two steps; the wanted row is the last step's of layer 5."""
    rows = [
        {"step": step, "layer": layer, "class": name, "n_features": 10 * layer, "share": share + step}
        | {"share_low": 0.1, "share_high": 0.9, "monosemanticity": layer / 10, "span_length": 1.0 + layer}
        for step in (0, 1)
        for layer in (2, 5, 9)
        for name, share in (("en", 0.6), ("mixed", 0.4), ("all", 1.0))
    ]
    return pl.DataFrame(rows)


def run(folder: Path, tables: dict[str, dict[str, str]], folders: dict[str, str]) -> dict[str, pl.DataFrame]:
    outputs = {name: str(folder / f"{name}.parquet") for name in ("models", "sizes", "size_regression")}
    statistics = Statistics(confidence=0.95)
    compare_models(tables=tables, folders=folders, statistics=statistics, metadata={}, **outputs)
    return {name: read_table(path) for name, path in outputs.items()}


def test_models_and_sizes_by_hand(tmp_path: Path):
    counted = {name: model(tmp_path / name, width) for name, width in (("small", 8), ("large", 16))}
    tables = {
        "small": write(
            tmp_path / "s", accuracy=benchmarks(["en", "hi", "zh"], 0.9, 0.5, 0.4), selectivity=selectivity()
        ),
        "large": write(tmp_path / "l", accuracy=benchmarks(["en", "hi"], 0.9, 0.7), **parallel()),
    }
    out = run(tmp_path, tables, {name: str(tmp_path / name) for name in counted})
    rows = {(row["model"], row["analysis"]): row for row in out["models"].iter_rows(named=True)}
    small, large = rows["small", "benchmarks"], rows["large", "benchmarks"]
    assert {name: rows[name, "benchmarks"]["n_parameters"] for name in counted} == counted
    assert small["accuracy"] == pytest.approx(0.6)
    assert small["accuracy_sd"] == pytest.approx(np.std([0.9, 0.5, 0.4], ddof=1))
    assert (small["accuracy_common"], large["accuracy_common"]) == pytest.approx((0.7, 0.8))
    assert (small["n_languages"], small["n_common"], small["n"]) == (3, 2, 50)
    assert small["accuracy_low"] < 0.6 < small["accuracy_high"]
    assert small["reason"] == "consistency and transfer: only of the analysis latent"
    latent = rows["large", "latent"]
    assert (latent["consistency"], latent["consistency_chance"], latent["accuracy_chance"]) == (0.4, 0.1, 0.25)
    assert (latent["accuracy_r"], latent["consistency_r"], latent["positive_transfer_r"]) == (-0.9, 0.2, 0.3)
    assert (latent["interval"], latent["reason"]) == ("questions", "undefined: negative_transfer")
    features = {(row["model"], row["measure"]): row for row in out["sizes"].iter_rows(named=True)}
    mixed = features["small", "mixed_share"]
    assert (mixed["step"], mixed["layer"], mixed["value"], mixed["n_features"]) == (1, 5, pytest.approx(1.4), 50)
    assert features["small", "span_length"]["value"] == 6.0
    assert features["small", "monosemanticity_excess"]["reason"] == "no column monosemanticity_excess"
    assert features["large", "mixed_share"]["reason"] == "not measured: bilingual"
    slopes = out["size_regression"]
    assert slopes["slope"].null_count() == slopes.height
    assert slopes.filter(measure="accuracy_common", task="arc")["reason"].to_list() == ["needs 3 sizes of model, has 2"]


def test_models_that_share_no_language_features_that_are_silent_and_a_model_without_either(tmp_path: Path):
    for name in ("a", "b", "c"):
        model(tmp_path / name, 8)
    save_file({"x": torch.zeros(2, dtype=torch.uint8)}, tmp_path / "c" / "model.safetensors")
    tables = {
        "a": write(tmp_path / "ta", accuracy=benchmarks(["en", "hi"], 0.9, 0.5)),
        "b": write(tmp_path / "tb", accuracy=benchmarks(["zh", "ru"], 0.9, 0.5), selectivity=selectivity()),
        "c": {},
    }
    silent = selectivity().with_columns(share=pl.lit(None, pl.Float64))
    tables["b"] |= write(tmp_path / "tb", selectivity=silent)
    out = run(tmp_path, tables, {name: str(tmp_path / name) for name in tables})
    first, second, third = out["models"].iter_rows(named=True)
    assert first["accuracy_common"] is second["accuracy_common"] is None
    assert first["n_common"] == 0
    assert first["reason"].endswith("; no language that all models share in this task")
    assert third["reason"] == f"not measured: neither benchmarks nor latent; {PACKED}"
    assert third["n_parameters"] is third["task"] is None
    reason = out["sizes"].filter(model="b", measure="mixed_share")["reason"].to_list()
    assert reason == ["undefined: every feature is silent"]


def test_slopes_are_those_of_a_regression_on_the_log_of_size():
    sizes, values = [1_000, 5_000, 40_000, 40_000], [0.2, 0.5, 0.4, 0.9]
    features = [
        {"measure": "mixed_share", "n_parameters": size, "value": value}
        for size, value in zip(sizes, values, strict=True)
    ]
    (row,) = size_slopes([], [*features, {"measure": "mixed_share", "n_parameters": None, "value": 1.0}], 0.95)
    fit = OLS(values, np.column_stack([np.ones(4), np.log(sizes)])).fit()
    assert row["slope"] == pytest.approx(linregress(np.log(sizes), values).slope)  # pyright: ignore
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.asarray(fit.conf_int(0.05))[1]))
    assert row["p"] == pytest.approx(np.asarray(fit.pvalues)[1])
    assert (row["n_models"], row["n_sizes"]) == (4, 3)
    assert {one.name for one in SIZE_MEASURES} >= {"mixed_share", "monosemanticity", "span_length"}
