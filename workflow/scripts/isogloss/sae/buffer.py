"""A shuffle buffer of bounded size between the language model and the SAEs that train on it."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor


class ShuffleBuffer:
    """Mixes residual vectors of many documents; every vector that goes in comes out exactly once.

    Whenever the buffer is full, one random batch leaves and makes room for new vectors, so the
    language model and the SAEs take turns and no more than `capacity` vectors a layer are held.
    The layers share one permutation: a batch is the same tokens at every layer.
    """

    def __init__(self, capacity: int, batch_size: int, generator: torch.Generator) -> None:
        self._capacity = capacity
        self._batch_size = batch_size
        self._generator = generator
        self._rows: Tensor | None = None
        self._filled = 0

    @property
    def held(self) -> Float[Tensor, "layers held d_model"]:
        """The vectors held now; the batch that is being yielded has left."""
        assert self._rows is not None, "nothing was added yet"
        return self._rows[:, : self._filled]

    def add(self, vectors: Float[Tensor, "layers tokens d_model"]) -> Iterator[Float[Tensor, "layers batch d_model"]]:
        """Take in `vectors`; yields a batch each time that the buffer is full."""
        layers, tokens, d_model = vectors.shape
        if self._rows is None:
            self._rows = vectors.new_empty(layers, self._capacity, d_model)
        start = 0
        while start < tokens:
            room = min(self._capacity - self._filled, tokens - start)
            self._rows[:, self._filled : self._filled + room] = vectors[:, start : start + room]
            self._filled += room
            start += room
            if self._filled == self._capacity:
                yield self._draw()

    def drain(self) -> Iterator[Float[Tensor, "layers batch d_model"]]:
        """Yield what is left, in random order; the last batch may be smaller."""
        while self._filled:
            yield self._draw()

    def _draw(self) -> Tensor:
        assert self._rows is not None
        size = min(self._batch_size, self._filled)
        drawn = torch.randperm(self._filled, generator=self._generator)[:size]
        batch = self._rows[:, drawn.to(self._rows.device)]
        # The rows at the end that stay move into the places that became free.
        kept = self._filled - size
        leaves = torch.zeros(self._filled, dtype=torch.bool)
        leaves[drawn] = True
        vacant = leaves[:kept].nonzero().squeeze(1)
        moved = (~leaves[kept:]).nonzero().squeeze(1) + kept
        self._rows[:, vacant.to(self._rows.device)] = self._rows[:, moved.to(self._rows.device)]
        self._filled = kept
        return batch
