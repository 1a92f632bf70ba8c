import logging
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from config_sections import grouped
from exports import write_exports
from isogloss.config.measures import Check, Compute, Phrases
from isogloss.errors import IsoglossError
from isogloss.phrases.exported import RECORDS, export_phrases
from isogloss.phrases.reproduction import REPRODUCTION, agreement, reproduce
from isogloss.tables import TableWriter, read_table, table_metadata
from standins import TEXTS, tiny_gemma2, tiny_sae

LAYERS = [0, 2]
MANY = [f"{a} {b}." for a in TEXTS for b in reversed(TEXTS)]


def saes(folder: Path, kind: str, seed: int = 0) -> Path:
    for layer in LAYERS:
        one = tiny_sae(folder / f"layer_{layer}", kind=kind, seed=seed + layer)
        cfg = (one / "cfg.json").read_text().replace("blocks.0.hook", f"blocks.{layer}.hook")
        (one / "cfg.json").write_text(cfg)
    return folder


def records(folder: Path, lm: Path, sae: Path, count: int = 12, **changes) -> list[str]:
    """The tables of records that exports of this model and these SAEs give."""
    paths = []
    for layer in LAYERS:
        source = f"{layer}-gemmascope-res-16k"
        settings = {"texts": MANY, "source": source, **changes}
        write_exports(folder, lm=lm, sae=sae / f"layer_{layer}", layer=layer, **settings)
        paths.append(str(folder / f"layer_{layer}.records.parquet"))
        export_phrases(
            exports=str(folder / "gemma-2-2b" / source / "activations"),
            lm=str(lm),
            phrases=str(folder / f"layer_{layer}.parquet"),
            records=paths[-1],
            counts=str(folder / f"layer_{layer}.counts.parquet"),
            layer=layer,
            features=64,
            settings=Phrases(threshold=0.8, window=4, feature_stride=1, per_feature=2),
            checked_records=count,
            metadata={},
        )
    return paths


@pytest.fixture(scope="module", params=["topk", "jumprelu", "standard"])
def made(request, lm_folder, tmp_path_factory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp(f"reproduction-{request.param}")
    sae = saes(folder / "sae", request.param)
    return sae, records(folder, lm_folder, sae)


def run(lm: Path, sae: Path, paths: list[str], out: Path, **changes) -> pl.DataFrame:
    settings = {
        "lm": str(lm), "sae": str(sae), "records": paths, "output": str(out / "0-2.parquet"), "layers": LAYERS,
        "correlation": 0.95, "same_peak": 0.8, "token_budget": 100, "dtype": "float32", "metadata": {"study": "x"},
    }  # fmt: skip
    settings = grouped({**settings, **changes}, compute=Compute)
    check = Check(correlation=settings.pop("correlation"), same_peak=settings.pop("same_peak"))
    reproduce(**settings, check=check)
    return read_table(out / "0-2.parquet")


def test_the_recorded_activations_are_found_again(lm_folder, made, tmp_path):
    table = run(lm_folder, *made, tmp_path)
    recorded = pl.concat([read_table(path) for path in made[1]])
    assert table.select("layer", "feature").equals(recorded.select("layer", "feature"))
    assert len(table) == 24
    assert table["same_peak"].all()
    assert table["correlation"].min() > 0.99999
    assert table["scale"].to_list() == pytest.approx([1] * 24, rel=2e-3)  # recorded to three decimals
    for row, record in zip(table.iter_rows(named=True), recorded.iter_rows(named=True), strict=True):
        own = [value for token, value in zip(record["ids"], record["values"], strict=True) if token != 2]
        assert (row["n_tokens"], row["recorded_max"]) == (len(own), max(own))
        assert row["measured_max"] == pytest.approx(max(own), abs=6e-4)
    assert pq.read_schema(tmp_path / "0-2.parquet").remove_metadata().equals(REPRODUCTION)
    metadata = table_metadata(tmp_path / "0-2.parquet")
    assert metadata.pop("kernels").keys() == {"norms", "gates", "attention", "rows", "layers"}
    assert metadata == {"study": "x"}


def test_batches_and_absent_layers_change_nothing(lm_folder, made, tmp_path):
    wide = run(lm_folder, *made, tmp_path, token_budget=10_000)
    narrow = run(lm_folder, *made, tmp_path, token_budget=1)
    assert narrow["measured_max"].to_list() == pytest.approx(wide["measured_max"].to_list(), rel=1e-4)
    alone = run(lm_folder, *made, tmp_path, layers=[2])
    assert alone["feature"].to_list() == wide.filter(layer=2)["feature"].to_list()


def test_records_need_not_have_bos(lm_folder, made, tmp_path):
    unmarked = records(tmp_path, lm_folder, made[0], bos="unrecorded")
    assert all(2 not in ids[:1] for ids in read_table(unmarked[0])["ids"].to_list())
    table = run(lm_folder, made[0], unmarked, tmp_path)
    assert table["correlation"].min() > 0.99999
    assert table["n_tokens"].max() <= 31


def test_exports_at_the_lower_scale_that_lacking_bos_gives_only_warn(lm_folder, made, tmp_path, caplog):
    sae, paths = made
    with caplog.at_level(logging.WARNING):
        run(lm_folder, sae, paths, tmp_path)
    assert not caplog.records
    changed = []
    for path in paths:  # without BOS the activations are 30 to 45 % lower (paper A, app. A.5)
        lower = read_table(path).with_columns(values=pl.col("values").list.eval(pl.element() * 0.6))
        changed.append(str(tmp_path / Path(path).name))
        with TableWriter(changed[-1], RECORDS) as writer:
            writer.write(lower)
    with caplog.at_level(logging.WARNING):
        table = run(lm_folder, sae, changed, tmp_path)
    assert table["scale"].to_list() == pytest.approx([1 / 0.6] * len(table), rel=3e-3)
    assert [message.getMessage() for message in caplog.records] == [
        f"layer {layer}: measured maxima are 1.67 times the recorded ones; without BOS exports have 30 to 45 % less"
        for layer in LAYERS
    ]


def refused(caught: pytest.ExceptionInfo, out: Path) -> pl.DataFrame:
    """What every refusal says and leaves."""
    message = str(caught.value)
    for part in ("of 12 recorded texts have their peak", "median correlation", "median scale", "worst is feature"):
        assert part in message
    for part in ("revision", "saes.ids", "BOS", "neuronpedia.source", "0-2.failed.parquet"):
        assert part in message
    assert "\n" not in message
    assert not (out / "0-2.parquet").exists()
    return read_table(out / "0-2.failed.parquet")


def test_another_sae_is_found_out(lm_folder, made, tmp_path):
    other = saes(tmp_path / "sae", "jumprelu", seed=7)
    with pytest.raises(IsoglossError, match=r"^layer 0: .* So are 1 more layers\.") as caught:
        run(lm_folder, other, made[1], tmp_path)
    assert len(refused(caught, tmp_path)) == 24


def test_permuted_features_of_one_layer_are_found_out(lm_folder, made, tmp_path):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "layer_0").symlink_to(made[0] / "layer_0")
    permuted = tmp_path / "sae" / "layer_2"
    permuted.mkdir()
    (permuted / "cfg.json").write_text((made[0] / "layer_2" / "cfg.json").read_text())
    weights = load_file(made[0] / "layer_2" / "sae_weights.safetensors")
    order = torch.arange(64).roll(1)
    for name in weights:
        if name == "W_enc":
            weights[name] = weights[name][:, order].contiguous()
        elif name != "b_dec":
            weights[name] = weights[name][order].contiguous()
    save_file(weights, permuted / "sae_weights.safetensors")
    with pytest.raises(IsoglossError, match=r"^layer 2: .*; needed are 80 % and 0\.95") as caught:
        run(lm_folder, tmp_path / "sae", made[1], tmp_path)
    assert "more layers" not in str(caught.value)
    assert refused(caught, tmp_path).filter(layer=0)["same_peak"].all()


