"""The logit lens against the formula by hand and against the models' own logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from isogloss.errors import IsoglossError
from isogloss.models.loading import load_causal_model
from isogloss.scoring import lens as lens_module
from isogloss.scoring.lens import lens_logits, lens_of, score_words
from standins import FAMILIES, tiny_model

IDS = torch.randint(3, 310, (1, 24), generator=torch.Generator().manual_seed(1))
SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
LLAMA = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 1, "initializer_range": 0.2}
SCALED = {
    "gpt2": GPT2Config(vocab_size=320, n_embd=32, n_layer=3, n_head=2, initializer_range=0.2),
    "granite": GraniteConfig(**LLAMA, logits_scaling=0.25),
    "cohere": CohereConfig(**LLAMA, logit_scale=0.5),
}


@pytest.fixture(scope="module", params=[*FAMILIES, *SCALED])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    if request.param in SCALED:
        return AutoModelForCausalLM.from_config(SCALED[request.param]).eval()
    return load_causal_model(tiny_model(tmp_path_factory.mktemp("lm"), family=request.param))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Gemma 2 whose soft-cap bites."""
    model: Any = load_causal_model(tiny_model(tmp_path_factory.mktemp("lm"), family="gemma2"))
    model.config.final_logit_softcapping = 2.0
    return model


def residuals(model: nn.Module, ids: Tensor = IDS) -> tuple[list[Tensor], Tensor]:
    """The residual stream after each block, and the logits."""
    kept: list[Tensor] = []
    layers = lens_of(model).decoder.layers
    handles = [
        layer.register_forward_hook(
            lambda _, __, output: kept.append(output if isinstance(output, Tensor) else output[0])
        )
        for layer in layers
    ]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    for handle in handles:
        handle.remove()
    return [residual[0] for residual in kept], logits


def test_the_last_layers_lens_is_the_models_own_logits_whatever_the_options(model: nn.Module):
    stream, logits = residuals(model)
    for options in ({}, {"final_norm": False}, {"softcap": False}):
        lens = lens_of(model, **options)
        with torch.no_grad():
            assert_close(lens_logits(lens, stream[-1], 2), logits, atol=1e-6, rtol=1e-6)


def test_log_probabilities_by_tiles_are_those_of_the_whole_softmax(model: nn.Module, monkeypatch: pytest.MonkeyPatch):
    stream, _ = residuals(model)
    generator = torch.Generator().manual_seed(2)
    rows, words = torch.randint(24, (84,), generator=generator), torch.randint(320, (84,), generator=generator)
    rows[60:] = torch.arange(24)
    lens = lens_of(model)
    for tile in ((256, 4096), (5, 33), (24, 320), (1, 319)):
        monkeypatch.setitem(lens_module._TILE, "cpu", tile)
        for layer in range(3):
            with torch.no_grad():
                logits = lens_logits(lens, stream[layer], layer)
                best = logits.argmax(1)
                words[60:] = best
                found = score_words(lens, stream[layer], layer, rows, words)
                assert_close(found.log_probabilities, logits.log_softmax(1)[rows, words])
                assert torch.equal(found.greedy, words == best[rows])


def test_of_equally_probable_words_the_first_is_the_greedy_one(monkeypatch: pytest.MonkeyPatch):
    """Words whose vectors are the same, within a tile and in several."""
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA)).eval()
    stream, logits = residuals(model)
    best = int(logits[0].argmax())
    twins = torch.tensor([0, 7, 50, 51, 120, 319])
    model.lm_head.weight.data[twins] = model.lm_head.weight.data[best].clone()
    rows = torch.zeros(320, dtype=torch.long)
    for tile in ((24, 320), (24, 64), (1, 3)):
        monkeypatch.setitem(lens_module._TILE, "cpu", tile)
        with torch.no_grad():
            found = score_words(lens_of(model), stream[-1][:1], 2, rows, torch.arange(320))
        assert found.greedy.nonzero().flatten().tolist() == [0]


def test_words_that_are_ruled_out_have_no_probability(monkeypatch: pytest.MonkeyPatch):
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA)).eval()
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(320).index_fill_(0, torch.arange(64), -torch.inf))
    stream, logits = residuals(model)
    monkeypatch.setitem(lens_module._TILE, "cpu", (24, 64))
    with torch.no_grad():
        found = score_words(lens_of(model), stream[-1], 2, torch.arange(24), 60 + torch.arange(24))
    assert_close(found.log_probabilities, logits.log_softmax(1)[torch.arange(24), 60 + torch.arange(24)])


def test_a_hidden_layers_lens_is_final_norm_head_and_soft_cap_by_hand(gemma: Any):
    stream, _ = residuals(gemma)
    with torch.no_grad():
        for layer in (0, 1):
            plain = gemma.model.norm(stream[layer]) @ gemma.lm_head.weight.T
            raw = stream[layer] @ gemma.lm_head.weight.T
            assert_close(lens_logits(lens_of(gemma), stream[layer], layer), 2 * (plain / 2).tanh())
            assert_close(lens_logits(lens_of(gemma, softcap=False), stream[layer], layer), plain)
            assert_close(lens_logits(lens_of(gemma, final_norm=False), stream[layer], layer), 2 * (raw / 2).tanh())
            paper = lens_of(gemma, final_norm=False, softcap=False)  # softmax(O h) to the letter
            assert_close(lens_logits(paper, stream[layer], layer), raw)
    assert gemma.config.final_logit_softcapping == 2.0


