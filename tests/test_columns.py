"""Encoders of which only some features are in memory, against the whole: the same bits, of every kind and layout."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from config_sections import grouped
from isogloss.config.measures import Compute
from isogloss.disparity.alignment import own_activations
from isogloss.errors import IsoglossError
from isogloss.explorer import spans as explorer
from isogloss.explorer.spans import Span
from isogloss.sae import codes, columns, encode
from isogloss.sae.autoencoder import activations, load_encoder, load_encoders, pre_activations
from isogloss.sae.kinds.table import KINDS
from isogloss.sae.own_feature import measure
from isogloss.sae.top_windows import document_peaks
from isogloss.tables import read_table, write_table
from published_saes import fetch
from standins import TEXTS, tiny_sae
from test_sae_layouts import SCOPED

ROOT = Path(__file__).parents[1]
CHOSEN = torch.tensor([40, 3, 17, 3, 63])


@pytest.mark.parametrize("layout", SCOPED)
def test_columns_of_a_layout_have_the_bits_of_the_whole(tmp_path, monkeypatch, layout):
    write, repository, path, _, settings = SCOPED[layout]
    write(tmp_path / "files", path)
    folder = fetch(tmp_path / "files", path, tmp_path / "out", id=repository, **settings)
    monkeypatch.setattr(columns, "_NUMBERS", 200)  # some rows of the matrix at a time
    hold(folder, settings.get("d_model", 32))


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_of_a_kind_have_the_bits_of_the_whole(tmp_path, kind, dtype):
    folder = tiny_sae(tmp_path, kind=kind)
    file = folder / "sae_weights.safetensors"
    save_file({name: weight.to(dtype) for name, weight in load_file(file).items()}, file)
    hold(folder, 32)


def hold(folder: Path, d_model: int) -> None:
    """Everything that stages ask of an encoder for `CHOSEN`, of the whole and of these columns alone."""
    whole, narrow = load_encoder(folder), load_encoder(folder, CHOSEN)
    by_columns = KINDS[whole.kind].threshold is not None
    assert narrow.w_enc.shape == (d_model, 4 if by_columns else whole.width)
    assert narrow.width == whole.width
    residual = torch.randn(6, 9, d_model, generator=torch.Generator().manual_seed(0)) * 2
    content = torch.ones(6, 9, dtype=torch.bool)
    content[:, 0] = False
    rows, pairs = torch.tensor([0, 3, 3, 5]), CHOSEN[torch.tensor([[0, 1], [2, 4], [3, 0], [4, 1]])]
    parts: list[Any] = []
    for encoder in (whole, narrow):
        fired = activations(encoder, residual, CHOSEN)
        peaks = document_peaks(encoder, residual, content, CHOSEN)
        own = own_activations(encoder, residual, content, CHOSEN[[0, 1, 2, 3, 4, 0]], "pre_activation")
        measured = measure(encoder, residual, content, rows, pairs)
        parts.append([fired, pre_activations(encoder, residual, CHOSEN), *peaks, *measured, *own])
    assert (parts[0][0] > 0).any()
    for one, other in zip(*parts, strict=True):
        assert torch.equal(one, other)
    if by_columns:
        with pytest.raises(IndexError):
            activations(narrow, residual, torch.tensor([5]))
        with pytest.raises(ValueError, match="only some features"):
            activations(narrow, residual)


def test_norms_of_a_decoder_are_taken_some_rows_at_a_time(tmp_path, monkeypatch):
    """Of a TopK SAE that rescales by them; the decoder itself is not held."""
    import json

    from isogloss.sae.kinds import topk

    folder = tiny_sae(tmp_path, kind="topk")
    cfg = json.loads((folder / "cfg.json").read_text()) | {"rescale_acts_by_decoder_norm": True}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    weights = load_file(folder / "sae_weights.safetensors")
    weights["W_dec"] *= torch.linspace(0.5, 2, 64)[:, None]
    save_file(weights, folder / "sae_weights.safetensors")
    monkeypatch.setattr(topk, "_ROWS", 5)
    assert_close(load_encoder(folder).w_enc, weights["W_enc"] * weights["W_dec"].norm(dim=1), rtol=0, atol=0)


def test_a_feature_that_the_sae_lacks_is_named(tmp_path):
    folder = tiny_sae(tmp_path, kind="jumprelu")
    with pytest.raises(IsoglossError, match="no feature 64, the SAE has 64"):
        load_encoder(folder, torch.tensor([3, 64]))
    assert load_encoder(folder, torch.arange(64)).column is None


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saes")
    for layer in range(3):
        cfg = tiny_sae(folder / f"layer_{layer}", kind="jumprelu", seed=layer) / "cfg.json"
        cfg.write_text(cfg.read_text().replace("blocks.0.hook", f"blocks.{layer}.hook"))
    return folder


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    rows = [(layer, feature) for layer in range(3) for feature in range(0, 64, 16)]
    frame = pl.DataFrame(
        {
            "phrase": range(len(rows)),
            "layer": [layer for layer, _ in rows],
            "feature": [feature for _, feature in rows],
            "text": [TEXTS[row % 6] for row in range(len(rows))],
            "ids": None,
            "chrf": None,
        },
        schema_overrides={
            "phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "ids": pl.List(pl.Int32), "chrf": pl.Float32
        },
    )  # fmt: skip
    path = tmp_path_factory.mktemp("translations") / "es.parquet"
    write_table(path, frame)
    return path


def stage_settings(lm_folder, saes, **more):
    base = {"lm": str(lm_folder), "sae": str(saes), "layers": [0, 1, 2], "token_budget": 200, "dtype": "float32"}
    return grouped({**base, "seed": 0, "metadata": {}, **more}, compute=Compute)


def run_encode(lm_folder, saes, translations, folder):
    settings = {
        "adapter": None,
        "translations": {"es": str(translations)},
        "outputs": {"es": str(folder / "es.parquet")},
    }
    encode.encode(**stage_settings(lm_folder, saes, **settings))
    return read_table(folder / "es.parquet")


def run_codes(lm_folder, saes, translations, folder):
    settings = {"tables": {key: [str(translations)] for key in ["en", "es"]}, "kind": "phrases", "reference": "en"}
    settings |= {"texts": 100, "feature_stride": 3, "outputs": {"es": str(folder / "es.parquet")}}
    codes.write_codes(**stage_settings(lm_folder, saes, **settings))
    return read_table(folder / "es.parquet")


def run_explore(lm_folder, saes, translations, folder):
    spans = [Span(layer, feature, "phrase", 0, "es", "es", "", text, None)
             for layer in range(3) for feature in (5, 40) for text in TEXTS[:3]]  # fmt: skip
    compute = Compute.model_construct(token_budget=200, dtype="float32")
    rows, _ = explorer.measured_spans(spans, lm=str(lm_folder), sae=str(saes), compute=compute)
    return pl.DataFrame([{"activations": row["activations"]} for row in rows])


@pytest.mark.parametrize(("module", "run"), [(encode, run_encode), (codes, run_codes), (explorer, run_explore)])
def test_a_stage_holds_the_columns_that_it_reads_and_gives_the_bits_of_whole_encoders(
    lm_folder, saes, translations, tmp_path, monkeypatch, module, run
):
    held: list[np.ndarray] = []

    def narrow(folders, **settings):
        encoders = load_encoders(folders, **settings)
        held.extend(np.array(encoder.w_enc.shape) for encoder in encoders.values())
        return encoders

    def whole(folders, *, features, **settings):
        return load_encoders(folders, **settings)

    tables = []
    for loader in (narrow, whole):
        monkeypatch.setattr(module, "load_encoders", loader)
        tables.append(run(lm_folder, saes, translations, tmp_path))
    assert_frame_equal(*tables, check_exact=True)
    assert len(held) == 3
    assert all(rows == 32 and 0 < chosen < 30 for rows, chosen in held)


PEAK = """
import sys, torch
from pathlib import Path
from isogloss.sae import columns
from isogloss.sae.autoencoder import load_encoder
columns._NUMBERS = 2**20
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
load_encoder(sys.argv[1] + "/layer_0", torch.tensor([0]))
start = peak()
held = [load_encoder(f"{sys.argv[1]}/layer_{n}", torch.arange(0, 2**16, 16)) for n in range(3)]
narrow = peak()
total = sum(float(load_encoder(f"{sys.argv[1]}/layer_0").w_enc.sum()) for _ in range(1))
print(start, narrow, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells a process's own peak")
def test_the_rest_of_an_encoder_is_never_in_memory(tmp_path):
    """Three encoders of 64 MiB, of which a sixteenth is asked for: 12 MiB and a block, in a process of its own."""
    import json

    cfg = {"architecture": "standard", "d_in": 256, "d_sae": 2**16, "apply_b_dec_to_input": False}
    for layer in range(3):
        folder = tmp_path / f"layer_{layer}"
        folder.mkdir()
        (folder / "cfg.json").write_text(json.dumps(cfg))
        save_file({"W_enc": torch.ones(256, 2**16), "b_enc": torch.zeros(2**16)}, folder / "sae_weights.safetensors")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "scripts"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    start, narrow, whole = (int(size) / 2**20 for size in done.stdout.split())
    assert 8 < narrow - start < 24
    assert whole - narrow > 32
