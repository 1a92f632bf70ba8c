"""Residual streams of many texts at several layers: token by token, or one mean vector a text."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import visit_residuals


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

    each_batch(ids, work, token_budget=token_budget)
    for layer, vectors in zip(layers, collected, strict=True):
        if not torch.isfinite(vectors).all():
            raise IsoglossError(f"layer {layer}: the residual stream is not finite; try compute.dtype float32")
    return collected


@torch.no_grad()
def each_mean(
    model: nn.Module,
    ids: Sequence[Sequence[int]],
    layers: Sequence[int],
    keep: Callable[[list[int], Float[Tensor, "texts layers d_model"]], None],
    *,
    token_budget: int,
) -> int:
    """Call `keep(rows, means)` once for every batch of texts; returns the token budget that fitted.

    `rows` are the batch's texts, by position in `ids`; `means` the mean over each one's tokens, BOS left out, of the
    residual after each of `layers`, float32 on the CPU (h-bar of paper A, sec. 2.2, eq. A1). A NaN in the stream stays
    a NaN here: the caller names the text.
    """

    def work(batch: Batch) -> None:
        pooled: list[Tensor] = []

        def pool(_layer: int, residual: Tensor) -> None:
            content = batch.content.to(residual.device)[:, :, None]
            total = residual.float().masked_fill(~content, 0).sum(dim=1)
            pooled.append(total / content.sum(dim=1))

        visit_residuals(model, batch, layers, pool)
        keep(batch.rows, torch.stack(pooled, dim=1).cpu())

    return each_batch(ids, work, token_budget=token_budget)
