"""Where a model lies: on one GPU, or its layers over several where one has too little room."""

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of

logger = logging.getLogger(__name__)

_ROOM = 0.85  # of a GPU's free memory that weights may take: the rest is for SAEs and what a batch needs
_OTHERS = 0.1  # of a GPU's memory in use before anything is loaded: from there on it is said


class CardMemory(NamedTuple):
    """A GPU as a job finds it."""

    device: torch.device
    name: str
    free: int  # bytes
    total: int


def visible_cards(first: torch.device) -> list[CardMemory]:
    """The GPUs that this process may use, `first` first."""
    index = first.index or 0
    others = [number for number in range(torch.cuda.device_count()) if number != index]
    devices = [torch.device("cuda", number) for number in (index, *others)]
    return [CardMemory(one, torch.cuda.get_device_name(one), *torch.cuda.mem_get_info(one)) for one in devices]


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` on `device`, a GPU with room for it or the CPU; else its layers over all GPUs that the job has.

    Free memory decides, not a card's size. Wherever a layer lies, what it reads and gives out is on `device`
    (`spread`). Raises `IsoglossError` where the GPUs together have too little room.
    """
    if device.type != "cuda":
        return model.to(device)
    cards = visible_cards(device)
    if cards[0].total - cards[0].free > _OTHERS * cards[0].total:
        logger.warning("%s: others use it, %s GB are free", cards[0].name, _share(cards[0]))
    chosen = choose(model, cards)
    if len(set(chosen)) == 1:
        return model.to(device)
    counts = [f"{chosen.count(number)} on {_share(card)}" for number, card in enumerate(cards)]
    logger.info("the model's layers lie on several GPUs: %s GB free", ", ".join(counts))
    return spread(model, [cards[number].device for number in chosen], device)


def choose(model: nn.Module, cards: Sequence[CardMemory]) -> list[int]:
    """The card of each layer, by position in `cards`; what is no layer lies on the first.

    Raises `IsoglossError`, which names dtype and card, where there is too little room.
    """
    layers = [_bytes(layer) for layer in decoder_of(model).layers]
    rest = _bytes(model) - sum(layers)
    chosen = split(layers, rest, [int(_ROOM * card.free) for card in cards])
    if chosen is None:
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        size = sum(layers) + rest
        enough = math.ceil(size / (_ROOM * cards[0].total))
        less = "compute.dtype bfloat16 halves that, or take" if dtype == "float32" else "take"
        raise IsoglossError(
            f"the model's weights take {size / 1e9:.3g} GB in {dtype}, but of {cards[0].name} {_share(cards[0])} GB are"
            f" free ({len(cards)} such card{'s' if len(cards) > 1 else ''}); {less} a larger card, or several:"
            f" compute.gpus_per_job {max(enough, len(cards) + 1)}"
        )
    return chosen


def split(layers: Sequence[int], rest: int, room: Sequence[int]) -> list[int] | None:
    """Which card each of `layers` (bytes) goes to: consecutive ones together, every card full to a like share.

    The first card also holds `rest` bytes, and all layers where it has room for them. None: `room` is too small.
    """
    if rest + sum(layers) <= room[0]:
        return [0] * len(layers)
    for percent in range(1, 101):
        left = [size * percent / 100 for size in room]
        left[0] -= rest
        chosen: list[int] = []
        card = 0
        for size in layers:
            while card < len(left) and left[card] < size:
                card += 1
            if card == len(left):
                break
            left[card] -= size
            chosen.append(card)
        if len(chosen) == len(layers) and left[0] >= 0:
            return chosen
    return None


def spread(model: nn.Module, devices: Sequence[torch.device], home: torch.device) -> nn.Module:
    """`model` with each decoder layer on its one of `devices` and all else on `home`.

    A layer moves what it reads to its own device, and what it gives out to `home`: who reads or changes a stream
    finds it there, beside the SAEs and the head, whichever layer it is of.
    """
    from accelerate.utils import send_to_device

    layers = decoder_of(model).layers
    held = list(layers)
    for number in range(len(layers)):
        layers[number] = nn.Identity()  # what is left goes home without them
    model.to(home)
    for number, (layer, device) in enumerate(zip(held, devices, strict=True)):
        layers[number] = layer.to(device)

        def read(_: nn.Module, inputs: Any, named: Any, device: torch.device = device) -> tuple[Any, Any]:
            return send_to_device(inputs, device), send_to_device(named, device)

        if device != home:
            layer.register_forward_pre_hook(read, with_kwargs=True)
            layer.register_forward_hook(lambda _module, _inputs, output: send_to_device(output, home))
    return model


def _bytes(module: nn.Module) -> int:
    """Of a module's weights and buffers, tied ones once."""
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _share(card: CardMemory) -> str:
    return f"{card.free / 1e9:.3g} of {card.total / 1e9:.3g}"
