"""The activation-alignment loss and its gradient (paper A, sec. 2.6; app. B.1)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from isogloss.errors import IsoglossError
from isogloss.models.batching import Batch, collate
from isogloss.models.hooks import visit_residuals
from isogloss.sae.autoencoder import pre_activations
from isogloss.sae.kinds.encoder import Encoder
from isogloss.sae.kinds.table import KINDS

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
    rows = torch.arange(len(features), device=features.device)
    z = pre_activations(encoder, residual, features)[rows, :, rows]
    with torch.no_grad():
        kind = KINDS[encoder.kind]
        if kind.keeps is not None:
            on = kind.keeps(encoder, pre_activations(encoder, residual))[rows, :, features]
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


def losses_of(
    model: nn.Module, encoder: Encoder, layer: int, pairs: Sequence[Pair], settings: LossSettings
) -> PairLosses:
    """The loss terms of `pairs` under `model`, read after decoder layer `layer` (0-based)."""
    device = encoder.w_enc.device
    features = torch.tensor([pair.feature for pair in pairs], device=device)

    def activations_of(batch: Batch) -> OwnActivations:
        read: list[OwnActivations] = []
        content = batch.content.to(device)
        visit_residuals(
            model,
            batch,
            [layer],
            lambda _, residual: read.append(own_activations(encoder, residual, content, features, settings.inactive)),
        )
        return read[0]

    return pair_losses(
        activations_of(collate([pair.reference for pair in pairs])),
        activations_of(collate([pair.translation for pair in pairs])),
        torch.tensor([pair.recorded for pair in pairs], device=device),
        settings,
    )


def accumulate_gradient(
    model: nn.Module,
    encoder: Encoder,
    layer: int,
    pairs: Sequence[Pair],
    settings: LossSettings,
    token_budget: int,
) -> PairLosses:
    """Add the gradient of L = 1/B sum_p [alignment + lambda retention] to the parameters' `.grad`.

    Pairs of like length go forward and backward together, at most `token_budget` tokens at a time
    (both texts, padding included; a longer pair goes alone), so memory does not grow with B. Returns
    the detached terms in the order of `pairs`.
    """
    order = sorted(range(len(pairs)), key=lambda row: (_width(pairs[row]), row))
    parts: list[PairLosses] = []
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * _width(pairs[order[stop]]) <= token_budget:
            stop += 1
        losses = losses_of(model, encoder, layer, [pairs[row] for row in order[start:stop]], settings)
        ((losses.alignment + settings.weight * losses.retention).sum() / len(pairs)).backward()
        parts.append(PairLosses(*(term.detach() for term in losses)))
        start = stop
    back = torch.tensor(order).argsort()
    return PairLosses(*(torch.cat(terms).cpu()[back] for terms in zip(*parts, strict=True)))


def _width(pair: Pair) -> int:
    return 2 * max(len(pair.reference), len(pair.translation))


def require_finite(losses: PairLosses, settings: LossSettings, names: Sequence[str], where: str) -> None:
    """Raise `IsoglossError` for the first pair whose loss is NaN or infinite, with its name."""
    odd = (~torch.isfinite(losses.alignment + settings.weight * losses.retention)).nonzero().flatten().tolist()
    if odd:
        raise IsoglossError(
            f"{where}, {names[odd[0]]}: the loss is not finite ({len(odd)} of {len(names)} pairs);"
            " lower alignment.learning_rate, or look for NaN in the model's or the SAE's weights"
        )
