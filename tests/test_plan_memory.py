"""A job's planned memory against what is held, and what a plan advises where it does not fit."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, Gemma2Config, GPTNeoXConfig, Qwen3Config

from allocated import peak_bytes
from isogloss.config import load_study
from isogloss.disparity.lora_training import LoraOptimiser
from isogloss.models.adapter import with_lora
from isogloss.models.batching import collate, each_batch
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import load_causal_model
from isogloss.plan import __main__ as command
from isogloss.plan.assumptions import Settings
from isogloss.plan.memory import advice, job_memory
from isogloss.plan.planned_model import planned_model
from isogloss.plan.sizes import backward_bytes, batch_bytes, encoder_bytes
from isogloss.plan.study_plan import plan_study
from planned_study import TINY, pretrained
from standins import tiny_gemma2

ROOT = Path(__file__).parents[1]
GEMMA_27B = {"d_model": 4608, "d_mlp": 36864, "heads": 32, "key_value_heads": 16, "d_head": 128, "vocabulary": 256_000}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_gradient_keeps(tmp_path, dtype):
    """Against the tensors that autograd saves, weights apart."""
    model = load_causal_model(tiny_gemma2(tmp_path, d_model=128), last_layer=1, dtype=getattr(torch, dtype))
    model = with_lora(model, [0, 1], "all", rank=2, alpha=4.0, dropout=0.0)
    LoraOptimiser(model, getattr(torch, dtype), rate=1e-3, iterations=1)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    batch = collate([[2, *range(10, 30)]] * 20)
    saved: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no other takes its address
        return tensor

    ends: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        visit_residuals(model, batch, [1], lambda _, residual: ends.append(residual.float().sum()))
    tokens = batch.input_ids.numel()
    decoder = TINY._replace(d_model=128, d_mlp=256, d_head=64)
    planned = backward_bytes(decoder, 2, tokens, dtype) - batch_bytes(decoder, tokens, dtype)
    assert planned == pytest.approx(sum(size for size, _ in saved.values()), rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("config", "d_model", "d_mlp", "key_value_heads"),
    [
        (Gemma2Config, 256, 512, 2),
        (Qwen3Config, 512, 1536, 2),
        (Qwen3Config, 256, 256, 4),  # attention is wider than the MLP
        (GPTNeoXConfig, 256, 1024, 4),
    ],
)
def test_a_batch_takes_what_is_planned(config, d_model, d_mlp, key_value_heads, dtype):
    """As torch's allocator counts the tensors of a forward: a process' peak counts pages of its libraries, too."""
    shape = {"hidden_size": d_model, "intermediate_size": d_mlp, "num_hidden_layers": 2, "num_attention_heads": 4}
    if config is not GPTNeoXConfig:
        shape |= {"num_key_value_heads": key_value_heads, "head_dim": 64}
    model = AutoModel.from_config(config(**shape, vocab_size=320)).to(getattr(torch, dtype)).eval()
    texts = [[2, *range(10, 33)] for _ in range(100)]

    def forwards() -> None:
        each_batch(texts, lambda batch: visit_residuals(model, batch, [1], lambda *_: None), token_budget=2400)

    heads = {"heads": 4, "key_value_heads": key_value_heads, "d_head": 64}
    decoder = TINY._replace(d_model=d_model, d_mlp=d_mlp, gated=config is not GPTNeoXConfig, **heads)
    assert batch_bytes(decoder, 2400, dtype) == pytest.approx(peak_bytes(forwards), rel=0.1)


def plan(shape=None, features=64, compute=None, asked=None, card=80e9, layers=3):
    study = pretrained(compute={"dtype": "bfloat16", **(compute or {})})
    model = study["models"]["tiny"]
    model["architecture"] |= shape or {}
    model["architecture"]["layers"] = layers
    model["saes"] |= {"features": features, "ids": {str(layer): f"layer_{layer}" for layer in range(layers)}}
    models = [planned_model(load_study(study), "tiny", Settings())]
    jobs = job_memory(models)
    return {job.rule: job for job in jobs}, advice(jobs, models, card, asked or {})


def test_wide_saes_of_all_layers_in_one_job_are_said():
    """262,144 features at 34 layers of width 2560: 91 GB of encoders."""
    jobs, lines = plan({"d_model": 2560}, features=262_144, layers=34)
    assert jobs["encode"].saes == pytest.approx(34 * 4 * 2562 * 262_144)
    assert [line.split()[0] for line in lines] == ["encode", "codes"]
    assert "91.3 GB of it are SAEs of 34 layers" in lines[0]
    fits = int(lines[0].rpartition("layers_per_job: ")[2])
    assert 20 < fits < 34
    jobs, lines = plan({"d_model": 2560}, features=262_144, layers=34, compute={"layers_per_job": fits})
    assert lines == []
    assert jobs["encode"].saes > 0


def test_a_model_larger_than_the_card_is_said():
    _, lines = plan(GEMMA_27B, card=48e9, layers=46)
    assert all("compute.gpus_per_job: " in line for line in lines)
    number = int(lines[0].partition("gpus_per_job: ")[2].split(",")[0])
    assert plan(GEMMA_27B, card=48e9, layers=46, compute={"gpus_per_job": number})[1] == []


def test_a_batch_larger_than_the_card_is_said():
    _, lines = plan({"d_mlp": 20_000}, compute={"token_budget": 1_000_000})
    assert any("lower compute.token_budget" in line for line in lines)


def test_a_profile_that_asks_for_too_little_is_said():
    jobs, lines = plan(asked={"encode": 3e9, "capture": 9e9})
    assert [line.split()[0] for line in lines] == ["encode"]
    asked = int(lines[0].rpartition("mem_mb: ")[2].rstrip("}"))
    assert asked * 2**20 > jobs["encode"].host
    assert "asks for 3 GB" in lines[0]


def test_what_the_profile_asks_is_read():
    asked = command.asked_memory(ROOT / "slurm" / "profile.yaml")
    assert asked["encode"] == 48000 * 2**20
    assert command.asked_memory(ROOT / "no" / "profile.yaml") == {}


def test_the_profile_suffices_for_the_papers():
    """And each job fits a card of 80 GB, those of 2B models one of 40."""
    asked = command.asked_memory(ROOT / "slurm" / "profile.yaml")
    for name in ("disparity-gemma-2-2b", "bilingual-llm-jp", "latent-process"):
        study = command.read_study(str(ROOT / "config" / "studies" / f"{name}.yaml"))
        card = 80e9 if name != "disparity-gemma-2-2b" else 40e9
        found = plan_study(study, {}, Settings(card_bytes=card, asked_bytes=asked))
        assert found.memory
        lines = [line for line in found.advice if "32b" not in line]
        assert lines == []


def test_encoders_are_as_large_as_said(sae_folder):
    from isogloss.sae.autoencoder import load_encoder

    encoder = load_encoder(sae_folder)
    held = [part for part in (encoder.w_enc, encoder.b_enc, encoder.threshold) if part is not None]
    assert sum(part.numel() for part in held) * 4 == pytest.approx(encoder_bytes(32, 64), rel=0.05)


def test_a_line_names_dtype_card_and_how_layers_are_put_on_several():
    _, lines = plan(GEMMA_27B, card=48e9, layers=46)
    assert all(" in bfloat16, more than a GPU of 48 GB: compute.gpus_per_job: " in line for line in lines)
    assert all("device_map" in line for line in lines)
    assert "or compute.dtype: bfloat16" in plan(GEMMA_27B, card=48e9, layers=46, compute={"dtype": "float32"})[1][0]
