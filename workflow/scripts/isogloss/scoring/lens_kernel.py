"""The fold of `online_softmax` as a Triton kernel, which reads a tile of products once and keeps nothing of it."""

from typing import no_type_check

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.cuda import device_of

BLOCK = 4096  # words that a program has in registers at a time


def fold_by_triton(
    products: Tensor,
    bias: Tensor | None,
    scaling: tuple[float, float | None],
    running: tuple[Tensor, Tensor, Tensor],
    first: int,
) -> None:
    """As `fold_by_torch`, a program for each token; the tile stays as it is.

    Raises whatever Triton does where it cannot compile.
    """
    tokens, words = products.shape
    if tokens:
        assert products.stride(1) == 1
        launch = _fold[(tokens,)]  # pyright: ignore[reportIndexIssue]
        with device_of(products):  # Triton launches on the current one
            launch(products, bias, *running, products.stride(0), words, first, *scaling, BLOCK, num_warps=8)


# An argument that is None is a constant, so that what depends on it is compiled or left out.
@triton.jit
@no_type_check
def _fold(products, bias, largest, word, total, stride, words, first, factor, cap, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    best = tl.load(largest + token)
    leader = tl.load(word + token)
    mass = tl.load(total + token)
    for start in range(0, words, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < words
        logit = tl.load(products + token * stride + column, mask=inside, other=-float("inf"))
        if bias is not None:
            logit += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
        logit = logit * factor
        top = tl.max(logit, axis=0)
        foremost = tl.min(tl.where(logit == top, column, words), axis=0)
        leader = tl.where(top > best, (first + foremost).to(tl.int64), leader)
        before = _capped(best, cap)
        best = tl.maximum(best, top)
        shift = _capped(tl.maximum(best, -3.4e38), cap)  # of words ruled out all are -inf
        part = tl.where(inside, tl.exp(_capped(logit, cap) - shift), 0.0)
        mass = mass * tl.exp(before - shift) + tl.sum(part, axis=0)
    tl.store(largest + token, best)
    tl.store(word + token, leader)
    tl.store(total + token, mass)


@triton.jit
@no_type_check
def _capped(logit, cap):
    if cap is not None:
        decay = tl.exp(-2 * tl.abs(logit) / cap)
        tanh = (1 - decay) / (1 + decay)
        logit = cap * tl.where(logit < 0, -tanh, tanh)
    return logit
