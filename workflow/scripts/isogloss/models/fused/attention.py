"""Attention in one kernel, soft-cap, windows and sinks included: torch's flex attention, under transformers' interface.

It takes what a model's layers give: masks that transformers makes, masks of packed sequences (`isogloss.scoring`),
and block masks of texts in one sequence (`isogloss.models.fused.sequences`). Without soft-cap and sinks a dense mask
goes to torch's scaled dot product attention, as without this module.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from isogloss.models.path import FLEX

Heads = Float[Tensor, "batch heads query d_head"]
Keys = Float[Tensor, "batch key_heads key d_head"]
Attended = Float[Tensor, "batch query heads d_head"]


def register() -> None:
    """Have transformers know this attention as `FLEX`; no model takes it before it is set to."""
    AttentionInterface.register(FLEX, attend)
    AttentionMaskInterface.register(FLEX, sdpa_mask)


def attend(
    module: nn.Module,
    query: Heads,
    key: Keys,
    value: Keys,
    attention_mask: Tensor | BlockMask | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " heads"] | None = None,
    **others: Any,
) -> tuple[Attended, None]:
    """What transformers asks of an implementation of attention; `s_aux` are sinks, one for each head.

    Gradients go through plain arithmetic, as in transformers' eager attention. Raises `NotImplementedError` for
    dropout and biases by position: a model that has them keeps its own.
    """
    if dropout or any(others.get(name) is not None for name in ("position_bias", "cache")):
        raise NotImplementedError("dropout or a bias by position within attention")
    scale = key.shape[-1] ** -0.5 if scaling is None else scaling
    dense = not isinstance(attention_mask, BlockMask)
    if dense and softcap is None and s_aux is None:
        is_causal = others.get("is_causal")
        return sdpa_attention_forward(module, query, key, value, attention_mask, 0.0, scale, is_causal)
    if dense and torch.is_grad_enabled() and query.requires_grad:
        return plain_attention(query, key, value, attention_mask, scale, softcap, s_aux).transpose(1, 2), None
    kernel: Any = flex_attention if torch.compiler.is_compiling() or not query.is_cuda else _compiled()
    output = kernel(
        query,
        key,
        value,
        score_mod=_score_mod(query, None if isinstance(attention_mask, BlockMask) else attention_mask, dense, softcap),
        block_mask=attention_mask if isinstance(attention_mask, BlockMask) else None,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
        return_aux=None if s_aux is None else AuxRequest(lse=True),
    )
    if s_aux is not None:
        output, aux = output  # a sink takes its share of each softmax: exp(lse) / (exp(lse) + exp(sink)) is left
        output = (output * torch.sigmoid(aux.lse - s_aux.float()[:, None])[..., None]).to(query.dtype)
    return output.transpose(1, 2).contiguous(), None


@cache
def _compiled() -> Callable[..., Any]:
    """Flex attention as a kernel; torch keeps one for each dtype and set of options, shapes aside."""
    return torch.compile(flex_attention)


def _score_mod(query: Heads, mask: Tensor | None, dense: bool, softcap: float | None) -> Callable[..., Tensor] | None:
    """What becomes of a score before the softmax: soft-cap, then what a dense mask says of it."""
    causal = dense and mask is None and query.shape[2] > 1
    if softcap is None and mask is None and not causal:
        return None

    def score_mod(score: Tensor, batch: Tensor, _head: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if causal:
            score = torch.where(query_at >= key_at, score, -float("inf"))
        elif mask is not None and mask.dtype == torch.bool:
            score = torch.where(mask[batch, 0, query_at, key_at], score, -float("inf"))
        elif mask is not None:
            score = score + mask[batch, 0, query_at, key_at]
        return score

    return score_mod


def plain_attention(
    query: Heads,
    key: Keys,
    value: Keys,
    mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
) -> Heads:
    """Attention by its formula, the softmax in float32: the twin of `attend`, and what gradients go through."""
    shared = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is None and query.shape[2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    if sinks is not None:
        scores = torch.cat([scores, sinks[:, None, None].expand(*scores.shape[:3], 1).to(scores.dtype)], dim=-1)
    weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights[..., : key.shape[2]], value)
