"""A prompt and all its continuations as one sequence, in which no continuation sees another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from isogloss.models.architecture import unwrapped
from isogloss.scoring.trees import Tree, ancestors

# Architectures that take a mask of ours layer by layer and put tokens where the position ids given say: tested to be
# exact.
_PACKABLE = {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"}


class Packed(NamedTuple):
    """Prompts, each followed by the nodes of its tree, padded on the right; who sees whom, and from how far."""

    position_ids: Int[Tensor, "batch pos"]  # a node's as if it stood right after what it continues
    allowed: Bool[Tensor, "batch query key"]


def pack(prompts: Sequence[int], trees: Sequence[Tree]) -> Packed:
    """Positions and visibility of prompts of so many tokens, each with its tree.

    A token sees the prompt up to itself; a node the whole prompt, the nodes above and itself; padding the
    prompt, so that nothing is left without any token to see.
    """
    lengths = torch.tensor(prompts)
    width = max(length + len(tree.tokens) for length, tree in zip(prompts, trees, strict=True))
    column = torch.arange(width)
    position_ids = column.repeat(len(trees), 1)
    allowed = (column <= column[:, None]) & (column < lengths[:, None, None])
    for row, (length, tree) in enumerate(zip(prompts, trees, strict=True)):
        end = length + len(tree.tokens)
        position_ids[row, length:end] = length + torch.tensor(tree.depths, dtype=torch.long)
        position_ids[row, end:] = 0
        allowed[row, length:end, length:end] = ancestors(tree)
    return Packed(position_ids, allowed)


def attention_masks(
    model: nn.Module,
    allowed: Bool[Tensor, "batch query key"],
    queries: Int[Tensor, "batch query"],
    keys: Int[Tensor, "batch key"],
) -> Tensor | dict[str, Tensor]:
    """What `model` takes as attention mask: what is added to attention scores, by kind of layer if they differ.

    A sliding-window layer sees as far back as the positions of `queries` and `keys` are apart, not the columns of
    the packed sequence.
    """
    parameter = next(model.parameters())
    allowed, queries, keys = (part.to(parameter.device) for part in (allowed, queries, keys))
    config: Any = unwrapped(model).config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    masks: dict[str, Tensor] = {}
    for kind in sorted(kinds):
        visible = allowed
        if kind == "sliding_attention" and window:
            visible = allowed & (keys[:, None, :] > queries[:, :, None] - window)
        mask = torch.zeros(visible.shape, dtype=parameter.dtype, device=parameter.device)
        masks[kind] = mask.masked_fill_(~visible, torch.finfo(parameter.dtype).min)[:, None]
    return masks if len(masks) > 1 else masks.popitem()[1]


def packs(model: nn.Module) -> bool:
    """Whether `model` is known to compute the same in a packed sequence as in one for each continuation."""
    config = unwrapped(model).config.get_text_config()
    return (
        config.model_type in _PACKABLE
        and config._attn_implementation in ("eager", "sdpa")
        and set(getattr(config, "layer_types", None) or []) <= {"full_attention", "sliding_attention"}
        and not getattr(config, "use_bidirectional_attention", None)
    )