def test_another_revision_of_the_model_is_found_out_and_mending_it_clears_the_rows_away(lm_folder, made, tmp_path):
    other = tiny_gemma2(tmp_path / "other", seed=1)
    with pytest.raises(IsoglossError, match=r"^layer 0") as caught:
        run(other, *made, tmp_path)
    refused(caught, tmp_path)
    run(lm_folder, *made, tmp_path)
    assert not (tmp_path / "0-2.failed.parquet").exists()


def test_without_records_there_is_an_empty_table(lm_folder, made, tmp_path):
    none = records(tmp_path, lm_folder, made[0], count=0)
    assert len(run(lm_folder, made[0], none, tmp_path)) == 0
    some = run(lm_folder, made[0], [none[0], made[1][1]], tmp_path)
    assert some["layer"].unique().to_list() == [2]


def test_agreement_over_tokens():
    recorded = np.array([0.0, 2.0, 1.0, 2.0])
    assert agreement(recorded, np.array([0.1, 1.0, 0.6, 1.1])).same_peak  # the other of two equal peaks
    assert agreement(recorded, recorded / 2)[3:] == (True, pytest.approx(1.0), 0.5)
    assert not agreement(recorded, np.array([0.0, 1.0, 1.5, 1.0])).same_peak
    silent = agreement(recorded, np.zeros(4))
    assert (silent.same_peak, silent.correlation, silent.scale) == (False, 0.0, 0.0)
    assert agreement(np.ones(3), np.array([1.0, 1.1, 0.9])).correlation is None
    assert agreement(np.ones(1), np.ones(1)) == (1, 1.0, 1.0, True, None, 1.0)


def test_mistakes_are_named(lm_folder, made, tmp_path):
    sae, paths = made
    narrow = tmp_path / "sae"
    for layer in LAYERS:
        tiny_sae(narrow / f"layer_{layer}", features=32)
        cfg = (narrow / f"layer_{layer}" / "cfg.json").read_text().replace("blocks.0.hook", f"blocks.{layer}.hook")
        (narrow / f"layer_{layer}" / "cfg.json").write_text(cfg)
    with pytest.raises(IsoglossError, match=r"no feature \d+, the SAE has 32"):
        run(lm_folder, narrow, paths, tmp_path)
    long = read_table(paths[0]).with_columns(
        ids=pl.lit([5] * 512, pl.List(pl.Int32)), values=pl.lit([1.0] * 512, pl.List(pl.Float32))
    )
    with TableWriter(tmp_path / "long.parquet", RECORDS) as writer:
        writer.write(long)
    with pytest.raises(IsoglossError, match="a recorded text has 513 tokens with BOS, the model reads 512"):
        run(lm_folder, sae, [str(tmp_path / "long.parquet")], tmp_path)
    broken = load_file(lm_folder / "model.safetensors")
    broken["model.layers.1.mlp.down_proj.weight"][:] = torch.nan
    bad = tmp_path / "lm"
    bad.mkdir()
    for path in lm_folder.iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    save_file(broken, bad / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IsoglossError, match=r"layer 2, feature \d+: the activation is not finite"):
        run(bad, sae, paths, tmp_path)
