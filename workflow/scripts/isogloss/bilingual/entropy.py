"""Token entropy, semantic entropy and monosemanticity of features, and their null (paper C, sec. 3.4, eqs. 4 to 6)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from isogloss.bilingual.clusters import Clustering, clusters

_HELD = 2**20  # pairs of a feature and a token that are clustered together


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
    return Entropies(
        token=_entropy(feature, count.astype(np.float64), features),
        semantic=_semantic(feature, cluster, count, features),
    )


def permuted_entropy(
    feature: Int[np.ndarray, " pairs"],
    token: Int[np.ndarray, " pairs"],
    count: Int[np.ndarray, " pairs"],
    *,
    features: int,
    embeddings: Float[Tensor, "vocabulary d_model"],
    permutations: Int[np.ndarray, "permutations vocabulary"],
    similarity: float,
    clustering: Clustering,
) -> Float[np.ndarray, " features"]:
    """The semantic entropy that `entropies` finds on average when each token has the row of another.

    The null of every concept metric: the same features, tokens and counts, an embedding of the same cosines, and no
    tie of meaning between the two. NaN without counts or permutations.
    """
    order = np.lexsort((token, -count, feature))
    feature, token, count = feature[order], token[order], count[order]
    together = max(1, _HELD // max(1, len(feature)))
    total = np.zeros(features)
    for start in range(0, len(permutations), together):
        rows = permutations[start : start + together]
        # As if they were as many more features.
        copies = (np.arange(len(rows))[:, None] * features + feature).ravel()
        cluster = clusters(
            copies, rows[:, token].ravel(), embeddings=embeddings, similarity=similarity, clustering=clustering
        )
        each = _semantic(copies, cluster, np.tile(count, len(rows)), len(rows) * features)
        total += each.reshape(len(rows), features).sum(axis=0)
    return total / len(permutations) if len(permutations) else np.full(features, np.nan)


def _semantic(
    feature: Int[np.ndarray, " pairs"],
    cluster: Int[np.ndarray, " pairs"],
    count: Int[np.ndarray, " pairs"],
    features: int,
) -> Float[np.ndarray, " features"]:
    stride = int(cluster.max(initial=0)) + 1
    keys, key_of = np.unique(feature * stride + cluster, return_inverse=True)
    return _entropy(keys // stride, np.bincount(key_of, weights=count, minlength=len(keys)), features)


def _entropy(
    feature: Int[np.ndarray, " parts"], count: Float[np.ndarray, " parts"], features: int
) -> Float[np.ndarray, " features"]:
    total = np.bincount(feature, weights=count, minlength=features)
    share = count / total[feature]
    entropy = np.abs(np.bincount(feature, weights=share * np.log(share), minlength=features))
    return np.where(total > 0, entropy, np.nan)
