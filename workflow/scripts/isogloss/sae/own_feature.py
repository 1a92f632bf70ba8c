"""How strongly a text fires chosen features: the maximum over its tokens (paper A, sec. 2.4), no other columns."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isogloss.models.transfer import sent
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

    `rows` and `features` are on the CPU, pinned beside a GPU: nothing waits for the device. A kind with thresholds
    computes these columns only, in chunks of pairs; TopK computes the whole width, in chunks of texts, and takes the
    columns from it, since its threshold is the k-th largest of all. Texts of the batch that no pair names are left out.
    """
    by_pairs = KINDS[encoder.kind].threshold is not None
    return (_of_columns if by_pairs else _of_whole_width)(encoder, residual, content, rows, features)


def _of_columns(encoder: Encoder, residual: Tensor, content: Tensor, rows: Tensor, features: Tensor) -> Measured:
    """`measure` by the columns asked for."""
    threshold = KINDS[encoder.kind].threshold
    assert threshold is not None
    measured = _empty(residual, features)
    rows, features = (sent(index, residual.device) for index in (rows, features))
    step = max(1, _LARGEST // (residual[0].numel() + features.shape[1] * residual.shape[2]))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        row, chosen = rows[here], features[here]
        columns = encoder.columns(chosen)
        w, b = encoder.w_enc.T[columns], encoder.b_enc[columns]  # [step, chosen, d_model], without it
        z = torch.einsum("ptd,pcd->ptc", encoder_input(encoder, residual[row]), w) + b[:, None]
        on = z > threshold(encoder, chosen)[:, None]
        measured.activation[here], measured.pre_activation[here] = _maxima(z, on, content[row])
    return measured


def _of_whole_width(encoder: Encoder, residual: Tensor, content: Tensor, rows: Tensor, features: Tensor) -> Measured:
    """`measure` by the whole width."""
    keeps = KINDS[encoder.kind].keeps
    assert keeps is not None
    measured = _empty(residual, features)
    present, local = rows.unique(return_inverse=True)
    order = local.argsort(stable=True)
    step = max(1, _LARGEST // (residual.shape[1] * len(encoder.b_enc)))
    firsts = torch.arange(0, len(present) + step, step)
    bounds = torch.searchsorted(local[order], firsts).tolist()
    positions = torch.arange(residual.shape[1], device=residual.device)
    for start, low, high in zip(firsts.tolist(), bounds[:-1], bounds[1:], strict=False):
        pairs = order[low:high]
        here, row, chosen, texts = (
            sent(index, residual.device)
            for index in (pairs, local[pairs] - start, features[pairs], present[start : start + step])
        )
        whole = pre_activations(encoder, residual[texts])
        own = row[:, None, None], positions[None, :, None], chosen[:, None, :]
        part = _maxima(whole[own], keeps(encoder, whole)[own], content[texts][row])
        measured.activation[here], measured.pre_activation[here] = part.activation, part.pre_activation
    return measured


def _empty(residual: Tensor, features: Tensor) -> Measured:
    like = residual.new_empty(features.shape, dtype=torch.float32)
    return Measured(like, torch.empty_like(like))


def _maxima(
    z: Float[Tensor, "pairs pos chosen"], active: Bool[Tensor, "pairs pos chosen"], content: Bool[Tensor, "pairs pos"]
) -> Measured:
    own = content[:, :, None]
    return Measured(
        activation=z.relu().masked_fill(~(active & own), 0).amax(dim=1),
        pre_activation=z.masked_fill(~own, -torch.inf).amax(dim=1),
    )
