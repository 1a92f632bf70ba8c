"""Only some features of an SAE's file: their columns of the encoder, and never the rest at once."""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

_NUMBERS = 2**24  # of the file that are read at a time


class Columns:
    """Reads tensors of `file` (safetensors) for `features` alone (ascending), as an open file of these would.

    A vector is one over features, a matrix has features as its columns. Rows are read in blocks, and the file is opened
    anew for each: the pages of a mapped file count as the process's own for as long as it is open.
    """

    def __init__(self, file: str | Path, features: Int[Tensor, " chosen"]) -> None:
        self._file = file
        self._features = features

    def get_tensor(self, name: str) -> Float[Tensor, "*rows chosen"]:
        """The tensor `name`, a copy in float32."""
        with safe_open(self._file, framework="pt") as files:
            shape = files.get_slice(name).get_shape()
            if len(shape) == 1:
                return files.get_tensor(name)[self._features].float()
        rows, width = shape
        chosen = torch.empty(rows, len(self._features))
        step = max(1, _NUMBERS // width)
        for start in range(0, rows, step):
            with safe_open(self._file, framework="pt") as files:
                block = files.get_slice(name)[start : start + step]
                chosen[start : start + step] = block[:, self._features]
                del block
        return chosen
