"""The sweep over the cached prefix against one full forward for each way of steering."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, BloomConfig, Qwen2Config

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.hooks import changed_after
from isogloss.models.loading import load_causal_model
from isogloss.scoring import sweep
from isogloss.scoring.continuations import score_continuations
from isogloss.scoring.lens import lens_of
from isogloss.scoring.sweep import Addition, steered_scores, steering_lens
from isogloss.scoring.trees import make_trees
from standins import FAMILIES, tiny_model

SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
COMMON = {**SMALL, "num_key_value_heads": 1, "intermediate_size": 64, "initializer_range": 0.2}
TIED = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
OTHERS: dict[str, Any] = {
    "qwen2 with windows": Qwen2Config(
        **COMMON, **TIED, use_sliding_window=True, sliding_window=16, max_window_layers=1
    ),
}
Ids = list[int]
WINDOW = 16


def make(family: str, folder: Path) -> nn.Module:
    if family in OTHERS:
        return AutoModelForCausalLM.from_config(OTHERS[family]).eval()
    return load_causal_model(tiny_model(folder, family=family))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_causal_model(tiny_model(tmp_path_factory.mktemp("lm"), family="gemma2"))


def asked(lengths: list[int], *, letters: bool = False) -> tuple[list[Ids], list[list[Ids]]]:
    """Prompts of so many tokens, and four choices each: single tokens, or 1 to 9 and one longer than a window."""
    rng = random.Random(0)
    prompts = [[2, *rng.choices(range(4, 320), k=length - 1)] for length in lengths]
    if letters:
        return prompts, [[[token] for token in rng.sample(range(4, 320), 4)] for _ in prompts]
    choices = []
    for _ in prompts:
        short = [rng.choices(range(4, 320), k=rng.randint(1, 9)) for _ in range(3)]
        choices.append([*short, [*short[0], *range(7, 25)]])
    return prompts, choices


RAGGED = [2, 40, 17, 23, 5]


def additions(d_model: int = 32, depth: int = 3) -> list[Addition]:
    """Two directions after every layer, out of order."""
    made = [Addition(layer, gamma * torch.randn(d_model)) for layer in range(depth) for gamma in (3.0, -1.5)]
    random.Random(0).shuffle(made)
    return made


@torch.inference_mode()
def naive(model: nn.Module, prompt: Ids, choices: list[Ids], addition: Addition | None) -> list[float]:
    """One forward for each choice, with a hook that adds the vector at the last prompt token."""

    def change(residual: Tensor) -> Tensor:
        changed = residual.clone()
        if addition:
            changed[:, len(prompt) - 1] += addition.vector
        return changed

    if all(len(choice) == 1 for choice in choices):  # letters: one forward tells all
        with changed_after(model, addition.layer if addition else 0, change):
            logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
        return logits.log_softmax(dim=-1)[[choice[0] for choice in choices]].tolist()
    found = []
    for choice in choices:
        with changed_after(model, addition.layer if addition else 0, change):
            logits = model(input_ids=torch.tensor([[*prompt, *choice]]), use_cache=False).logits[0]
        of_token = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
        found.append(of_token[range(len(choice)), choice].mean().item())
    return found


@pytest.mark.parametrize("letters", [True, False], ids=["letters", "texts"])
@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_a_sweep_is_a_forward_for_each_way_of_steering_in_every_architecture(tmp_path, family, letters):
    model = make(family, tmp_path)
    prompts, choices = asked(RAGGED, letters=letters)
    assert max(map(len, prompts)) > WINDOW
    ways = additions()
    found = steered_scores(steering_lens(model), prompts, choices, ways, token_budget=100)
    expected = [
        [naive(model, prompt, four, way) for way in (None, *ways)]
        for prompt, four in zip(prompts, choices, strict=True)
    ]
    assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    moved = (found[:, 1:] - found[:, :1]).abs().amax(dim=2)
    assert (moved > 1e-3).all()  # each of them does something


@pytest.mark.parametrize("letters", [True, False], ids=["letters", "texts"])
def test_the_unsteered_scores_are_those_of_the_score_stage(gemma, letters):
    prompts, choices = asked(RAGGED, letters=letters)
    found = steered_scores(steering_lens(gemma), prompts, choices, additions(), token_budget=4096)[:, 0]
    scored = score_continuations(lens_of(gemma), prompts, choices, layers=[2], token_budget=4096)
    counts = torch.tensor([[len(ids) for ids in four] for four in choices])
    assert_close(
        found.double(), torch.stack([question.log_likelihoods[0] for question in scored]) / counts, atol=1e-5, rtol=1e-5
    )


def test_no_way_of_steering_changes_a_bit_of_the_unsteered_scores(gemma):
    prompts, choices = asked(RAGGED)
    with_ways = steered_scores(steering_lens(gemma), prompts, choices, additions(), token_budget=4096)
    without = steered_scores(steering_lens(gemma), prompts, choices, [], token_budget=4096)
    assert torch.equal(with_ways[:, 0], without[:, 0])
    assert without.shape == (len(prompts), 1, 4)


def test_a_zero_vector_changes_nothing(gemma):
    prompts, choices = asked(RAGGED)
    found = steered_scores(
        steering_lens(gemma),
        prompts,
        choices,
        [Addition(layer, torch.zeros(32)) for layer in range(3)],
        token_budget=4096,
    )
    assert_close(found[:, 1:], found[:, :1].expand(-1, 3, -1), atol=1e-5, rtol=1e-5)


def test_batches_chunks_and_order_change_no_number(gemma, monkeypatch):
    prompts, choices = asked(RAGGED)
    ways = additions()
    whole = steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=4096)
    small = steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=20)
    turned = steered_scores(steering_lens(gemma), prompts[::-1], choices[::-1], ways[::-1], token_budget=4096)
    monkeypatch.setattr(sweep, "_GROUPS", {"cpu": (1, 1)})
    single = steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=4096)
    for other in (small, single, torch.cat([turned[:, :1], turned[:, 1:].flip(1)], dim=1).flip(0)):
        assert_close(other, whole, atol=1e-5, rtol=1e-5)


def flops(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_what_a_sweep_costs_beside_unsteered_scoring(monkeypatch):
    """84 ways: of letters less than as much again; of texts little more than each question in each way alone."""
    config = {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 512, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(Qwen2Config(**{**COMMON, **TIED, **config})).eval()
    lens, rng = steering_lens(model), random.Random(0)
    prompts, letters = asked([rng.randint(60, 99) for _ in range(24)], letters=True)
    texts = [[rng.choices(range(4, 320), k=rng.randint(5, 12)) for _ in range(4)] for _ in prompts]
    ways = [Addition(layer, torch.randn(64)) for layer in range(4) for _ in range(21)]
    settings: Any = {"token_budget": 4096, "show_progress": False}
    swept = flops(lambda: steered_scores(lens, prompts, letters, ways, **settings))
    assert swept < 2 * flops(lambda: score_continuations(lens, prompts, letters, layers=[3], **settings))

    def by_ways(some: slice) -> int:
        """What two ways add to the unsteered."""
        few = prompts[some], texts[some]
        steered, plain = (
            flops(lambda own=own: steered_scores(lens, *few, own, **settings)) for own in (ways[::42], [])
        )
        return steered - plain

    together = by_ways(slice(16))
    monkeypatch.setattr(sweep, "_GROUPS", {"cpu": (1, 1)})
    assert together < 1.15 * sum(by_ways(slice(row, row + 1)) for row in range(16))


@pytest.mark.parametrize("fewest", [8, 16])
def test_little_is_padded_in_a_batch_of_100_questions(fewest):
    rng = random.Random(0)
    sizes = sorted(1 + sum(rng.randint(4, 11) for _ in range(4)) for _ in range(100))
    groups = [sizes[few] for few in sweep._of_like_size(sizes, fewest)]
    assert [size for group in groups for size in group] == sizes
    assert sum(len(group) * group[-1] for group in groups) < 1.08 * sum(sizes)


def test_groups_of_like_trees():
    sizes = [1, 1, 1, 10, 10, 20, 21, 22, 22, 40]
    groups = [sizes[few] for few in sweep._of_like_size(sizes, 2)]
    assert groups == [[1, 1, 1], [10, 10], [20, 21, 22, 22], [40]]
    assert [sizes[few] for few in sweep._of_like_size(sizes, 11)] == [sizes]
    assert [sizes[few] for few in sweep._of_like_size([7] * 9, 2)] == [sizes[:9]]


def test_the_same_run_gives_the_same_bits(gemma):
    prompts, choices = asked(RAGGED)
    ways = additions()
    first, second = (steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=60) for _ in range(2))
    assert torch.equal(first, second)


def test_running_out_of_memory_halves_the_batch_and_changes_no_number(gemma, monkeypatch):
    prompts, choices = asked(RAGGED)
    ways = additions()
    expected = steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=4096)
    real, sizes = sweep._score_batch, []

    def limited(lens, prefixes, questions, ways):
        sizes.append(len(questions))
        if len(questions) > 2:
            raise torch.OutOfMemoryError
        return real(lens, prefixes, questions, ways)

    monkeypatch.setattr(sweep, "_score_batch", limited)
    found = steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=4096)
    assert max(sizes) > 2 >= sizes[-1]
    assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rows_beside_each_other_are_bounded_by_the_prompts(gemma, monkeypatch):
    """However many ways of steering there are, a forward has about as many tokens as the prompts, or `_ROWS`."""
    prompts, choices = asked([40, 40], letters=True)
    monkeypatch.setattr(sweep, "_ROWS", 16)
    sizes, lens = [], steering_lens(gemma)
    handle = decoder_of(gemma).layers[2].register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[:2]))
    steered_scores(lens, prompts, choices, [Addition(0, torch.randn(32)) for _ in range(200)], token_budget=4096)
    handle.remove()
    assert max(rows * tokens for rows, tokens in sizes) <= 2 * 39
    assert len(sizes) == 2 + 200 // 39 + 1  # the prompts, the unsteered, the steered


def test_steering_towards_a_letter_at_the_last_layer_makes_it_the_answer(gemma):
    """Planted: the difference of a letter's unembedding and the others', seen through the final norm's weight."""
    prompts, choices = asked([8, 25, 30], letters=True)
    choices = [choices[0]] * 3
    letters = torch.tensor(choices[0])[:, 0]
    unembedding = gemma.get_output_embeddings().weight[letters].detach() * (1 + gemma.model.norm.weight.detach())
    towards = 4 * unembedding - unembedding.sum(dim=0)
    ways = [Addition(2, gamma * vector) for gamma in (1000.0, -1000.0) for vector in towards]
    found = steered_scores(steering_lens(gemma), prompts, choices, ways, token_budget=4096)
    for letter in range(4):
        assert (found[:, 1 + letter].argmax(dim=1) == letter).all()
        assert (found[:, 5 + letter].argmin(dim=1) == letter).all()
    assert set(found[:, 0].argmax(dim=1).tolist()) != {0, 1, 2, 3}


