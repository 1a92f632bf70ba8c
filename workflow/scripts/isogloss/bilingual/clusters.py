"""Semantic clusters of a feature's tokens, by the cosine of their input embeddings (paper C, sec. 3.4)."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isogloss.models.loading import best_device

Clustering = Literal["greedy", "components"]

_LARGEST = 2**22  # cosines held at once
_BLOCK = 512  # tokens that are compared with all others at once


def clusters(
    feature: Int[np.ndarray, " pairs"],
    token: Int[np.ndarray, " pairs"],
    *,
    embeddings: Float[Tensor, "vocabulary d_model"],
    similarity: float,
    clustering: Clustering,
) -> Int[np.ndarray, " pairs"]:
    """The cluster of each pair's token among those of its feature: numbers that mean something within a feature only.

    The pairs of a feature stand together. `greedy`: token after token joins the earliest cluster whose
    first token has a cosine above `similarity` with it, or founds one. `components`: tokens that a
    chain of such cosines joins (strictly above, both). A zero embedding has cosine 0 with all.

    Features with about as many tokens are taken together, so a feature of m tokens, c clusters and
    width d costs O(m^2 d) in matrix products and O(c m) beside them, and holds at most 512 m cosines.
    The Python loop runs over batches, blocks of 512 tokens, and clusters.
    """
    label = np.zeros(len(feature), dtype=np.int64)
    if not len(feature):
        return label
    device = best_device()
    used, unit_of = np.unique(token, return_inverse=True)
    units = torch.nn.functional.normalize(embeddings[torch.from_numpy(used)].to(device).float(), dim=1)
    starts = np.flatnonzero(np.concatenate([[True], feature[1:] != feature[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(feature)]]))
    find = _greedy if clustering == "greedy" else _components
    for batch in _batches(sizes, units.shape[1]):
        width = int(sizes[batch].max())
        real = np.arange(width) < sizes[batch][:, None]
        pair = np.where(real, starts[batch][:, None] + np.arange(width), 0)
        of_pair = units[torch.from_numpy(unit_of[pair]).to(device)]
        label[pair[real]] = find(of_pair, torch.from_numpy(real).to(device), similarity).cpu().numpy()[real]
    return label


def _batches(sizes: Int[np.ndarray, " features"], d_model: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Features of like numbers of tokens (up to twice the least), those with one left out: that is its cluster."""
    order = np.argsort(sizes, kind="stable")
    ordered, stop = sizes[order], len(order)
    while stop > 0 and (width := int(ordered[stop - 1])) > 1:
        number = max(1, _LARGEST // (width * max(min(width, _BLOCK), d_model)))
        start = max(0, stop - number, int(np.searchsorted(ordered, width // 2, side="right")))
        yield order[start:stop]
        stop = start


def _greedy(
    units: Float[Tensor, "batch tokens d_model"], real: Bool[Tensor, "batch tokens"], similarity: float
) -> Int[Tensor, "batch tokens"]:
    """The position of the first token of each token's cluster."""
    n, width, _ = units.shape
    every = torch.arange(n, device=units.device)
    label = torch.where(real, -1, 0)
    for start in range(0, width, _BLOCK):
        rest = label[:, start:]  # the tokens before have their clusters
        open_ = rest[:, :_BLOCK] < 0
        if not bool(open_.any()):
            continue
        near = units[:, start : start + _BLOCK] @ units[:, start:].mT > similarity
        while bool((waits := open_.any(dim=1)).any()):
            leader = open_.int().argmax(dim=1)  # the first that waits, of each feature that has one
            joins = near[every, leader] & (rest < 0)
            joins[every, leader] = True
            rest = torch.where(joins & waits[:, None], (start + leader)[:, None], rest)
            open_ = rest[:, :_BLOCK] < 0
        label[:, start:] = rest
    return label


def _components(
    units: Float[Tensor, "batch tokens d_model"], real: Bool[Tensor, "batch tokens"], similarity: float
) -> Int[Tensor, "batch tokens"]:
    """The connected component of each token."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, width, _ = units.shape
    node = np.arange(n * width)
    for start in range(0, width, _BLOCK):
        near = units[:, start : start + _BLOCK] @ units[:, start:].mT > similarity
        near &= real[:, start : start + _BLOCK, None] & real[:, None, start:]
        which, one, other = (index.cpu().numpy() for index in near.nonzero(as_tuple=True))
        ends = node[which * width + start + one], node[which * width + start + other]
        graph = coo_array((np.ones(len(which), dtype=np.float32), ends), shape=(n * width, n * width))
        node = connected_components(graph, directed=False)[1].astype(np.int64)[node]
    return torch.from_numpy(node.reshape(n, width))
