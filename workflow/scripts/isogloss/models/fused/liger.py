"""What of liger-kernel is used, where it and Triton can be imported; pinned in requirements-gpu.txt."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from isogloss.models.fused.trial import as_exact


class Liger(NamedTuple):
    """Functions of liger-kernel."""

    norm: Callable[..., Tensor]  # of vectors, weights, epsilon, what is added to the weights, casting mode, in place
    gates: dict[str, Callable[[Tensor, Tensor], Tensor]]  # act(gate) * up, by name


def load_liger() -> Liger:
    """Raises whatever its import does: it may be missing, of another version, or without a Triton that works."""
    from liger_kernel.ops.geglu import LigerGELUMulFunction  # type: ignore[import-not-found]
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction  # type: ignore[import-not-found]
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction  # type: ignore[import-not-found]

    gates = {"GeGLU": LigerGELUMulFunction.apply, "SwiGLU": LigerSiLUMulFunction.apply}
    return Liger(LigerRMSNormFunction.apply, gates)


@torch.no_grad()
def faster_gate(module: Any, liger: Liger) -> Callable[[Tensor], Tensor] | None:
    """A forward of a gated MLP with activation and product in one kernel; None where none equals its own.

    A module is tried if it has the parts of one, whatever it is called, and computes
    down_proj(act_fn(gate_proj(x)) * up_proj(x)) to the bit. Its linear maps are asked by name at each forward: an
    adapter may be attached to them later.
    """
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")]
    gate_proj, activation = parts[0], parts[3]
    if not all(isinstance(part, nn.Module) for part in parts) or not isinstance(gate_proj, nn.Linear):
        return None
    generator = torch.Generator().manual_seed(0)
    weight = gate_proj.weight
    x, gate, up = (
        torch.randn(16, width, generator=generator).to(weight.device, weight.dtype)
        for width in (gate_proj.in_features, gate_proj.out_features, gate_proj.out_features)
    )
    gate = gate * 3  # to where the activation bends and where it is straight

    def forward(x: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return module.down_proj(multiply(module.gate_proj(x), module.up_proj(x)))

    if not torch.equal(forward(x, lambda gate, up: module.act_fn(gate) * up), module(x)):
        return None
    own, exact = activation(gate) * up, activation(gate.float()) * up.float()  # type: ignore[misc]
    for multiply in liger.gates.values():
        if as_exact(multiply(gate, up), own, exact):
            return lambda x: forward(x, multiply)
    return None