def test_only_the_last_prompt_token_is_steered(gemma):
    """A vector after the last layer reaches the first token of a choice alone: the others are predicted elsewhere."""
    prompts, _ = asked([20])
    first, rest = [50], [50, 60, 70]
    plain, steered = steered_scores(
        steering_lens(gemma), prompts, [[first, rest]], [Addition(2, 5 * torch.randn(32))], token_budget=4096
    )[0]
    assert_close(3 * (steered[1] - plain[1]), steered[0] - plain[0], atol=1e-5, rtol=1e-4)


def test_trees_share_common_beginnings():
    trees = make_trees([9, 9], [[[1, 2, 3], [1, 2, 4]], [[5], [6]]])
    assert trees.tokens.tolist() == [[9, 1, 2], [9, 0, 0]]
    assert trees.real.tolist() == [[True] * 3, [True, False, False]]
    assert trees.above[0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert trees.counts.tolist() == [[3, 3], [1, 1]]
    assert sorted(zip(*(part.tolist() for part in trees.pairs), strict=True)) == [
        (0, 0, 1, 0), (0, 0, 1, 1), (0, 1, 2, 0), (0, 1, 2, 1), (0, 2, 3, 0), (0, 2, 4, 1), (1, 0, 5, 0), (1, 0, 6, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("layer", [3, -1])
def test_a_layer_that_does_not_exist_is_one_line(gemma, layer):
    prompts, choices = asked([5])
    with pytest.raises(IsoglossError, match=f"no layer {layer} to steer after; the model has layers 0 to 2"):
        steered_scores(steering_lens(gemma), prompts, choices, [Addition(layer, torch.zeros(32))], token_budget=64)


def test_a_model_that_packs_otherwise_is_one_line():
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2))
    with pytest.raises(IsoglossError, match=r"BloomForCausalLM computes sequences .* leave latent\.steering out"):
        steered_scores(steering_lens(model.eval()), [[2, 3]], [[[4]]], [], token_budget=64)
