"""Whether a model packs is found by trying it: what misreads packed sequences is found out, in any precision."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from families import FAMILIES
from isogloss.models import windows
from isogloss.models.batching import collate
from isogloss.models.loading import load_causal_model
from isogloss.scoring import trial
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.scoring.packing import Packed, attention_masks, pack
from isogloss.scoring.sweep import steers
from isogloss.scoring.trial import packs
from standins import tiny_model

PRECISIONS = [torch.float32, torch.bfloat16, torch.float16]


def make(family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, FAMILIES[family].config)(**(FAMILIES[family].settings | changes))
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("family", ["gemma3", "olmo3", "gpt_neox", "gpt_oss", "qwen3_moe"])
def test_models_that_pack_are_known_in_every_precision(family: str, dtype: torch.dtype):
    model = make(family, dtype)
    assert packs(model)
    assert steers(lens_of(model))


def _by_columns(lengths: Any, trees: Any) -> Packed:
    packed = pack(lengths, trees)
    return Packed(torch.arange(packed.position_ids.shape[1]).expand_as(packed.position_ids), packed.allowed)


def _seeing_each_other(lengths: Any, trees: Any) -> Packed:
    packed = pack(lengths, trees)
    return Packed(packed.position_ids, torch.ones_like(packed.allowed).tril())


def _without_windows(model: nn.Module, allowed: Tensor, queries: Tensor, keys: Tensor) -> Any:
    return attention_masks(model, allowed, torch.zeros_like(queries), torch.zeros_like(keys))


def _windows_by_columns(model: nn.Module, allowed: Tensor, queries: Tensor, keys: Tensor) -> Any:
    columns = torch.arange(queries.shape[1], device=queries.device).expand_as(queries)
    return attention_masks(model, allowed, columns, columns)


WRONG = {
    "positions by columns": ("pack", _by_columns),
    "continuations that see each other": ("pack", _seeing_each_other),
    "no windows": ("attention_masks", _without_windows),
    "windows by columns": ("attention_masks", _windows_by_columns),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("wrong", WRONG)
def test_packing_that_is_wrong_is_found_out(wrong: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    model = make("gemma3", dtype)
    monkeypatch.setattr(trial, *WRONG[wrong])
    assert not packs(model)
    if "windows" in wrong:  # which a model without them cannot tell
        assert packs(make("qwen3", dtype))


def test_layers_that_read_in_order_are_found_out_even_when_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(windows, "_MASKED", windows._MASKED | {"linear_attention", "conv"})
    assert not packs(make("qwen3_5"))
    assert not packs(make("lfm2"))


def test_attention_of_other_kinds():
    small = {"num_layers": 2, "hidden_size": 32, "num_heads": 4, "vocab_size": 320, "window_size": 300}
    neo = transformers.GPTNeoConfig(**small, attention_types=[[["global", "local"], 1]])
    assert not packs(AutoModelForCausalLM.from_config(neo).eval())  # windows by columns, further than few tokens reach
    assert not packs(make("falcon", alibi=True))
    assert packs(make("gemma3", use_bidirectional_attention=False))
    assert not packs(make("gemma3", use_bidirectional_attention=True))
    chunks = FAMILIES["mixtral"].settings | {"intermediate_size_mlp": 64, "head_dim": 8, "attention_chunk_size": 16}
    config = transformers.Llama4TextConfig(**(chunks | {"num_experts_per_tok": 1}))
    assert "chunked_attention" in config.layer_types
    assert packs(AutoModelForCausalLM.from_config(config).eval())
    other = make("llama")
    other.config._attn_implementation = "flex_attention"  # takes no masks of ours
    assert not packs(other)


def test_what_a_model_raises_at_packed_inputs_is_a_no_and_no_memory_is_not(monkeypatch: pytest.MonkeyPatch):
    def raising(error: Exception) -> Any:
        def states(*_: Any) -> Tensor:
            raise error

        return states

    model = make("llama")
    for error in (TypeError("position_ids"), AttributeError("x"), KeyError("full_attention"), RuntimeError("size")):
        monkeypatch.setattr(trial, "_packed_states", raising(error))
        assert not packs(model)
    monkeypatch.setattr(trial, "_packed_states", raising(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        packs(model)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama"])
def test_a_trial_changes_no_bit_of_what_follows(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tiny_model(tmp_path / "lm", family=family)
    batch = collate([[2, *range(20, 60)], [2, 7]])
    run = lambda model: model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits  # noqa: E731
    with torch.no_grad():
        expected = run(load_causal_model(folder))
        model = load_causal_model(folder)
        before, state = model.config.to_dict(), torch.get_rng_state()  # type: ignore[union-attr]
        lens = lens_of(model)
        assert steers(lens)
        assert model.config.to_dict() == before  # type: ignore[union-attr]
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(run(model), expected)
    scores = lambda lens: score_continuations(  # noqa: E731
        lens, [[2, *range(20, 60)]], [[[5, 6], [7]]], layers=[0, 2], token_budget=99, show_progress=False
    )
    tried = scores(lens)[0].log_likelihoods
    monkeypatch.setattr("isogloss.scoring.lens.packs", lambda _: True)
    assert torch.equal(scores(lens_of(load_causal_model(folder)))[0].log_likelihoods, tried)
