"""Controls at the same dose: random features that fire as often as the mixed ones and add vectors of the same length.

The injection of paper C (sec. 5, eq. 7) adds whatever its features say on a token. A class whose features fire more
often or more strongly adds more, and does more, whatever it stands for.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isogloss.bilingual.draws import MATCHED, Draw
from isogloss.bilingual.injection import Models, decode_masked, encode_sparsely
from isogloss.models.architecture import hidden_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import output_after

_NEAREST = 5  # candidates of the nearest frequency, of which one is drawn


def match_draws(
    draws: Sequence[Draw],
    candidates: Int[np.ndarray, " candidates"],
    firings: Int[np.ndarray, " features"],
    seed: int,
) -> list[Draw]:
    """A draw of class `matched` for each of `draws`: every feature's partner is one of the five nearest in frequency.

    Nearest is by the log of `firings`, the tokens on which a feature is active; features are taken in random order, a
    candidate once, all of them where a draw has more features. A function of its arguments alone, each draw by itself.
    """
    log = np.log(np.maximum(firings, 1))
    matched = []
    for draw in draws:
        rng = np.random.default_rng([seed, draw.repeat, draw.n_features, *MATCHED.encode()])
        free, partners = candidates.copy(), []
        for feature in rng.permutation(draw.features)[: len(candidates)]:
            nearest = np.argsort(np.abs(log[free] - log[feature]), kind="stable")[:_NEAREST]
            taken = int(rng.choice(nearest))
            partners.append(int(free[taken]))
            free = np.delete(free, taken)
        matched.append(Draw(MATCHED, draw.n_features, draw.repeat, np.array(sorted(partners), dtype=np.int64)))
    return matched


@torch.inference_mode()
def injected_norms(
    models: Models,
    ids: Sequence[Sequence[int]],
    *,
    masks: Sequence[Bool[Tensor, " features"]],
    token_budget: int,
) -> Float[np.ndarray, " masks"]:
    """Mean over the tokens of `ids`, BOS apart, of the norm of what each mask adds at α = 1 (eq. 7).

    One forward of the fully trained model up to the layer, for all masks.
    """
    total, tokens = np.zeros(len(masks)), 0
    device = next(models.unfinished.parameters()).device

    def work(batch: Batch) -> None:
        nonlocal tokens
        residual = hidden_of(output_after(models.full, batch, models.layer))[batch.content.to(device)]
        codes = encode_sparsely(models.dictionary.encoder, residual)
        sums = [
            float(decode_masked(models.dictionary, codes, mask, models.decoding).norm(dim=1).double().sum())
            for mask in masks
        ]
        total[:] += sums
        tokens += len(residual)

    each_batch(ids, work, token_budget=token_budget)
    return total / max(1, tokens)


def scales_to(wanted: Float[np.ndarray, " masks"], norms: Float[np.ndarray, " masks"]) -> Float[np.ndarray, " masks"]:
    """What each of `norms` is multiplied by to be as `wanted`; 1 where nothing is added that could be."""
    return np.divide(wanted, norms, out=np.ones_like(norms), where=norms > 0)
