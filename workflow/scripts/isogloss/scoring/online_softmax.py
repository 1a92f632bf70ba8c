"""Log-probabilities of words under a linear head without its logits: an online softmax over tiles of the vocabulary.

Milakov and Gimelshein, 2018, arXiv:1805.02867. For a GPU: nothing here waits for the device. The matrix product is the
library's; what follows it is one pass over a tile, by Triton where that works (`lens_kernel`), else several by torch.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

TILE = (8192, 32_768)  # tokens and words whose products are held at a time, in float32


class Scaling(NamedTuple):
    """What a causal LM makes of its head's output: factor × output, soft-capped to cap × tanh(· / cap) if capped."""

    factor: float = 1.0  # above 0: no scaling changes the order of words
    cap: float | None = None

    def of(self, output: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The logits, in float32."""
        scaled = output.float() * self.factor
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)


class Running(NamedTuple):
    """A softmax over the words seen so far, by token; brought up to date in place."""

    largest: Float[Tensor, " tokens"]  # scaled, not capped: a cap can only make words tie
    word: Int[Tensor, " tokens"]  # the first that has it
    total: Float[Tensor, " tokens"]  # of exp(logit - capped(largest))


Fold = Callable[[Tensor, Tensor | None, Scaling, Running, int], None]


def scan_words(
    hidden: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocabulary d_model"],
    bias: Float[Tensor, " vocabulary"] | None,
    scaling: Scaling,
    rows: Int[Tensor, " pairs"],
    words: Int[Tensor, " pairs"],
    *,
    fold: Fold | None = None,
    tile: tuple[int, int] = TILE,
) -> tuple[Float[Tensor, " pairs"], Bool[Tensor, " pairs"]]:
    """log softmax of `words` at the tokens `rows` in nats, and whether each is the most probable word there.

    Of equally probable words the first is. Products are in float32 whatever the precision of `hidden` and `weight`;
    those of one tile are held at a time. `fold` is `fold_of` the device unless it is given.
    """
    fold = fold or fold_of(hidden.device.type)
    height, width = tile
    running = Running(
        hidden.new_full((len(hidden),), -torch.inf, dtype=torch.float32),
        rows.new_zeros(len(hidden)),
        hidden.new_zeros(len(hidden), dtype=torch.float32),
    )
    wanted = hidden.new_zeros(len(rows), dtype=torch.float32)
    for start in range(0, len(hidden), height):
        tokens = hidden[start : start + height].to(weight.dtype)
        row = rows - start
        of_tokens = (row >= 0) & (row < len(tokens))
        row = row.clamp(0, len(tokens) - 1)
        part = Running(*(value[start : start + height] for value in running))
        for first in range(0, len(weight), width):
            products = _products(tokens, weight[first : first + width])
            word = words - first
            here = of_tokens & (word >= 0) & (word < products.shape[1])
            wanted = torch.where(here, products[row, word.clamp(0, products.shape[1] - 1)], wanted)
            fold(products, None if bias is None else bias[first : first + width], scaling, part, first)
            del products  # before the next ones are made, not after
    logit = scaling.of(wanted if bias is None else wanted + bias[words].float())
    largest, leader, total = running
    # The largest comes scaled.
    normaliser = scaling._replace(factor=1.0).of(largest) + total.log()
    return logit - normaliser[rows], words == leader[rows]


def _products(
    tokens: Float[Tensor, "tokens d_model"], weight: Float[Tensor, "words d_model"]
) -> Float[Tensor, "tokens words"]:
    if weight.dtype != torch.float32 and tokens.is_cuda:
        return torch.mm(tokens, weight.T, out_dtype=torch.float32)
    return functional.linear(tokens.float(), weight.float())


def fold_by_torch(
    products: Float[Tensor, "tokens words"],
    bias: Float[Tensor, " words"] | None,
    scaling: Scaling,
    running: Running,
    first: int,
) -> None:
    """Bring `running` up to date with a tile of the head's products, that of word `first` and the following.

    The tile is overwritten.
    """
    if bias is not None:
        products += bias.float()
    if scaling.factor != 1:
        products *= scaling.factor
    capped = scaling._replace(factor=1.0).of
    leader = products.argmax(1)  # the first of equals
    top = products.gather(1, leader[:, None])[:, 0]
    running.word.copy_(torch.where(top > running.largest, first + leader, running.word))
    before = capped(running.largest)
    torch.maximum(running.largest, top, out=running.largest)
    shift = capped(running.largest.clamp(min=torch.finfo(torch.float32).min))  # of words ruled out all are -inf
    if scaling.cap is not None:
        products.div_(scaling.cap).tanh_().mul_(scaling.cap)
    part = products.sub_(shift[:, None]).exp_().sum(1)
    running.total.mul_((before - shift).exp()).add_(part)


@cache
def fold_of(device: str) -> Fold:
    """What folds tiles on a kind of device: the Triton kernel where it gives what torch does, tried on few words."""
    if device != "cuda":
        return fold_by_torch
    try:
        from isogloss.scoring.lens_kernel import fold_by_triton

        distance = _distance(fold_by_triton, device)
    except Exception as error:  # what a driver, a missing compiler or an old card raises is not ours to list
        logger.warning("the lens goes without Triton, slower: %s: %s", type(error).__name__, str(error).split("\n")[0])
        return fold_by_torch
    if not distance < 1e-4:
        logger.warning("the lens goes without Triton, slower: it is %.2g off torch on this device", distance)
        return fold_by_torch
    return fold_by_triton


def _distance(fold: Fold, device: str) -> float:
    """The largest difference in nats between `fold` and `fold_by_torch`; infinite if another word leads."""
    hidden = torch.linspace(-2, 2, 3 * 16, device=device).sin().view(3, 16)
    weight = torch.linspace(0, 99, 9000 * 16, device=device).cos().view(9000, 16)
    rows, words = torch.arange(3, device=device), torch.tensor([5, 4999, 8999], device=device)
    bias = weight[:, 0].contiguous()
    ends: list[tuple[Tensor, Tensor]] = []
    for one in (fold, fold_by_torch):
        parts = [
            scan_words(hidden, weight, shift, scaling, rows, words, fold=one, tile=(2, 5000))
            for shift, scaling in ((None, Scaling()), (bias, Scaling(0.5, 3.0)))
        ]
        ends.append((torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])))
    (found, leads), (expected, others) = ends
    return float((found - expected).abs().max()) if torch.equal(leads, others) else float("inf")
