"""RMSNorm in few passes over memory, where it is tried to be what a module's own forward gives."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from isogloss.models.fused.liger import Liger
from isogloss.models.fused.trial import as_exact

_VECTORS = 64  # that a norm is tried on, of sizes from 1e-3 to 1e3: small ones show another epsilon


class Replacement(NamedTuple):
    """A forward for one module."""

    by: str  # whose it is
    forward: Callable[[Tensor], Tensor]


def is_norm(module: nn.Module) -> bool:
    """Whether `module` holds one vector of weights and an epsilon, whatever it is called."""
    shapes = [parameter.dim() for parameter in module.parameters()]
    return shapes == [1] and hasattr(module, "weight") and len(_epsilons(module)) == 1


@torch.no_grad()
def faster_norm(module: nn.Module, liger: Liger | None) -> Replacement | None:
    """The first of the known forwards that equals a norm's own on random vectors; None where none does.

    Equal is at most 1.1 times as far from float32 (`as_exact`); LayerNorm without bias finds none. Its weights stay
    the module's, which may change in place but are not replaced.
    """
    weight: Any = module.weight
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_VECTORS, len(weight), generator=generator) * torch.logspace(-3, 3, _VECTORS)[:, None]
    x = x.to(weight.device, weight.dtype)
    try:
        own, exact = module(x), copy.deepcopy(module).float()(x.float())
    except TypeError:  # it takes more than vectors: a gate (Qwen 3.5)
        return None
    for replacement in _forwards(weight, _epsilons(module)[0], liger):
        if as_exact(replacement.forward(x), own, exact):
            return replacement
    return None


def _epsilons(module: nn.Module) -> list[float]:
    return [value for name, value in vars(module).items() if "eps" in name and isinstance(value, float)]


def _forwards(weight: Tensor, epsilon: float, liger: Liger | None) -> Iterator[Replacement]:
    """Known forwards, the fastest first: weights as they are, or beside one and in float32 up to the last rounding.

    torch's fused kernel takes vectors and weights of one dtype. The latter's would lose to bfloat16 what the weights
    differ from one by, so that it runs in float32.
    """
    shape = weight.shape
    if liger:
        yield Replacement("liger-kernel", lambda x: liger.norm(x, weight, epsilon, 0.0, "llama", False))
        yield Replacement("liger-kernel", lambda x: liger.norm(x, weight, epsilon, 0.0, "gemma", False))
        yield Replacement("liger-kernel", lambda x: liger.norm(x, weight, epsilon, 1.0, "gemma", False))
    by = "torch.nn.functional.rms_norm"
    yield Replacement(by, lambda x: functional.rms_norm(x, shape, weight, epsilon))
    yield Replacement(by, lambda x: functional.rms_norm(x.float(), shape, 1.0 + weight.float(), epsilon).type_as(x))
