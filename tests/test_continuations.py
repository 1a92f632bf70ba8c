"""Packed scoring at hidden layers against a forward for each choice, and against stock lm-eval."""

import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GemmaConfig,
    Qwen2Config,
)

from isogloss.latent.prompts import encode_question
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.scoring import continuations as scoring
from isogloss.scoring.continuations import Scored, score_continuations
from isogloss.scoring.lens import lens_logits, lens_of
from isogloss.scoring.trees import tree_of
from standins import FAMILIES, TEXTS, tiny_model

SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
COMMON = {**SMALL, "num_key_value_heads": 1, "intermediate_size": 64, "initializer_range": 0.2}
COMMON |= {"head_dim": 16, "max_position_embeddings": 512}
TIED = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
OTHERS = {
    "gemma": GemmaConfig(**COMMON),
    "qwen2 with windows": Qwen2Config(
        **COMMON, **TIED, use_sliding_window=True, sliding_window=16, max_window_layers=1
    ),
    "bloom": BloomConfig(vocab_size=320, hidden_size=32, n_layer=3, n_head=2, initializer_range=0.2),
}
PACKED = [*FAMILIES, *(name for name in OTHERS if name != "bloom")]
Ids = list[int]


def make(family: str, folder: Path) -> nn.Module:
    if family in OTHERS:
        return AutoModelForCausalLM.from_config(OTHERS[family]).eval()
    return load_causal_model(tiny_model(folder, family=family))


