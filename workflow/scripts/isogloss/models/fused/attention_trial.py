"""Whether flex attention errs no more than its formula on what the layers of a model ask of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_mask
from transformers import AttentionInterface

from isogloss.models.fused import attention
from isogloss.models.fused.attention import plain_attention, register
from isogloss.models.fused.trial import as_exact
from isogloss.models.path import FLEX


class Call(NamedTuple):
    """What a layer asked of attention."""

    module: Any
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | BlockMask | None
    settings: dict[str, Any]  # scaling, softcap, s_aux and others, by name

    @property
    def kind(self) -> tuple[Any, ...]:
        """What kernels are made for, as far as it is known here."""
        numbers = [self.settings.get(name) for name in ("scaling", "softcap", "sliding_window")]
        sinks = self.settings.get("s_aux") is not None
        return (type(self.mask), self.query.shape, self.key.shape, sinks, *numbers)

    @property
    def is_ours(self) -> bool:
        """Whether the kernel computes it: torch's scaled dot product attention does the rest."""
        asked = (self.settings.get(name) is not None for name in ("softcap", "s_aux"))
        return isinstance(self.mask, BlockMask) or any(asked)


@contextmanager
def calls_recorded() -> Iterator[dict[tuple[Any, ...], Call]]:
    """While open, the first call of each kind to the attention `FLEX` is kept."""
    calls: dict[tuple[Any, ...], Call] = {}

    def recording(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, *more: Any, **others: Any) -> Any:
        names = ("dropout", "scaling", "softcap", "s_aux")
        call = Call(module, query, key, value, mask, dict(zip(names, more, strict=False)) | others)
        calls.setdefault(call.kind, call)
        return attention.attend(module, query, key, value, mask, *more, **others)

    AttentionInterface.register(FLEX, recording)
    try:
        yield calls
    finally:
        register()


@torch.inference_mode()
def errs_no_more(call: Call) -> bool:
    """Whether what `attend` gives is at most 1.1 times as far from float32 as the formula in the model's precision.

    True in float32, where they differ by the order of sums alone. The whole model's error would not tell: of experts
    chosen by close scores another one may be taken for a rounding, and that outweighs all of attention's.
    """
    if call.query.dtype == torch.float32 or not call.is_ours:
        return True
    scaling, softcap, sinks = (call.settings.get(name) for name in ("scaling", "softcap", "s_aux"))
    scaling = call.key.shape[-1] ** -0.5 if scaling is None else scaling
    mask = _allowed(call)
    vectors = call.query, call.key, call.value
    own = plain_attention(*vectors, mask, scaling, softcap, sinks)
    query, key, value = (each.float() for each in vectors)
    exact = plain_attention(query, key, value, mask, scaling, softcap, None if sinks is None else sinks.float())
    found, _ = attention.attend(call.module, *vectors, call.mask, **call.settings)
    found = found.transpose(1, 2)
    if mask is None:
        return as_exact(found, own, exact)
    seeing = mask.any(-1).expand(found.shape[:-1])  # where a batch is padded, a window may hold nothing
    return found.shape == own.shape and as_exact(found[seeing], own[seeing], exact[seeing])


def _allowed(call: Call) -> Tensor | None:
    """Which keys each query sees, [batch, 1, query, key]; None: those up to itself."""
    if isinstance(call.mask, BlockMask):
        sizes = call.query.shape[2], call.key.shape[2]
        return create_mask(call.mask.mask_mod, 1, 1, *sizes, device=str(call.query.device))
    if call.mask is None or call.mask.dtype == torch.bool:
        return call.mask
    return call.mask > torch.finfo(call.mask.dtype).min / 2
