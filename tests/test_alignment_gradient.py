"""The gradient of a batch however it is read: in one forward or two, in parts, in buffers, in bfloat16."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from isogloss.disparity import alignment
from isogloss.disparity.alignment import LossSettings, Pair, PairBatch, collated, losses_of
from isogloss.disparity.gradient import BatchGradient, copy_batch, parts_of, tokens_of
from isogloss.disparity.lora_training import LoraOptimiser
from isogloss.errors import IsoglossError
from isogloss.models.adapter import with_lora
from isogloss.models.loading import load_causal_model
from isogloss.sae.autoencoder import load_encoder

LAYER, SETTINGS = 1, LossSettings()
CPU = torch.device("cpu")


def tuned(lm_folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    model = load_causal_model(lm_folder, last_layer=LAYER, dtype=dtype)
    model = with_lora(model, [0, 1], ["down_proj", "q_proj"], rank=4, alpha=8.0, dropout=0.0)
    draw = torch.Generator().manual_seed(1)
    for name, matrix in model.named_parameters():
        if "lora_B" in name:
            matrix.data = torch.randn(matrix.shape, generator=draw).to(matrix.dtype) * 0.1
    return model


def pairs_of(lengths: list[tuple[int, int]], seed: int = 0) -> list[Pair]:
    draw = torch.Generator().manual_seed(seed)

    def text(length: int) -> list[int]:
        return [2, *torch.randint(4, 320, (length,), generator=draw).tolist()]

    return [Pair(text(one), text(other), 3 * row, 1.0 + row) for row, (one, other) in enumerate(lengths)]


def gradient_of(model: torch.nn.Module) -> torch.Tensor:
    matrices = [matrix for matrix in model.parameters() if matrix.requires_grad]
    found = torch.cat([matrix.grad.flatten().clone() for matrix in matrices if matrix.grad is not None])
    for matrix in matrices:
        matrix.grad = None
    return found


LENGTHS = [(5, 9), (7, 7), (3, 40), (6, 31), (30, 4)]


def test_one_forward_gives_what_two_give(lm_folder, sae_folder, monkeypatch):
    model, encoder, pairs = tuned(lm_folder), load_encoder(sae_folder), pairs_of(LENGTHS)
    found = {}
    for cost in (0, 10_000):
        monkeypatch.setitem(alignment._FORWARD, "cpu", cost)
        batch = collated(pairs, CPU, multiple=16 if cost else 1)
        assert len(batch.forwards) == (1 if cost else 2)
        losses = losses_of(model, encoder, LAYER, batch, SETTINGS)
        losses.alignment.sum().backward()
        found[cost] = losses.alignment.detach(), gradient_of(model)
    assert_close(found[0], found[10_000], rtol=1e-4, atol=1e-5)


def test_a_width_is_read_in_chunks(lm_folder, sae_folder, monkeypatch):
    """TopK's threshold takes the whole dictionary: as much of it at a time as is allowed."""
    model, encoder, pairs = tuned(lm_folder), load_encoder(sae_folder), pairs_of(LENGTHS)
    whole = losses_of(model, encoder, LAYER, collated(pairs, CPU), SETTINGS)
    monkeypatch.setattr(alignment, "_LARGEST", 64 * 50)
    assert_close(losses_of(model, encoder, LAYER, collated(pairs, CPU), SETTINGS), whole)


def test_buffers_that_are_filled_again_give_a_batch_its_gradient(lm_folder, sae_folder):
    """What a CUDA graph does, on the CPU: one set of tensors, read again and again."""
    model, encoder = tuned(lm_folder), load_encoder(sae_folder)
    first, second = (collated(pairs_of([(9, 12)] * 4, seed), CPU, multiple=16) for seed in (0, 1))
    buffers = PairBatch(*collated(pairs_of([(9, 12)] * 4, 2), CPU, multiple=16))
    for batch in (first, second, first):
        copy_batch(batch, buffers)
        found = losses_of(model, encoder, LAYER, buffers, SETTINGS)
        found.alignment.sum().backward()
        gradient = gradient_of(model)
        expected = losses_of(model, encoder, LAYER, batch, SETTINGS)
        expected.alignment.sum().backward()
        assert torch.equal(found.alignment, expected.alignment)
        assert torch.equal(gradient, gradient_of(model))


def test_parts_hold_the_budget_and_every_pair_once():
    pairs = pairs_of([(3 + row % 7, 5 + row % 11) for row in range(40)])
    for budget in (1, 60, 200, 10_000):
        parts = parts_of(pairs, budget)
        assert sorted(row for part in parts for row in part) == list(range(40))
        assert all(len(part) == 1 or tokens_of([pairs[row] for row in part]) <= budget for part in parts)
    assert len(parts_of(pairs, 10_000)) == 1


class Full:
    """A card with room for so many tokens: a hook on the embedding that runs out of memory above them."""

    def __init__(self, model: torch.nn.Module, most: int) -> None:
        self.sizes: list[int] = []
        self.most = most
        model.get_input_embeddings().register_forward_pre_hook(self.embed)  # type: ignore[operator]

    def embed(self, _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.sizes.append(inputs[0].numel())
        if inputs[0].numel() > self.most:
            raise torch.OutOfMemoryError("no room")


def test_the_batch_is_halved_from_its_real_size(lm_folder, sae_folder, caplog):
    model, encoder, pairs = tuned(lm_folder), load_encoder(sae_folder), pairs_of([(9, 9)] * 8)
    gradient = BatchGradient(model, encoder, LAYER, SETTINGS)
    gradient.add(pairs, 32_768)
    expected = gradient_of(model)
    card = Full(model, 50)
    cleared: list[bool] = []
    _, budget = gradient.step_with_less_memory(pairs, 32_768, lambda: cleared.append(True))
    assert card.sizes[:3] == [160, 80, 40]  # not 32,768 halved eight times
    assert (budget, len(cleared)) == (40, 2)
    assert_close(gradient_of(model), expected, rtol=1e-4, atol=1e-5)
    assert "going on with 40 tokens" in caplog.text
    card.most = 10
    with pytest.raises(IsoglossError, match="one pair at a time"):
        gradient.step_with_less_memory(pairs, 32_768, lambda: None)


def test_matrices_stay_float32_where_the_base_is_not(lm_folder, sae_folder):
    """Steps far below bfloat16's last bit still add up, and the model ends with the float32 matrices."""
    encoder, pairs = load_encoder(sae_folder), pairs_of([(9, 9)] * 4)
    ends = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = tuned(lm_folder, dtype)
        before = {name: matrix.detach().clone() for name, matrix in model.named_parameters() if matrix.requires_grad}
        optimiser = LoraOptimiser(model, dtype, rate=1e-5, iterations=1000)
        assert {matrix.dtype for matrix in model.parameters() if matrix.requires_grad} == {dtype}
        gradient = BatchGradient(model, encoder, LAYER, SETTINGS)
        for step in range(10):
            gradient.add(pairs, 10_000)
            optimiser.step(step)
        optimiser.finish("here")
        after = {name: matrix for name, matrix in model.named_parameters() if matrix.requires_grad}
        assert {matrix.dtype for matrix in after.values()} == {torch.float32}
        ends[dtype] = torch.cat([(after[name] - start).detach().flatten() for name, start in before.items()])
    assert ends[torch.bfloat16].abs().max() > 5e-5
    cosine = torch.nn.functional.cosine_similarity(*ends.values(), dim=0)
    assert cosine > 0.8, cosine
