"""The activation-alignment loss of a batch of pairs (paper A, sec. 2.6; app. B.1)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isogloss.errors import IsoglossError
from isogloss.models.batching import Batch, collate
from isogloss.models.hooks import visit_residuals
from isogloss.models.transfer import sent
from isogloss.sae.autoencoder import encoder_input, pre_activations
from isogloss.sae.kinds.encoder import Encoder
from isogloss.sae.kinds.table import KINDS

_LARGEST = 2**26  # numbers of a full-width encoding held at once
# A second forward costs as much as so many tokens of padding: the launches of its kernels on a GPU.
_FORWARD = {"cuda": 2048, "cpu": 32}

Distance = Literal["squared", "absolute"]
Inactive = Literal["none", "straight_through", "pre_activation"]


class LossSettings(NamedTuple):
    """What the paper leaves open about its loss."""

    distance: Distance = "squared"  # d
    weight: float = 1.0  # lambda, weight of the retention term
    inactive: Inactive = "pre_activation"  # see `own_activations`
    detach_reference: bool = False  # no gradient through A^en in the alignment term


class Pair(NamedTuple):
    """A phrase in the reference language and in another, as token ids (BOS first)."""

    reference: Sequence[int]
    translation: Sequence[int]
    feature: int  # the phrase's own feature at the target layer
    recorded: float  # A^{en,orig}


class OwnActivations(NamedTuple):
    """The activation of each text's own feature."""

    value: Float[Tensor, " batch"]  # A, as the loss compares it
    active: Bool[Tensor, " batch"]  # the feature is above its threshold on at least one token


class PairLosses(NamedTuple):
    """The two terms of each pair, not yet weighted or averaged."""

    alignment: Float[Tensor, " batch"]  # d(A^en, A^g)
    retention: Float[Tensor, " batch"]  # d(A^en, A^{en,orig})
    inactive: Bool[Tensor, " batch"]  # the feature is off in the translation


class PairBatch(NamedTuple):
    """Pairs as the model reads them, on its device: every reference, then every translation."""

    forwards: tuple[Batch, ...]  # one of all texts, or one of the references and one of the translations
    features: Int[Tensor, " batch"]
    recorded: Float[Tensor, " batch"]


def own_activations(
    encoder: Encoder,
    residual: Float[Tensor, "batch pos d_model"],
    content: Bool[Tensor, "batch pos"],
    features: Int[Tensor, " batch"],
    inactive: Inactive,
) -> OwnActivations:
    """A of each row: the maximum over its content tokens of the activation of its own feature.

    Where the feature is on, A and its gradient are those of the strongest token. Where it is off on
    every token the thresholded activation is a constant 0, and `inactive` says what stands in:

    - `none`: 0 without a gradient, the formula as printed. A pair whose translation is off adds to the
      loss but teaches nothing, and English that has dropped out cannot be brought back.
    - `straight_through`: still 0, so every loss value is the printed formula's, but with the gradient of
      the largest pre-activation. The pull is that of a gap of A^en, however far below the threshold.
    - `pre_activation`: the largest pre-activation itself, often negative, so that the gap counts how
      far below the threshold the text is and the pull grows with it. With ReLU and JumpReLU A is then
      the largest pre-activation throughout, without a jump at the threshold. Where the SAE's
      inputs are L2-normalised, pre-activations are of the size of activations; on raw residuals a few
      far-off pairs can outweigh all others under the squared distance: take `absolute` there.

    TopK's threshold, the k-th largest pre-activation of a token, takes part without a gradient: a
    feature is pulled up, its competitors are not pushed down. NaN and infinities pass into A.
    """
    columns = encoder.columns(features)
    own = encoder.w_enc.T[columns], encoder.b_enc[columns]  # [batch, d_model], [batch]
    z = torch.bmm(encoder_input(encoder, residual), own[0][:, :, None])[:, :, 0] + own[1][:, None]
    with torch.no_grad():
        kind = KINDS[encoder.kind]
        if kind.keeps is not None:
            on = _kept(encoder, residual, features)
        else:
            assert kind.threshold is not None
            on = z > kind.threshold(encoder, features)[:, None]
    # A product, not torch.where: NaN must survive it.
    strongest = (z.relu() * on).masked_fill(~content, 0).max(dim=-1).values
    active = strongest > 0
    if inactive == "none":
        return OwnActivations(strongest, active)
    below = z.masked_fill(~content, -torch.inf).max(dim=-1).values
    if inactive == "straight_through":
        below = below - below.detach()
    return OwnActivations(torch.where(active, strongest, below), active)


