"""Token entropy, semantic entropy and monosemanticity of features (paper C, sec. 3.4, eqs. 4 to 6)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from isogloss.errors import IsoglossError
from isogloss.models.architecture import LAYOUTS
from isogloss.models.loading import best_device

Clustering = Literal["greedy", "components"]

_LARGEST = 2**22  # cosines held at once
_BLOCK = 512  # tokens that are compared with all others at once


class Entropies(NamedTuple):
    """Of every feature; NaN where it has no counts."""

    token: Float[np.ndarray, " features"]  # nats (eq. 4)
    semantic: Float[np.ndarray, " features"]  # nats (eq. 5)

    def monosemanticity(self, single_token: float) -> Float[np.ndarray, " features"]:
        """1 - SE / TE (eq. 6), and `single_token` where TE = 0: one token alone fires the feature."""
        without_ratio = np.where(np.isnan(self.token), np.nan, single_token)
        ratio = np.divide(self.semantic, self.token, out=np.ones_like(self.token), where=self.token > 0)
        # Sums in another order may make SE larger than TE by a last bit.
        return np.where(self.token > 0, np.clip(1 - ratio, 0, 1), without_ratio)


def entropies(
    feature: Int[np.ndarray, " pairs"],
    token: Int[np.ndarray, " pairs"],
    count: Int[np.ndarray, " pairs"],
    *,
    features: int,
    embeddings: Float[Tensor, "vocabulary d_model"],
    similarity: float,
    clustering: Clustering,
) -> Entropies:
    """Both entropies of `features` features from how often each of their tokens was counted.

    A pair is a feature and one of its tokens; pairs stand feature by feature, in any order within.
    """
    order = np.lexsort((token, -count, feature))
    feature, token, count = feature[order], token[order], count[order]
    cluster = clusters(feature, token, embeddings=embeddings, similarity=similarity, clustering=clustering)
    stride = int(cluster.max(initial=0)) + 1
    keys, key_of = np.unique(feature * stride + cluster, return_inverse=True)
    merged = np.bincount(key_of, weights=count, minlength=len(keys))
    return Entropies(
        token=_entropy(feature, count.astype(np.float64), features),
        semantic=_entropy(keys // stride, merged, features),
    )


def _entropy(
    feature: Int[np.ndarray, " parts"], count: Float[np.ndarray, " parts"], features: int
) -> Float[np.ndarray, " features"]:
    total = np.bincount(feature, weights=count, minlength=features)
    share = count / total[feature]
    entropy = np.abs(np.bincount(feature, weights=share * np.log(share), minlength=features))
    return np.where(total > 0, entropy, np.nan)


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
    """Features of like numbers of tokens, those with a single one left out: that is its cluster."""
    order = np.argsort(sizes, kind="stable")
    stop = len(order)
    while stop > 0 and (width := int(sizes[order[stop - 1]])) > 1:
        number = max(1, _LARGEST // (width * max(min(width, _BLOCK), d_model)))
        start = max(0, stop - number)
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


def input_embeddings(folder: str | Path) -> Float[Tensor, "vocabulary d_model"]:
    """The input embedding of the model in `folder`, in the dtype of its file; nothing else of it is read.

    Raises `IsoglossError` if its safetensors files hold none where a known architecture keeps it.
    """
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    files = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    names = tuple(f"{embedding}.weight" for _, _, embedding in LAYOUTS)
    for file in sorted(files):
        if not (folder / file).is_file():
            raise IsoglossError(f"{folder}: no {file} there, so no embeddings to cluster tokens by; fetch the model")
        try:
            with safe_open(folder / file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118
                    if name.endswith(names):
                        return weights.get_tensor(name)
        except SafetensorError as error:
            raise IsoglossError(f"{folder / file}: damaged ({error}); fetch the model again") from None
    raise IsoglossError(f"{folder}: no input embedding in its safetensors files ({', '.join(names)} is looked for)")