def test_the_final_norm_is_applied_once_at_the_last_layer(gemma: Any):
    stream, logits = residuals(gemma)
    calls: list[int] = []
    handle = gemma.model.norm.register_forward_hook(lambda *_: calls.append(1))
    lens = lens_of(gemma)
    calls.clear()
    with torch.no_grad():
        found = lens_logits(lens, stream[-1], 2)
    handle.remove()
    assert len(calls) == 1
    assert_close(found, logits)


def test_scalings_of_logits_that_are_no_soft_cap_stay_at_hidden_layers():
    for name, factor in (("granite", 4.0), ("cohere", 0.5)):
        model = AutoModelForCausalLM.from_config(SCALED[name]).eval()
        stream, _ = residuals(model)
        with torch.no_grad():
            expected = factor * (model.model.norm(stream[0]) @ model.lm_head.weight.T)
            assert_close(lens_logits(lens_of(model, softcap=False), stream[0], 0), expected)


def test_an_adapters_layers_and_head_are_read_as_they_are(tmp_path: Path):
    base = load_causal_model(tiny_model(tmp_path / "lm", family="llama"))
    config = LoraConfig(target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    tuned = get_peft_model(base, config).eval()  # type: ignore[arg-type]
    stream, logits = residuals(tuned)
    lens = lens_of(tuned)
    with torch.no_grad():
        assert_close(lens_logits(lens, stream[-1], 2), logits)
        rows, words = torch.arange(24), torch.arange(24)
        expected = logits.log_softmax(1)[rows, words]
        assert_close(score_words(lens, stream[-1], 2, rows, words).log_probabilities, expected)


def test_log_probabilities_of_half_precision_are_summed_in_float32(tmp_path: Path):
    model = load_causal_model(tiny_model(tmp_path / "lm", family="qwen2"), dtype=torch.bfloat16)
    stream, logits = residuals(model)
    rows, words = torch.arange(24), torch.arange(24)
    found = score_words(lens_of(model), stream[-1], 2, rows, words).log_probabilities
    assert found.dtype == torch.float32
    assert_close(found, logits.float().log_softmax(1)[rows, words], atol=2e-2, rtol=0)


def test_words_that_tie_in_half_precision_alone_do_not_tie(tmp_path: Path):
    """Against the formula in float32 on the same residual: logits of about 18, in bfloat16 in steps of 1/8."""
    model: Any = load_causal_model(tiny_model(tmp_path / "lm", family="llama"), dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(40, 32, generator=generator).bfloat16()
    with torch.no_grad():
        model.lm_head.weight.copy_(0.02 * torch.randn(model.lm_head.weight.shape, generator=generator))
        hidden = model.model.norm(residual).float()  # as the model's own head reads it
        model.lm_head.weight[10:14] += (18 * hidden[0] / hidden[0].square().sum()).bfloat16()
        exact = hidden @ model.lm_head.weight.float().T
        rounded = model.lm_head(model.model.norm(residual))[0, 10:14]
        rows, words = torch.zeros(4, dtype=torch.long), torch.arange(10, 14)
        found = score_words(lens_of(model), residual, 2, rows, words)
        assert_close(lens_logits(lens_of(model), residual, 2), exact, atol=0.15, rtol=0)
    assert len(set(rounded.tolist())) < len(set(exact[0, 10:14].tolist())) == 4
    assert len(set(found.log_probabilities.tolist())) == 4
    assert_close(found.log_probabilities, exact.log_softmax(1)[0, 10:14], atol=1e-3, rtol=0)
    assert model.lm_head.weight.dtype == model.model.norm.weight.dtype == torch.bfloat16


def test_half_precision_is_as_exact_where_the_largest_logits_come_last(tmp_path: Path):
    """Tiles of few words, each with larger logits than those before: against the formula in float32."""
    model: Any = load_causal_model(tiny_model(tmp_path / "lm", family="llama"), dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(1)
    residual = torch.randn(30, 32, generator=generator).bfloat16()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lens_module, "_TILE", {"cpu": (16, 64)})
        model.lm_head.weight.copy_(0.02 * torch.randn(model.lm_head.weight.shape, generator=generator))
        hidden = model.model.norm(residual).float()
        steps = torch.linspace(0, 20, len(model.lm_head.weight))[:, None]
        model.lm_head.weight += (steps * hidden[0] / hidden[0].square().sum()).bfloat16()
        exact = (hidden @ model.lm_head.weight.float().T).log_softmax(1)
        rows = torch.arange(30).repeat_interleave(len(model.lm_head.weight))
        words = torch.arange(len(model.lm_head.weight)).repeat(30)
        scores = score_words(lens_of(model), residual, 2, rows, words)
    assert_close(scores.log_probabilities.view(30, -1), exact, atol=2e-3, rtol=0)
    assert (scores.greedy.view(30, -1) == (exact == exact.amax(1, keepdim=True))).float().mean() > 0.999


class _Doubled(LlamaModel):
    """A Llama with something between its final norm and its head."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        output = super().forward(*arguments, **named)
        output.last_hidden_state = 2 * output.last_hidden_state
        return output


def test_a_model_with_something_between_final_norm_and_head_is_refused():
    model = LlamaForCausalLM(LlamaConfig(**LLAMA))
    lens_of(model)
    odd = _Doubled(model.config)
    odd.load_state_dict(model.model.state_dict())
    model.model = odd
    with pytest.raises(IsoglossError, match="LlamaForCausalLM: its logits are not those of its final norm"):
        lens_of(model)
