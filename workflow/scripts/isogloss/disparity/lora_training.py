"""LoRA matrices under Adam: float32 where they are updated, in the base model's dtype where it multiplies by them."""

from typing import Any

import torch
from torch import _foreach_copy_ as foreach_copy  # type: ignore[reportPrivateImportUsage]
from torch import _foreach_zero_ as foreach_zero  # type: ignore[reportPrivateImportUsage]
from torch import nn

from isogloss.errors import IsoglossError


class LoraOptimiser:
    """Adam over the trainable matrices of a model, its rate falling linearly to zero over `iterations` steps.

    Matrices and Adam's moments are float32. A base in bfloat16 reads bfloat16 copies of the matrices, which spares
    it a float32 copy of every input, and gives its gradient in bfloat16. On a GPU a step is PyTorch's fused kernel.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, *, rate: float, iterations: int) -> None:
        self._read = {name: matrix for name, matrix in model.named_parameters() if matrix.requires_grad}
        self._matrices = self._read
        if dtype != torch.float32:
            self._matrices = {name: nn.Parameter(matrix.detach().clone()) for name, matrix in self._read.items()}
            for matrix in self._read.values():
                matrix.data = matrix.data.to(dtype)
        self._rate, self._iterations = rate, iterations
        cuda = next(iter(self._read.values())).is_cuda
        self._adam = torch.optim.Adam(self._matrices.values(), lr=rate, fused=cuda or None)
        for matrix in (*self._read.values(), *self._matrices.values()):
            matrix.grad = torch.zeros_like(matrix)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self._rate * (1 - step / self._iterations)

    @torch.no_grad()
    def step(self, step: int) -> None:
        """Update the matrices by their gradient, which is zero afterwards."""
        for group in self._adam.param_groups:
            group["lr"] = self.rate(step)
        if self._matrices is not self._read:
            foreach_copy(self._gradients(self._matrices), self._gradients(self._read))
        self._adam.step()
        self._copy()
        self.clear()

    def clear(self) -> None:
        """Set the gradient to zero, in its place."""
        foreach_zero(self._gradients(self._read))

    def finish(self, where: str) -> None:
        """Give the model the float32 matrices. Raises `IsoglossError`, at `where`, for one that is not finite."""
        if not all(bool(torch.isfinite(matrix).all()) for matrix in self._matrices.values()):
            raise IsoglossError(f"{where}: the LoRA matrices are not finite; lower alignment.learning_rate")
        for name, matrix in self._read.items():
            matrix.grad, matrix.data = None, self._matrices[name].data

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on but its batch."""
        return {
            "matrices": {name: matrix.detach() for name, matrix in self._matrices.items()},
            "optimiser": self._adam.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name, matrix in self._matrices.items():
            matrix.copy_(state["matrices"][name])
        self._copy()
        self._adam.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all(state["random_cuda"])

    def _copy(self) -> None:
        if self._matrices is not self._read:
            foreach_copy(list(self._read.values()), list(self._matrices.values()))

    @staticmethod
    def _gradients(matrices: dict[str, nn.Parameter]) -> list[torch.Tensor]:
        return [matrix.grad for matrix in matrices.values() if matrix.grad is not None]
