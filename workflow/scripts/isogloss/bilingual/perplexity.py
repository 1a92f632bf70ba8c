"""How well an unfinished model predicts documents, with and without features of the fully trained one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from isogloss.bilingual.injection import Models, add_scaled, decode_masked, encode_sparsely
from isogloss.models.architecture import hidden_of, with_hidden
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import output_after
from isogloss.models.losses import losses_after


class Losses(NamedTuple):
    """Mean negative log-likelihood of each document's tokens, in nats."""

    plain: Float[Tensor, " documents"]
    injected: Float[Tensor, "masks alphas documents"]


@torch.inference_mode()
def document_losses(
    models: Models,
    ids: Sequence[Sequence[int]],
    *,
    masks: Sequence[Bool[Tensor, " features"]],
    alphas: Sequence[float],
    token_budget: int,
    scales: Sequence[float] | None = None,
) -> Losses:
    """Losses of `ids` (token ids, BOS first) under the unfinished model, plain and with each injection of eq. 7.

    The mean is over all tokens but BOS, which is what transformers' own loss is of the document alone. An injection
    is a mask m at a strength α, times the mask's of `scales`. The fully trained model runs once a batch, as do the
    encoder and the layers of the unfinished one up to the injection; every injection costs its decoder rows and the
    layers above. One document's number is held for each injection, besides a batch.
    """
    model, full, layer, dictionary, decoding = models
    plain = torch.full((len(ids),), torch.nan, dtype=torch.float64)
    injected = torch.full((len(masks), len(alphas), len(ids)), torch.nan, dtype=torch.float64)
    device = next(model.parameters()).device
    progress = tqdm(total=len(ids), unit="document", desc="perplexity", mininterval=2)

    def work(batch: Batch) -> None:
        content = batch.content.to(device)
        output = output_after(model, batch, layer)
        residual = hidden_of(output)
        codes = encode_sparsely(dictionary.encoder, hidden_of(output_after(full, batch, layer))[content])
        plain[batch.rows] = losses_after(model, batch, layer, output)
        for number, mask in enumerate(masks):
            decoded = decode_masked(dictionary, codes, mask, decoding)
            for strength, alpha in enumerate(alphas):
                scaled = alpha if scales is None else alpha * scales[number]
                changed = with_hidden(output, add_scaled(residual, content, decoded, scaled))
                injected[number, strength, batch.rows] = losses_after(model, batch, layer, changed)
        progress.update(len(batch.rows))

    with progress:
        each_batch(ids, work, token_budget=token_budget)
    return Losses(plain, injected)