def _kept(
    encoder: Encoder, residual: Float[Tensor, "batch pos d_model"], features: Int[Tensor, " batch"]
) -> Bool[Tensor, "batch pos"]:
    """Where the encoder keeps each row's own feature, which z of the whole width says: some rows of it at a time."""
    keeps = KINDS[encoder.kind].keeps
    assert keeps is not None
    step = max(1, _LARGEST // (residual.shape[1] * len(encoder.b_enc)))
    parts = [
        keeps(encoder, pre_activations(encoder, rows)).gather(2, own[:, None, None].expand(-1, rows.shape[1], 1))[
            ..., 0
        ]
        for rows, own in zip(residual.split(step), features.split(step), strict=True)
    ]
    return torch.cat(parts)


def pair_losses(
    reference: OwnActivations,
    translation: OwnActivations,
    recorded: Float[Tensor, " batch"],
    settings: LossSettings,
) -> PairLosses:
    """d(A^en, A^g) and d(A^en, A^{en,orig}) of each pair (paper A, sec. 2.6).

    The alignment term is symmetric: it also falls when A^en does, which only the retention term
    prevents. `detach_reference` leaves the closing of the gap to the translation alone.
    """
    target = reference.value.detach() if settings.detach_reference else reference.value
    gap, drift = target - translation.value, reference.value - recorded
    if settings.distance == "squared":
        return PairLosses(gap.square(), drift.square(), ~translation.active)
    return PairLosses(gap.abs(), drift.abs(), ~translation.active)


def collated(pairs: Sequence[Pair], device: torch.device, multiple: int = 1) -> PairBatch:
    """`pairs` in one forward of both texts, or in two where one would be mostly padding; widths are of `multiple`."""
    sides = [[pair.reference for pair in pairs], [pair.translation for pair in pairs]]
    width, other = (max(map(len, side)) for side in sides)
    together = abs(width - other) * len(pairs) <= _FORWARD["cuda" if device.type == "cuda" else "cpu"]
    batches = [collate(sides[0] + sides[1])] if together else [collate(side) for side in sides]
    tensors = torch.tensor([pair.feature for pair in pairs]), torch.tensor([pair.recorded for pair in pairs])
    return PairBatch(
        tuple(_moved(_widened(batch, multiple), device) for batch in batches),
        *(sent(tensor, device) for tensor in tensors),
    )


def _widened(batch: Batch, multiple: int) -> Batch:
    more = -batch.input_ids.shape[1] % multiple
    ids, mask, content = (functional.pad(tensor, (0, more)) for tensor in batch[1:])
    return Batch(batch.rows, ids, mask, content)


def _moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(batch.rows, *(sent(tensor, device) for tensor in batch[1:]))


def losses_of(model: nn.Module, encoder: Encoder, layer: int, batch: PairBatch, settings: LossSettings) -> PairLosses:
    """The loss terms of the batch's pairs under `model`, read after decoder layer `layer` (0-based)."""
    read: list[OwnActivations] = []
    n = len(batch.features)
    for texts in batch.forwards:
        features = batch.features.repeat(len(texts.rows) // n)

        def measure(_: int, residual: Tensor, texts: Batch = texts, features: Tensor = features) -> None:
            there = residual.to(encoder.w_enc.device)
            read.append(own_activations(encoder, there, texts.content, features, settings.inactive))

        visit_residuals(model, texts, [layer], measure)
    value, active = (torch.cat(parts) for parts in zip(*read, strict=True))
    sides = OwnActivations(value[:n], active[:n]), OwnActivations(value[n:], active[n:])
    return pair_losses(*sides, batch.recorded, settings)


def require_finite(losses: PairLosses, settings: LossSettings, names: Sequence[str], where: str) -> None:
    """Raise `IsoglossError` for the first pair whose loss is NaN or infinite, with its name."""
    odd = (~torch.isfinite(losses.alignment + settings.weight * losses.retention)).nonzero().flatten().tolist()
    if odd:
        raise IsoglossError(
            f"{where}, {names[odd[0]]}: the loss is not finite ({len(odd)} of {len(names)} pairs);"
            " lower alignment.learning_rate, or look for NaN in the model's or the SAE's weights"
        )
