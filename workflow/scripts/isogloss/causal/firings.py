"""How often and how strongly each feature of a layer fires in each language."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.models.architecture import hidden_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.finite import remedy
from isogloss.models.hooks import output_after
from isogloss.sae.autoencoder import Encoder, activations

_ENTRIES = 2**24  # activations that are held at a time


class Firings(NamedTuple):
    """What the tokens of texts fire, BOS left out; languages in the order of the study."""

    tokens: Int[np.ndarray, " languages"]
    fired: Int[np.ndarray, "features languages"]  # tokens on which the activation is above 0: all firings, not peaks
    total: Float[np.ndarray, "features languages"]  # sum of the activations

    @property
    def rates(self) -> Float[np.ndarray, "features languages"]:
        """The share of each language's tokens that a feature fires on."""
        return self.fired / self.tokens


@torch.inference_mode()
def count_firings(
    model: nn.Module,
    layer: int,
    encoder: Encoder,
    ids: Mapping[str, Sequence[Sequence[int]]],
    *,
    token_budget: int,
) -> Firings:
    """Count firings after `layer` on the texts `ids` (token ids, BOS first) of each language.

    A text goes through the model once and no deeper; activations of the whole width are held for a bounded number of
    tokens. Raises `IsoglossError` on a stream that is not finite, naming layer and language.
    """
    width = len(encoder.b_enc)
    fired = np.zeros((width, len(ids)), dtype=np.int64)
    total = np.zeros((width, len(ids)))
    with tqdm(total=sum(map(len, ids.values())), unit="text", desc="firings", mininterval=2) as bar:
        for number, (lang, texts) in enumerate(ids.items()):

            def work(batch: Batch, number: int = number, lang: str = lang) -> None:
                residual = hidden_of(output_after(model, batch, layer))
                residual = residual[batch.content.to(residual.device)]
                if not residual.isfinite().all():  # no kind of SAE would show it: a NaN exceeds no threshold
                    raise IsoglossError(
                        f"layer {layer}, language {lang}: the residual stream is not finite; {remedy(model)}"
                    )
                counts = np.zeros(width, dtype=np.int64)
                sums = np.zeros(width)
                for part in residual.split(max(1, _ENTRIES // width)):
                    z = activations(encoder, part)
                    counts += (z > 0).sum(dim=0).cpu().numpy()
                    sums += z.sum(dim=0, dtype=torch.float64).cpu().numpy()
                fired[:, number] += counts  # once all of the batch fitted
                total[:, number] += sums
                bar.update(len(batch.rows))

            each_batch(texts, work, token_budget=token_budget)
    tokens = np.array([sum(len(text) - 1 for text in texts) for texts in ids.values()])
    return Firings(tokens, fired, total)
