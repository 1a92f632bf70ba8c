"""A prompt and all its continuations as one sequence, in which no continuation sees another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from isogloss.models.architecture import unwrapped

# Architectures that take a mask of ours layer by layer and place tokens by the position ids given: tested to be exact.
_PACKABLE = {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"}


class Tree(NamedTuple):
    """Continuations of one prompt, common beginnings once.

    A node is a token that the model reads: the last of some proper beginning of a continuation. An edge is
    a token that it predicts.
    """

    tokens: list[int]  # of each node
    parents: list[int]  # the node before it; -1: the prompt's last token
    depths: list[int]  # tokens between it and the prompt
    sources: list[int]  # of each edge: the node that predicts; -1: the prompt's last token
    targets: list[int]  # of each edge: the token predicted
    paths: list[list[int]]  # of each continuation: its edges


def tree_of(continuations: Sequence[Sequence[int]]) -> Tree:
    """The tree of `continuations` (token ids, at least one each)."""
    tree = Tree([], [], [], [], [], [])
    nodes: dict[tuple[int, int], int] = {}  # by parent and token
    edges: dict[tuple[int, int], int] = {}
    for ids in continuations:
        node, path = -1, []
        for depth, token in enumerate(map(int, ids)):
            edge = edges.setdefault((node, token), len(edges))
            if edge == len(tree.targets):
                tree.sources.append(node)
                tree.targets.append(token)
            path.append(edge)
            if depth + 1 < len(ids):
                here = nodes.setdefault((node, token), len(nodes))
                if here == len(tree.tokens):
                    tree.tokens.append(token)
                    tree.parents.append(node)
                    tree.depths.append(depth)
                node = here
        tree.paths.append(path)
    return tree


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
    place = torch.arange(width)
    position_ids = place.repeat(len(trees), 1)
    allowed = (place <= place[:, None]) & (place < lengths[:, None, None])
    for row, (length, tree) in enumerate(zip(prompts, trees, strict=True)):
        end = length + len(tree.tokens)
        position_ids[row, length:end] = length + torch.tensor(tree.depths, dtype=torch.long)
        position_ids[row, end:] = 0
        allowed[row, length:end, length:end] = _above(tree)
    return Packed(position_ids, allowed)


def _above(tree: Tree) -> Bool[Tensor, "node above"]:
    above = torch.eye(len(tree.tokens), dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            above[node] |= above[parent]
    return above


def attention_masks(model: nn.Module, packed: Packed) -> Tensor | dict[str, Tensor]:
    """What `model` takes as attention mask: what is added to attention scores, by kind of layer if they differ.

    Sliding-window layers see as far back as the positions are, not the places in the packed sequence.
    """
    parameter = next(model.parameters())
    position_ids, allowed = (part.to(parameter.device) for part in packed)
    config: Any = unwrapped(model).config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    distance = position_ids[:, :, None] - position_ids[:, None, :]
    masks = {}
    for kind in sorted(kinds):
        visible = allowed & (distance < window) if kind == "sliding_attention" and window else allowed
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
