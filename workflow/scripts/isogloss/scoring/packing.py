"""A prompt and all its continuations as one sequence, in which no continuation sees another."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from isogloss.models.windows import sights_of
from isogloss.scoring.trees import Tree, ancestors


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
    the packed sequence; one with chunks (Llama 4) sees its own chunk.
    """
    parameter = next(model.parameters())
    allowed, queries, keys = (part.to(parameter.device) for part in (allowed, queries, keys))
    masks: dict[str, Tensor] = {}
    for kind, sight in sights_of(model).items():
        visible = allowed & sight.reaches(queries[:, :, None], keys[:, None, :])
        mask = torch.zeros(visible.shape, dtype=parameter.dtype, device=parameter.device)
        masks[kind] = mask.masked_fill_(~visible, torch.finfo(parameter.dtype).min)[:, None]
    return masks if len(masks) > 1 else masks.popitem()[1]