@pytest.fixture(scope="module", params=PACKED)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return make(request.param, tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return make("gemma2", tmp_path_factory.mktemp("lm"))


def ragged(questions: int = 5, seed: int = 0) -> tuple[list[Ids], list[list[Ids]]]:
    """Prompts far longer and far shorter than the sliding window of 16; continuations that share beginnings."""
    rng = random.Random(seed)
    draw = lambda count: [rng.randrange(3, 310) for _ in range(count)]  # noqa: E731
    prompts = [[2, *draw(length)] for length in (60, 1, 14, 33, 25)[:questions]]
    continuations = []
    for _ in prompts:
        stem = draw(3)
        separate = [draw(rng.randint(1, 14)) for _ in range(5)]
        continuations.append([*separate, [*stem, *draw(4)], [*stem, *draw(20)], stem, [separate[0][0]], separate[1]])
    return prompts, continuations


@torch.no_grad()
def greedy(model: nn.Module, prompt: Ids, count: int) -> Ids:
    """The most probable token after `prompt`, the most probable one after that, and so on."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def naive(model: nn.Module, prompt: Ids, continuation: Ids, layers: list[int]) -> tuple[Tensor, Tensor]:
    """One forward, the softmax over the whole vocabulary at every layer and position (paper B, eq. 7)."""
    lens = lens_of(model)
    kept: dict[int, Tensor] = {}
    hook = lambda layer: lambda _, __, out: kept.__setitem__(layer, out if isinstance(out, Tensor) else out[0])  # noqa: E731
    handles = [lens.decoder.layers[layer].register_forward_hook(hook(layer)) for layer in layers]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + continuation])).logits[0]
    for handle in handles:
        handle.remove()
    found, best = [], []
    for layer in layers:
        with torch.no_grad():
            layer_logits = lens_logits(lens, kept[layer][0], layer)
        if layer == len(lens.decoder.layers) - 1:
            assert_close(layer_logits, logits, atol=1e-5, rtol=1e-5)
        log_probabilities = layer_logits.log_softmax(1)
        # h at tau - 1 predicts token tau
        found.append(sum(log_probabilities[len(prompt) + step - 1, word] for step, word in enumerate(continuation)))
        best.append(log_probabilities[len(prompt) - 1 : -1].argmax(1).tolist() == continuation)
    return torch.stack(found).double(), torch.tensor(best)


def check(model: nn.Module, scored: list[Scored], prompts: list[Ids], continuations: list[list[Ids]]) -> None:
    for one, prompt, choices in zip(scored, prompts, continuations, strict=True):
        sums, best = zip(*(naive(model, prompt, ids, [0, 2]) for ids in choices), strict=True)
        assert_close(one.log_likelihoods, torch.stack(sums, dim=1), atol=1e-4, rtol=1e-5)
        assert torch.equal(one.greedy, torch.stack(best, dim=1))


def test_packed_log_probabilities_equal_a_forward_for_each_choice(model: nn.Module):
    prompts, continuations = ragged()
    for prompt, choices in zip(prompts, continuations, strict=True):
        best = greedy(model, prompt, 4)
        choices += [best[:1], best, [*best[:3], (best[3] + 1) % 320]]
    assert lens_of(model).packed
    for budget in (10_000, 1):
        scored = score_continuations(
            lens_of(model), prompts, continuations, layers=[0, 2], token_budget=budget, show_progress=False
        )
        check(model, scored, prompts, continuations)
        assert all(one.greedy[-1, -3:].tolist() == [True, True, False] for one in scored)


def test_a_model_that_packs_otherwise_runs_a_forward_for_each_choice(caplog: pytest.LogCaptureFixture):
    model = make("bloom", Path())
    prompts, continuations = ragged()
    scored = score_continuations(
        lens_of(model),
        prompts,
        continuations,
        layers=[0, 2],
        state_layers=[1],
        with_states=[True, False, False, True, True],
        token_budget=500,
        show_progress=False,
    )
    check(model, scored, prompts, continuations)
    assert [one.states is not None for one in scored] == [True, False, False, True, True]
    assert "BloomForCausalLM computes a packed prompt otherwise" in caplog.text


def test_the_first_token_is_predicted_at_the_last_token_of_the_prompt(gemma: nn.Module):
    """Eq. 7 prints h at t, the position that reads the token; it must be the one before."""
    prompts, _ = ragged()
    with torch.no_grad():
        expected = gemma(input_ids=torch.tensor([prompts[0]])).logits[0, -1].log_softmax(0)
    words = [[word] for word in range(300)]
    found = score_continuations(
        lens_of(gemma), prompts[:1], [words], layers=[2], token_budget=1000, show_progress=False
    )
    assert_close(found[0].log_likelihoods[0].float(), expected[:300], atol=1e-5, rtol=1e-5)


def test_states_are_the_residual_stream_at_the_prompts_last_token(gemma: nn.Module):
    prompts, continuations = ragged()
    lens = lens_of(gemma)
    scored = score_continuations(
        lens, prompts, continuations, layers=[2], state_layers=[0, 1], token_budget=300, show_progress=False
    )
    for prompt, one in zip(prompts, scored, strict=True):
        kept: list[Tensor] = []
        keep = lambda _, __, out, kept=kept: kept.append(out)  # noqa: E731
        handles = [layer.register_forward_hook(keep) for layer in lens.decoder.layers[:2]]
        with torch.no_grad():
            gemma(input_ids=torch.tensor([prompt]))
        for handle in handles:
            handle.remove()
        assert one.states is not None
        assert_close(one.states, torch.stack([residual[0, -1] for residual in kept]), atol=1e-5, rtol=1e-5)


def test_the_same_questions_give_the_same_bits_and_other_batches_the_same_numbers(gemma: nn.Module):
    prompts, continuations = ragged()
    run = lambda budget: [  # noqa: E731
        one.log_likelihoods
        for one in score_continuations(
            lens_of(gemma), prompts, continuations, layers=[0, 1, 2], token_budget=budget, show_progress=False
        )
    ]
    for one, other, alone in zip(run(400), run(400), run(1), strict=True):
        assert torch.equal(one, other)
        assert_close(one, alone, atol=1e-5, rtol=1e-5)


def test_out_of_memory_halves_the_batch(gemma: nn.Module, monkeypatch: pytest.MonkeyPatch):
    prompts, continuations = ragged()
    settings: dict[str, Any] = {"layers": [0, 2], "token_budget": 10_000, "show_progress": False}
    expected = score_continuations(lens_of(gemma), prompts, continuations, **settings)
    forward = scoring._forward

    def full(lens: Any, batch: Any, *rest: Any) -> None:
        if len(batch.rows) > 2:
            raise torch.OutOfMemoryError
        forward(lens, batch, *rest)

    monkeypatch.setattr(scoring, "_forward", full)
    found = score_continuations(lens_of(gemma), prompts, continuations, **settings)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.log_likelihoods, other.log_likelihoods, atol=1e-5, rtol=1e-5)


def test_common_beginnings_are_read_once():
    tree = tree_of([[5, 6, 7], [5, 6, 8], [5], [9]])
    assert tree.tokens == [5, 6]
    assert (tree.parents, tree.depths) == ([-1, 0], [0, 1])
    assert list(zip(tree.sources, tree.targets, strict=True)) == [(-1, 5), (0, 6), (1, 7), (1, 8), (-1, 9)]
    assert tree.paths == [[0, 1, 2], [0, 1, 3], [0], [4]]


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama"])
def test_the_last_layer_gives_what_stock_lm_eval_gives_for_answer_texts(family: str, tmp_path: Path):
    folder = tiny_model(tmp_path / "lm", family=family)
    model, tokenizer = load_causal_model(folder), load_tokenizer(folder)
    prompts = [f"{text}. Question: {text}?\nAnswer:" for text in TEXTS[:3]]
    choices = [" euro", " भारत", " the official language", " 欧元"]
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, add_bos_token=True)  # type: ignore[arg-type]
    requests = [Instance("loglikelihood", {}, (p, c), 0) for p in prompts for c in choices]
    expected = torch.tensor([value for value, _ in stock.loglikelihood(requests, disable_tqdm=True)])
    encoded = [encode_question(tokenizer, prompt, choices) for prompt in prompts]
    scored = score_continuations(
        lens_of(model),
        [prompt for prompt, _ in encoded],
        [ids for _, ids in encoded],
        layers=[2],
        token_budget=4096,
        show_progress=False,
    )
    found = torch.cat([one.log_likelihoods[0] for one in scored]).float()
    assert_close(found, expected, atol=1e-4, rtol=1e-5)
    logging.getLogger("lm_eval").setLevel(logging.NOTSET)
