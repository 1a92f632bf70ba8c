"""Whether a faster part is as good as a model's own: both are tried, against the same in float32."""

from jaxtyping import Float
from torch import Tensor

_ALLOWED = 1.1  # times a part's own error in the model's precision
_ROUNDING = 1e-6  # relative error that summing in another order makes in float32


def relative_error(found: Float[Tensor, "*batch width"], exact: Float[Tensor, "*batch width"]) -> float:
    """The distance of each vector from what it should be, by the length of that; mean over vectors."""
    exact = exact.double()
    distance = (found.double() - exact).norm(dim=-1) / exact.norm(dim=-1).clamp(min=1e-30)
    return float(distance.mean())


def as_exact(found: Tensor, own: Tensor, exact: Tensor) -> bool:
    """Whether `found` is what a part's `own` forward gives, at most 1.1 times as far from `exact`, in float32."""
    if found.dtype != own.dtype or found.shape != own.shape:
        return False
    return relative_error(found, exact) <= max(_ALLOWED * relative_error(own, exact), _ROUNDING)
