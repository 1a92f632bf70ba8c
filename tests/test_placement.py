"""Which layer lies on which GPU, by bytes alone; that a spread model computes what it did; one line where none fits."""

import pytest
import torch
from torch.testing import assert_close

from isogloss.errors import IsoglossError
from isogloss.models.adapter import with_lora
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import collate
from isogloss.models.hooks import resumed_after, visit_residuals
from isogloss.models.loading import load_causal_model
from isogloss.models.placement import CardMemory, choose, placed, split, spread

CPU = torch.device("cpu")
BATCH = collate([[2, 5, 6, 7], [2, *range(10, 30)]])


@pytest.mark.parametrize(
    ("layers", "rest", "room", "expected"),
    [
        ([10] * 4, 5, [45], [0, 0, 0, 0]),  # just fits
        ([10] * 4, 5, [45, 100], [0, 0, 0, 0]),  # one card where one will do
        ([10] * 4, 20, [40, 40], [0, 1, 1, 1]),  # the first also holds the rest
        ([10] * 6, 0, [40, 40], [0, 0, 0, 1, 1, 1]),  # balanced, not first full
        ([10] * 6, 0, [24, 48], [0, 0, 1, 1, 1, 1]),  # of different size
        ([10] * 3, 15, [16, 40], [1, 1, 1]),  # no layer beside the rest
        ([10] * 4, 5, [44], None),
        ([10] * 4, 41, [40, 100], None),  # what cannot be divided does not fit
        ([30, 30], 0, [29, 29, 29], None),
    ],
)
def test_the_card_of_each_layer(layers, rest, room, expected):
    assert split(layers, rest, room) == expected


def test_no_card_is_overfilled_and_layers_stay_in_order():
    for cards in range(1, 6):
        for used in (0.5, 0.8, 0.95):
            layers = [100 + 7 * (row % 5) for row in range(40)]
            room = [int((sum(layers) + 300) / used / cards) + 50 * (row % 2) for row in range(cards)]
            chosen = split(layers, 300, room)
            assert chosen is not None
            assert chosen == sorted(chosen)
            for card, size in enumerate(room):
                own = sum(layer for layer, of in zip(layers, chosen, strict=True) if of == card)
                assert own + 300 * (card == 0) <= size


def card(free: float, total: float = 80e9) -> CardMemory:
    return CardMemory(torch.device("cuda", 0), "Some GPU", int(free), int(total))


@pytest.mark.parametrize(
    ("dtype", "advice"), [(torch.float32, "compute.dtype bfloat16 halves that"), (torch.bfloat16, "; take a larger")]
)
def test_a_model_larger_than_the_cards_is_one_line(lm_folder, dtype, advice):
    model = load_causal_model(lm_folder, dtype=dtype)
    with pytest.raises(IsoglossError, match=r"weights take .* GB in (float32|bfloat16).*Some GPU") as error:
        choose(model, [card(1e4, 8e4), card(1e4, 8e4)])
    assert advice in str(error.value)
    assert "compute.gpus_per_job 3" in str(error.value)
    assert "\n" not in str(error.value)
    assert choose(model, [card(1e9)]) == [0, 0, 0]  # what is free decides, not what a card has
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert set(choose(model, [card(size), card(size)])) == {0, 1}


def residuals(model) -> list[torch.Tensor]:
    read: list[torch.Tensor] = []
    with torch.no_grad():
        visit_residuals(model, BATCH, [0, 1, 2], lambda _, residual: read.append(residual.clone()))
        read.append(model(input_ids=BATCH.input_ids, attention_mask=BATCH.attention_mask, use_cache=False).logits)
        with resumed_after(model, 1, read[1]):
            read.append(model(input_ids=BATCH.input_ids, attention_mask=BATCH.attention_mask, use_cache=False).logits)
    return read


def test_a_spread_model_computes_what_it_did(lm_folder):
    """On the CPU, whose layers read and give out through the same hooks as on several cards."""
    model = load_causal_model(lm_folder)
    expected = residuals(model)
    there = spread(model, [CPU, torch.device("cpu", 0), torch.device("cpu", 0)], CPU)
    assert len(decoder_of(there).layers[1]._forward_hooks) == 1
    for found, before in zip(residuals(there), expected, strict=True):
        assert torch.equal(found, before)
    assert placed(there, CPU) is there


def test_gradients_pass_between_cards(lm_folder):
    def gradient(devices: list[torch.device] | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = with_lora(load_causal_model(lm_folder), [0, 1, 2], "all", rank=2, alpha=4.0, dropout=0.0)
        model = model if devices is None else spread(model, devices, devices[0])
        ends: list[torch.Tensor] = []
        visit_residuals(model, BATCH, [2], lambda _, residual: ends.append(residual.square().sum()))
        ends[0].backward()
        return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])

    assert torch.equal(gradient([CPU, torch.device("cpu", 0), CPU]), gradient(None))


@pytest.mark.gpu
def test_two_cards_compute_what_one_does(lm_folder):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices, one is here")
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    expected = residuals(load_causal_model(lm_folder, device=first))
    there = spread(load_causal_model(lm_folder, device=CPU), [first, second, second], first)
    assert {p.device for p in there.parameters()} == {first, second}
    for found, before in zip(residuals(there), expected, strict=True):
        assert found.device == before.device
        assert_close(found, before, rtol=1e-5, atol=1e-5)
