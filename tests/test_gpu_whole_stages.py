"""Whole stages that read or train SAEs, on CUDA against the CPU (`pytest -m gpu`); bfloat16 against float32 on either.

On the CPU the same helpers run in `make test`, so that what is written for a GPU is known to work.
"""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import test_gpu_stages
from config_sections import grouped
from isogloss.bilingual.features import describe_features
from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Check, Compute
from isogloss.config.model import SaeRecipe
from isogloss.phrases.exported import RECORDS
from isogloss.phrases.reproduction import reproduce
from isogloss.sae.measure import measure_saes
from isogloss.sae.train import train_saes
from isogloss.tables import TableWriter, read_table, table_metadata, write_table
from sae_standins import weights
from standins import TEXTS

LAYERS, WIDTH, LANGUAGES = [0, 2], 64, ["en", "es"]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["jumprelu", "topk"])
def saes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SAE a layer in SAELens' two files, as `fetch_sae` writes them."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = {"architecture": request.param, "d_in": 32, "d_sae": WIDTH, "dtype": "float32", "device": "cpu"}
    cfg |= {"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"}
    cfg |= {"metadata": {}} | ({"k": 8, "rescale_acts_by_decoder_norm": False} if request.param == "topk" else {})
    tensors = weights(32, WIDTH)
    if request.param == "topk":
        del tensors["threshold"]
    for layer in LAYERS:
        (folder / f"layer_{layer}").mkdir()
        (folder / f"layer_{layer}" / "cfg.json").write_text(json.dumps(cfg))
        save_file(tensors, folder / f"layer_{layer}" / "sae_weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of random tokens, BOS first, in two languages."""
    draw = torch.Generator().manual_seed(0)
    ids = [[2, *torch.randint(4, 320, (5 + row % 20,), generator=draw).tolist()] for row in range(60)]
    frame = pl.DataFrame(
        {"document": [f"{row}" for row in range(60)], "lang": LANGUAGES * 30, "ids": ids},
        schema_overrides={"ids": pl.List(pl.Int32)},
    )
    path = tmp_path_factory.mktemp("tokens") / "evaluation.parquet"
    write_table(path, frame)
    return path


def hold(device: str, measured: Callable[[str], Tensor], tolerances: dict[str, float]) -> None:
    """What is `measured` in each dtype on `device` is what the CPU finds in float32."""
    if device == "cuda":
        test_gpu_stages.hold(measured, tolerances)
        return
    expected = measured("float32").double()
    assert expected.isfinite().all()
    assert expected.std() > 0
    for dtype, tolerance in tolerances.items():
        error = (measured(dtype).double() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
        assert error < tolerance, f"{dtype}: {error:.2g}"
    assert (measured("bfloat16") != expected).any()  # the dtype arrives where the numbers are made


def compute(dtype: str) -> dict[str, object]:
    return {"token_budget": 200, "dtype": dtype, "kernels": "auto", "metadata": {}}


def numbers(path: Path, columns: list[str]) -> Tensor:
    assert table_metadata(path)["kernels"]
    return torch.tensor(read_table(path).select(columns).to_numpy()).double()


def test_reproduce(lm_folder, saes, tmp_path, device):
    draw = torch.Generator().manual_seed(1)
    rows = [(layer, feature) for layer in LAYERS for feature in range(0, WIDTH, 2)]
    ids = [[2, *torch.randint(4, 320, (30,), generator=draw).tolist()] for _ in rows]
    columns = {"layer": [row[0] for row in rows], "feature": [row[1] for row in rows], "ids": ids}
    with TableWriter(tmp_path / "records.parquet", RECORDS) as writer:
        writer.write(pl.DataFrame({**columns, "values": [list(map(float, range(31)))] * len(rows), "peak": 30}))
    output = tmp_path / "reproduction.parquet"

    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm_folder), "sae": str(saes), "records": [str(tmp_path / "records.parquet")]}
        settings |= {"output": str(output), "layers": LAYERS, **compute(dtype)}
        reproduce(**grouped(settings, compute=Compute), check=Check.model_construct(correlation=-2.0, same_peak=0.0))
        return numbers(output, ["measured_max"])

    # In bfloat16 a token next to a threshold may fall on its other side.
    hold(device, measured, {"float32": 1e-4, "bfloat16": 0.2})


def test_train_sae(lm_folder, tmp_path, device):
    documents = {}
    for lang in LANGUAGES:
        documents[lang] = str(tmp_path / f"{lang}.parquet")
        texts = [f"{TEXTS[row % 6]} {lang} {row}" for row in range(60)]
        write_table(documents[lang], pl.DataFrame({"document": [f"{row}" for row in range(60)], "text": texts}))
    recipe = SaeRecipe.model_construct(
        features=WIDTH, k=4, tokens=2000, batch_tokens=128, buffer_tokens=512, learning_rate=3e-3, warmup_steps=3,
        held_out_tokens=300, kind="topk",
    )  # fmt: skip
    output = tmp_path / "quality.parquet"

    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm_folder), "documents": documents, "sae": str(tmp_path / "sae"), "layers": LAYERS}
        settings |= {"quality": str(output), "shares": {"en": 0.5, "es": 0.5}, "seed": 0, **compute(dtype)}
        train_saes(**grouped(settings, compute=Compute), recipe=recipe)
        return numbers(output, ["fvu", "l0"])

    hold(device, measured, {"float32": 0.02, "bfloat16": 0.05})


def test_measure_saes(lm_folder, saes, tokens, tmp_path, device):
    output = tmp_path / "quality.parquet"

    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm_folder), "sae": str(saes), "evaluation": str(tokens), "quality": str(output)}
        measure_saes(**grouped({**settings, "step": 0, "layers": LAYERS, **compute(dtype)}, compute=Compute))
        return numbers(output, ["fvu", "loss", "l0"]).log()

    hold(device, measured, {"float32": 1e-3, "bfloat16": 0.05})


def test_describe_features(lm_folder, saes, tokens, tmp_path, device):
    output = tmp_path / "features.parquet"
    how = {
        "threshold": 0.6, "pattern_threshold": 0.7, "similarity": 0.1, "similarity_quantile": 0.9, "permutations": 2,
        "clustering": "greedy", "single_token": 1.0, "examples_per_class": 2,
    }  # fmt: skip

    def measured(dtype: str) -> Tensor:
        settings = {"lm": str(lm_folder), "embeddings": str(lm_folder), "sae": str(saes), "evaluation": str(tokens)}
        settings |= {"features": str(output), "examples": str(tmp_path / "examples.parquet"), "step": 0}
        settings |= {"layers": LAYERS, "languages": LANGUAGES, "seed": 0, **how, **compute(dtype)}
        keep = ("languages", "embeddings")
        describe_features(**grouped(settings, keep, settings=Bilingual, compute=Compute))
        assert read_table(tmp_path / "examples.parquet").height > 0
        return numbers(output, ["maximum"])

    hold(device, measured, {"float32": 1e-4, "bfloat16": 0.1})
