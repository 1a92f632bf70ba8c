"""The gradient of the alignment loss over a batch, part by part; on a GPU as CUDA graphs of the shapes that repeat."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from isogloss.disparity.alignment import LossSettings, Pair, PairBatch, PairLosses, collated, losses_of
from isogloss.errors import IsoglossError
from isogloss.sae.kinds.encoder import Encoder

logger = logging.getLogger(__name__)

_WIDTH = 16  # widths of a graph's texts are multiples of this, so that few shapes are all there are
_GRAPHS = 12  # shapes that are kept as graphs, at most


class _Graph(NamedTuple):
    graph: "torch.cuda.CUDAGraph"
    batch: PairBatch  # what it reads
    losses: PairLosses  # what it leaves


class BatchGradient:
    """Adds the gradient of L = 1/B sum_p [alignment + lambda retention] to the `.grad` of the model's parameters.

    On a GPU, with `graphs`, a shape that comes again is captured as a CUDA graph: thousands of kernels, each shorter
    than its launch, then start as one. The parameters' `.grad` must then stay the same tensors. Where a graph cannot
    be captured, the log says so and all goes on without.
    """

    def __init__(
        self, model: nn.Module, encoder: Encoder, layer: int, settings: LossSettings, *, graphs: bool = False
    ) -> None:
        self._model, self._encoder, self._layer, self._settings = model, encoder, layer, settings
        self._device = next(model.parameters()).device
        self._graphs_left = _GRAPHS if graphs and self._device.type == "cuda" else 0
        self._width = _WIDTH if self._graphs_left else 1
        self._seen: set[tuple[object, ...]] = set()
        self._graphs: dict[tuple[object, ...], _Graph] = {}

    def add(self, pairs: Sequence[Pair], token_budget: int) -> PairLosses:
        """Add the gradient of `pairs`; returns their detached terms, in their order, on the model's device.

        Pairs of like length go forward and backward together, at most `token_budget` tokens at a time (both texts,
        padding included; a longer pair goes alone), so memory does not grow with B. Nothing here waits for a GPU.
        """
        parts = parts_of(pairs, token_budget)
        losses = [
            self._part(collated([pairs[row] for row in rows], self._device, self._width), len(pairs)) for rows in parts
        ]
        back = torch.tensor([row for rows in parts for row in rows]).argsort()
        back = back.pin_memory() if self._device.type == "cuda" else back
        return PairLosses(
            *(torch.cat(terms)[back.to(terms[0].device, non_blocking=True)] for terms in zip(*losses, strict=True))
        )

    def step_with_less_memory(
        self, pairs: Sequence[Pair], token_budget: int, clear: Callable[[], None]
    ) -> tuple[PairLosses, int]:
        """`add`, with half of the largest part's tokens each time that memory runs out; and the budget that fitted.

        `clear` sets the gradient back. Raises `IsoglossError` where one pair does not fit.
        """
        while True:
            try:
                return self.add(pairs, token_budget), token_budget
            except torch.OutOfMemoryError:
                largest = max(parts_of(pairs, token_budget), key=lambda rows: tokens_of([pairs[row] for row in rows]))
                if len(largest) == 1:
                    raise IsoglossError(
                        "out of GPU memory with one pair at a time; take a larger GPU, compute.dtype bfloat16 or fewer"
                        " alignment tuned_layers"
                    ) from None
                token_budget = tokens_of([pairs[row] for row in largest]) // 2
            logger.warning("out of GPU memory: going on with %d tokens at a time", token_budget)
            self._graphs.clear()
            self._graphs_left = 0
            clear()
            torch.cuda.empty_cache()

    def _part(self, batch: PairBatch, of: int) -> PairLosses:
        shape = of, *(texts.input_ids.shape for texts in batch.forwards)
        if (known := self._graphs.get(shape)) is not None:
            copy_batch(batch, known.batch)
            known.graph.replay()
            return PairLosses(*(term.clone() for term in known.losses))  # graphs share their memory
        if self._graphs_left and shape in self._seen:
            self._capture(shape, batch, of)
            if shape in self._graphs:
                return self._part(batch, of)
        self._seen.add(shape)
        return self._eager(batch, of)

    def _eager(self, batch: PairBatch, of: int) -> PairLosses:
        losses = losses_of(self._model, self._encoder, self._layer, batch, self._settings)
        ((losses.alignment + self._settings.weight * losses.retention).sum() / of).backward()
        return PairLosses(*(term.detach() for term in losses))

    def _capture(self, shape: tuple[object, ...], batch: PairBatch, of: int) -> None:
        """Capture the shape, which has run before and so has everything initialised that runs once."""
        pool = next(iter(self._graphs.values())).graph.pool() if self._graphs else None
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool):
                losses = self._eager(batch, of)
        except RuntimeError as error:  # memory, or an operation that no graph can hold
            logger.info("no CUDA graph of the alignment step (%s); going on without", str(error).splitlines()[0])
            self._graphs_left = 0
            return
        self._graphs_left -= 1
        self._graphs[shape] = _Graph(graph, batch, losses)


def copy_batch(source: PairBatch, target: PairBatch) -> None:
    """Put the contents of a batch into the tensors of another of the same shape."""
    for texts, into in zip(source.forwards, target.forwards, strict=True):
        for tensor, there in zip(texts[1:], into[1:], strict=True):
            there.copy_(tensor)
    target.features.copy_(source.features)
    target.recorded.copy_(source.recorded)


def parts_of(pairs: Sequence[Pair], token_budget: int) -> list[list[int]]:
    """Which of `pairs` go through the model together: those of like length, in at most `token_budget` tokens."""
    order = sorted(range(len(pairs)), key=lambda row: (_width(pairs[row]), row))
    parts: list[list[int]] = []
    for row in order:
        if parts and (len(parts[-1]) + 1) * _width(pairs[row]) <= token_budget:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def tokens_of(pairs: Sequence[Pair]) -> int:
    """Tokens of `pairs` that go together, both texts, padding included."""
    return len(pairs) * max(map(_width, pairs))


def accumulate_gradient(
    model: nn.Module,
    encoder: Encoder,
    layer: int,
    pairs: Sequence[Pair],
    settings: LossSettings,
    token_budget: int,
) -> PairLosses:
    """`BatchGradient.add` of one batch, with the terms on the CPU."""
    losses = BatchGradient(model, encoder, layer, settings).add(pairs, token_budget)
    return PairLosses(*(term.cpu() for term in losses))


def _width(pair: Pair) -> int:
    return 2 * max(len(pair.reference), len(pair.translation))
