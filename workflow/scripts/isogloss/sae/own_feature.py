"""How strongly a text fires chosen features: the maximum over its tokens (paper A, sec. 2.4), no other columns."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isogloss.sae.autoencoder import encoder_input, pre_activations
from isogloss.sae.kinds.encoder import Encoder
from isogloss.sae.kinds.table import KINDS

_LARGEST = 2**24  # numbers of a full-width encoding, or of residuals that pairs have copies of, held at once


class Measured(NamedTuple):
    """Maxima over a text's own tokens, BOS and padding left out."""

    activation: Float[Tensor, "pairs chosen"]
    pre_activation: Float[Tensor, "pairs chosen"]  # of z, before the nonlinearity; NaN if the residual has one


def measure(
    encoder: Encoder,
    residual: Float[Tensor, "batch pos d_model"],
    content: Bool[Tensor, "batch pos"],
    rows: Int[Tensor, " pairs"],
    features: Int[Tensor, "pairs chosen"],
) -> Measured:
    """Activation and pre-activation of `features[p]` on text `rows[p]` of the batch, for every pair p.

    A kind with thresholds computes these columns only, in chunks of pairs; TopK computes the whole width, in chunks of
    texts, and takes the columns from it, since its threshold is the k-th largest of all. Texts of the batch that no
    pair names are left out.
    """
    present, local = rows.unique(return_inverse=True)
    residual, content = residual[present], content[present]
    kind = KINDS[encoder.kind]
    pairs = features.shape
    measured = Measured(residual.new_empty(pairs, dtype=torch.float32), residual.new_empty(pairs, dtype=torch.float32))
    if kind.threshold is not None:
        x = encoder_input(encoder, residual)
        step = max(1, _LARGEST // (x[0].numel() + pairs[1] * x.shape[2])) if len(x) else 1
        for start in range(0, len(local), step):
            here = slice(start, start + step)
            w, b = encoder.w_enc.T[features[here]], encoder.b_enc[features[here]]  # [step, chosen, d_model], without it
            z = torch.einsum("ptd,pcd->ptc", x[local[here]], w) + b[:, None]
            on = z > kind.threshold(encoder, features[here])[:, None]
            measured.activation[here], measured.pre_activation[here] = _maxima(z, on, content[local[here]])
        return measured
    assert kind.keeps is not None
    positions = torch.arange(residual.shape[1], device=residual.device)
    step = max(1, _LARGEST // (residual.shape[1] * len(encoder.b_enc)))
    for start in range(0, len(residual), step):
        here = (local >= start) & (local < start + step)
        row = local[here]
        whole = pre_activations(encoder, residual[start : start + step])
        own = (row - start)[:, None, None], positions[None, :, None], features[here][:, None, :]
        part = _maxima(whole[own], kind.keeps(encoder, whole)[own], content[row])
        measured.activation[here], measured.pre_activation[here] = part.activation, part.pre_activation
    return measured


def _maxima(
    z: Float[Tensor, "pairs pos chosen"], active: Bool[Tensor, "pairs pos chosen"], content: Bool[Tensor, "pairs pos"]
) -> Measured:
    own = content[:, :, None]
    return Measured(
        activation=z.relu().masked_fill(~(active & own), 0).amax(dim=1),
        pre_activation=z.masked_fill(~own, -torch.inf).amax(dim=1),
    )
