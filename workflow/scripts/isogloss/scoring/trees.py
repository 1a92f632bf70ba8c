"""Continuations of prompts as trees, common beginnings once, whose root is a prompt's last token."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


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
                child = nodes.setdefault((node, token), len(nodes))
                if child == len(tree.tokens):
                    tree.tokens.append(token)
                    tree.parents.append(node)
                    tree.depths.append(depth)
                node = child
        tree.paths.append(path)
    return tree


def ancestors(tree: Tree) -> Bool[Tensor, "node ancestor"]:
    """Which nodes are before a node on its path, or the node itself; the root is none of them."""
    above = torch.eye(len(tree.tokens), dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            above[node] |= above[parent]
    return above


class Pairs(NamedTuple):
    """Each token of each continuation, and the node that predicts it."""

    question: Int[Tensor, " pairs"]  # by row of the batch
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
    sizes: list[int]  # nodes of each, the root one of them


def make_trees(
    roots: Sequence[int], continuations: Sequence[Sequence[Sequence[int]]], device: torch.device | None = None
) -> Trees:
    """Trees of continuations (token ids, at least one; equally many for each root)."""
    trees = [tree_of(choices) for choices in continuations]
    width = 1 + max(len(tree.tokens) for tree in trees)
    tokens = torch.zeros((len(roots), width), dtype=torch.long)
    depths = torch.zeros_like(tokens)
    real = torch.zeros_like(tokens, dtype=torch.bool)
    above = torch.eye(width, dtype=torch.bool).repeat(len(roots), 1, 1)
    pairs: list[tuple[int, int, int, int]] = []
    for question, (root, tree) in enumerate(zip(roots, trees, strict=True)):
        size = 1 + len(tree.tokens)
        tokens[question, :size] = torch.tensor([root, *tree.tokens])
        depths[question, 1:size] = 1 + torch.tensor(tree.depths, dtype=torch.long)
        real[question, :size] = True
        above[question, :size, 0] = True
        above[question, 1:size, 1:size] = ancestors(tree)
        for choice, path in enumerate(tree.paths):
            pairs += [(question, 1 + tree.sources[edge], tree.targets[edge], choice) for edge in path]
    return Trees(
        tokens.to(device),
        depths.to(device),
        real.to(device),
        above.to(device),
        Pairs(*torch.tensor(pairs, device=device).unbind(dim=1)),
        torch.tensor([[len(path) for path in tree.paths] for tree in trees], device=device),
        [1 + len(tree.tokens) for tree in trees],
    )
