"""The encoder of an SAE, whatever its kind."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Encoder(NamedTuple):
    """The encoder of one SAE: z = (x - b_dec?) W_enc + b_enc, then the sparsifying nonlinearity of its kind.

    Its columns are all features, or those that a stage asked for: then `place` says which column a feature has.
    """

    kind: str  # of `isogloss.sae.kinds.table.KINDS`
    w_enc: Float[Tensor, "d_model columns"]
    b_enc: Float[Tensor, " columns"]
    input_bias: Float[Tensor, " d_model"] | None  # b_dec where the SAE subtracts it from its input
    threshold: Float[Tensor, " columns"] | None  # JumpReLU
    k: int | None  # of a kind that keeps a fixed number of features a token (TopK)
    unit_norm_input: bool  # inputs are L2-normalised first (paper C's recipe)
    hook_name: str | None
    column: Int[Tensor, " features"] | None = None  # the column of each feature, past the last where it is not held

    @property
    def width(self) -> int:
        """Features of the SAE, held or not."""
        return len(self.b_enc if self.column is None else self.column)

    def columns(self, features: Int[Tensor, "*chosen"]) -> Int[Tensor, "*chosen"]:
        """Where `features` stand; one that is not held is past the last column, so that reading it fails."""
        return features if self.column is None else self.column[features]

    def to(self, device: torch.device) -> "Encoder":
        """A copy on `device`."""
        return self._replace(
            **{name: value.to(device) for name, value in self._asdict().items() if isinstance(value, Tensor)}
        )


class Weights(NamedTuple):
    """What a kind reads of SAELens' two files, in float32."""

    w_enc: Float[Tensor, "d_model features"]
    b_enc: Float[Tensor, " features"]
    threshold: Float[Tensor, " features"] | None = None
    k: int | None = None


def unit_norm(residual: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Each vector at L2 norm 1, in float32 (paper C's input scaling)."""
    x = residual.float()
    return x / x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).eps)
