"""Losses of texts while features are ablated after a layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from isogloss.models.architecture import hidden_of, with_hidden
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import output_after
from isogloss.models.losses import losses_after
from isogloss.sae.autoencoder import Encoder, activations

_ENTRIES = 2**24  # activations of the whole width that are held at a time


class Ablated(NamedTuple):
    """Mean negative log-likelihood of each text's tokens, in nats, and what was taken away."""

    plain: Float[Tensor, " texts"]
    losses: Float[Tensor, "sets texts"]
    removed: Float[Tensor, "sets texts"]  # norm of what is subtracted over that of the stream, mean over tokens


@torch.inference_mode()
def ablated_losses(
    model: nn.Module,
    layer: int,
    encoder: Encoder,
    w_dec: Float[Tensor, "features d_model"],
    ids: Sequence[Sequence[int]],
    *,
    sets: Sequence[Int[Tensor, " _"]],
    token_budget: int,
    name: str = "",
) -> Ablated:
    """Losses of `ids` (token ids, BOS first) under the causal LM `model`, as it is and with each set of features off.

    After `layer` (0-based) x becomes x - Σ f_i d_i over a set, in float32, with f the SAE's activations on x and d the
    rows of its decoder: the features are set to zero, and what the SAE leaves unexplained stays. At BOS, which SAEs
    never see, nothing changes. An SAE of vectors at norm 1 gives f_i d_i at that scale, so they are times ||x||.
    (ACL 2025, arXiv 2505.05111, sec. 4, instead projects d_i out of x, whether the feature fires or not.)

    The layers up to `layer` and the encoder run once a text; each set costs the layers above, for those texts in which
    any of its features fires: of the others the loss is that of the model as it is.
    """
    device = next(model.parameters()).device
    every, position = torch.unique(torch.cat([*sets, torch.zeros(0, dtype=torch.long)]), return_inverse=True)
    columns = [part.to(device) for part in position.split([len(one) for one in sets])] if sets else []
    every, rows_of = every.to(device), w_dec[every.to(w_dec.device)].to(device)
    plain = torch.full((len(ids),), torch.nan, dtype=torch.float64)
    losses = torch.full((len(sets), len(ids)), torch.nan, dtype=torch.float64)
    removed = torch.zeros((len(sets), len(ids)), dtype=torch.float64)

    def work(batch: Batch) -> None:
        content = batch.content.to(device)
        output = output_after(model, batch, layer)
        x = hidden_of(output)[content].float()
        step = max(1, _ENTRIES // len(encoder.b_enc))
        f = torch.cat([activations(encoder, part, every) for part in x.split(step)])
        norm = x.norm(dim=1)
        if encoder.unit_norm_input:
            f = f * norm[:, None]
        text = content.nonzero()[:, 0]
        count = content.sum(dim=1)
        own = losses_after(model, batch, layer, output)
        plain[batch.rows] = own
        for number, chosen in enumerate(columns):
            fires = f[:, chosen].any(dim=1)
            losses[number, batch.rows] = own
            removed[number, batch.rows] = 0.0
            if not fires.any():
                continue
            taken = f[:, chosen] @ rows_of[chosen]
            share = (taken.norm(dim=1) / norm).double()
            of_text = torch.zeros(len(count), dtype=torch.float64, device=device).index_add_(0, text, share) / count
            removed[number, batch.rows] = of_text.cpu()
            rows, without = _losses_without(model, layer, batch, output, taken, fires)
            losses[number, rows] = without
        progress.update(len(batch.rows))

    with tqdm(total=len(ids), unit="text", desc=f"ablation {name}", mininterval=2) as progress:
        each_batch(ids, work, token_budget=token_budget)
    return Ablated(plain, losses, removed)


def _losses_without(
    model: nn.Module,
    layer: int,
    batch: Batch,
    output: Any,
    taken: Float[Tensor, "tokens d_model"],
    fires: Bool[Tensor, " tokens"],
) -> tuple[list[int], Float[Tensor, " firing"]]:
    """Which texts of the batch have a token that `fires`, and their losses where `taken` is off the layer's output."""
    hidden = hidden_of(output)
    content = batch.content.to(hidden.device)
    changed = hidden.clone()
    changed[content] = (hidden[content].float() - taken).to(hidden.dtype)
    some = content.nonzero()[fires, 0].unique()
    rows = [batch.rows[row] for row in some.tolist()]
    part = Batch(rows, *(whole[some.to(whole.device)] for whole in batch[1:]))
    return rows, losses_after(model, part, layer, with_hidden(output, changed[some]))
