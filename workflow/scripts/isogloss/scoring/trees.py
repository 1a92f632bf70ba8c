"""The continuations of a batch of prompts, each prompt's as a tree that its last token is the root of."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from isogloss.scoring.packing import tree_of


class Pairs(NamedTuple):
    """Each token of each continuation, and the node that predicts it."""

    question: Int[Tensor, " pairs"]  # by place in the batch
    node: Int[Tensor, " pairs"]
    word: Int[Tensor, " pairs"]
    choice: Int[Tensor, " pairs"]


class Trees(NamedTuple):
    """The last prompt tokens of a batch (the roots, node 0) and `tree_of` the continuations of each."""

    tokens: Int[Tensor, "questions nodes"]
    depths: Int[Tensor, "questions nodes"]  # tokens since the root
    real: Bool[Tensor, "questions nodes"]  # False on padding
    above: Bool[Tensor, "questions nodes nodes"]  # [.., i, j]: j is before i on its path, or i itself
    pairs: Pairs
    counts: Int[Tensor, "questions choices"]  # tokens of each continuation


def make_trees(
    roots: Sequence[int], continuations: Sequence[Sequence[Sequence[int]]], device: torch.device | None = None
) -> Trees:
    """Trees of continuations (token ids, at least one; equally many for each root)."""
    grown = [tree_of(choices) for choices in continuations]
    width = 1 + max(len(tree.tokens) for tree in grown)
    tokens = torch.zeros((len(roots), width), dtype=torch.long)
    depths = torch.zeros_like(tokens)
    real = torch.zeros_like(tokens, dtype=torch.bool)
    above = torch.eye(width, dtype=torch.bool).repeat(len(roots), 1, 1)
    pairs: list[tuple[int, int, int, int]] = []
    for question, (root, tree) in enumerate(zip(roots, grown, strict=True)):
        size = 1 + len(tree.tokens)
        tokens[question, :size] = torch.tensor([root, *tree.tokens])
        depths[question, 1:size] = 1 + torch.tensor(tree.depths, dtype=torch.long)
        real[question, :size] = True
        for node, parent in enumerate(tree.parents, start=1):
            above[question, node] |= above[question, 1 + parent]
        for choice, path in enumerate(tree.paths):
            pairs += [(question, 1 + tree.sources[edge], tree.targets[edge], choice) for edge in path]
    return Trees(
        tokens.to(device),
        depths.to(device),
        real.to(device),
        above.to(device),
        Pairs(*torch.tensor(pairs, device=device).unbind(dim=1)),
        torch.tensor([[len(path) for path in tree.paths] for tree in grown], device=device),
    )
