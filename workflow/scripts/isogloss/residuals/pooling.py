"""Residual streams of many texts at several layers: token by token, or one mean vector a text."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, Finish, each_batch
from isogloss.models.finite import remedy
from isogloss.models.hooks import visit_residuals
from isogloss.models.path import reads_padding
from isogloss.models.transfer import read_back, sent


class Means(NamedTuple):
    """The mean residuals of a batch of texts, on the CPU."""

    rows: list[int]  # the texts, by position among those that were given
    vectors: Float[Tensor, "texts layers d_model"]  # float32
    finite: Bool[Tensor, "texts layers"]  # False where the stream has a NaN or an infinity: the caller names the text


@torch.no_grad()
def token_residuals(
    model: nn.Module, ids: Sequence[Sequence[int]], layers: Sequence[int], *, token_budget: int
) -> Float[Tensor, "layers tokens d_model"]:
    """The residual after each of `layers` at every token but BOS, text after text, in the model's dtype.

    The order is that of `ids`, whatever the batches. Raises `IsoglossError` on a NaN, naming the layer.
    """
    lengths = torch.tensor([len(text) - 1 for text in ids])
    first = torch.cumsum(lengths, dim=0) - lengths
    index = {layer: number for number, layer in enumerate(layers)}
    parameter = next(model.parameters())
    collected = torch.empty(
        len(layers), int(lengths.sum()), decoder_of(model).d_model, dtype=parameter.dtype, device=parameter.device
    )

    def work(batch: Batch) -> None:
        positions = torch.arange(batch.input_ids.shape[1]) - 1
        target = (first[batch.rows][:, None] + positions)[batch.content].to(collected.device)
        content = batch.content.to(collected.device)

        def keep(layer: int, residual: Tensor) -> None:
            collected[index[layer], target] = residual[content]

        visit_residuals(model, batch, layers, keep)

    each_batch(ids, work, token_budget=token_budget, padded=reads_padding(model))
    for layer, vectors in zip(layers, collected, strict=True):
        if not torch.isfinite(vectors).all():
            raise IsoglossError(f"layer {layer}: the residual stream is not finite; {remedy(model)}")
    return collected


@torch.no_grad()
def each_mean(
    model: nn.Module,
    ids: Sequence[Sequence[int]],
    layers: Sequence[int],
    keep: Callable[[Means], None],
    *,
    token_budget: int,
) -> int:
    """Call `keep` once for every batch of texts; returns the token budget that fitted.

    The mean over each text's tokens, BOS left out, of the residual after each of `layers`, is h-bar of paper A,
    sec. 2.2, eq. A1. On a GPU `keep` is called while the next batch is computed.
    """

    def work(batch: Batch) -> Finish:
        pooled: list[Tensor] = []
        device = next(model.parameters()).device
        outside = sent(~batch.content, device)[:, :, None]
        tokens = sent(batch.content.sum(dim=1, keepdim=True), device)

        def pool(_layer: int, residual: Tensor) -> None:
            total = residual.masked_fill(outside.to(residual.device), 0).sum(dim=1, dtype=torch.float32)
            pooled.append((total / tokens.to(residual.device)).to(device))

        visit_residuals(model, batch, layers, pool)
        means = torch.stack(pooled, dim=1)
        arrived = read_back([means, means.isfinite().all(dim=2)])
        return lambda: keep(Means(batch.rows, *arrived()))

    return each_batch(ids, work, token_budget=token_budget, padded=reads_padding(model))
