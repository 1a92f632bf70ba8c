"""A shuffle buffer of bounded size between the language model and the SAEs that train on it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_FEW = 32  # a batch is few of the vectors held from this ratio on: it is then drawn without permuting them all


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

    def state(self) -> dict[str, Any]:
        """What `load_state` takes up: the vectors held, not copied, and where the random numbers stand."""
        return {"rows": self._rows, "filled": self._filled, "generator": self._generator.get_state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._rows, self._filled = state["rows"], state["filled"]
        self._generator.set_state(state["generator"].cpu())

    def _draw(self) -> Tensor:
        assert self._rows is not None
        size = min(self._batch_size, self._filled)
        drawn = draw_distinct(self._filled, size, self._generator)
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


def draw_distinct(total: int, size: int, generator: torch.Generator) -> Int[Tensor, " size"]:
    """`size` distinct numbers below `total` in random order; a small part of `total` costs no permutation of it."""
    if total < _FEW * size:
        return torch.randperm(total, generator=generator)[:size]
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < size:
        more = torch.randint(total, (size + size // 8,), generator=generator).numpy()
        drawn = np.concatenate([drawn, more])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return torch.from_numpy(drawn[:size].copy())
