"""Features of one model added to the residual stream of another (paper C, sec. 5.1, eq. 7)."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isogloss.sae.autoencoder import Encoder, activations, load_encoders, pre_activations
from isogloss.sae.decoder import read_decoder

_ENTRIES = 2**24  # entries of E(H) that are held dense at a time


class Dictionary(NamedTuple):
    """The SAE of the fully trained model's layer: E and D of eq. 7."""

    encoder: Encoder
    w_dec: Float[Tensor, "features d_model"]
    b_dec: Float[Tensor, " d_model"]


class Codes(NamedTuple):
    """E(H) of some tokens without its zeros, and how long their vectors were."""

    values: Float[Tensor, "tokens active"]  # 0 where a token has fewer active features than others
    features: Int[Tensor, "tokens active"]
    norms: Float[Tensor, " tokens"]  # ||H||, or 1 for an SAE that sees vectors as they are


class Decoding(NamedTuple):
    """What D is; the paper leaves both open (resources/papers.md, paper C, sec. 5.1)."""

    bias: bool  # whether b_dec is added
    rescale: bool  # whether the result, made of unit vectors, is multiplied by ||H||


class Models(NamedTuple):
    """An unfinished model, and what is injected into it."""

    unfinished: nn.Module  # a causal LM
    full: nn.Module  # fully trained; need not be deeper than the layer
    layer: int  # 0-based; after this block
    dictionary: Dictionary
    decoding: Decoding


def load_dictionary(folder: str | Path, layer: int, *, d_model: int, device: torch.device) -> Dictionary:
    """The SAE in SAELens format in `folder`, in float32; errors as `load_encoders`."""
    encoder = load_encoders({layer: folder}, d_model=d_model, device=device)[layer]
    w_dec, b_dec = read_decoder(folder)
    return Dictionary(encoder, w_dec.to(device), b_dec.to(device))


def encode_sparsely(encoder: Encoder, residual: Float[Tensor, "tokens d_model"]) -> Codes:
    """E of the residual, which the encoder itself scales to norm 1 if it was trained so.

    Of features tied at a TopK encoder's threshold, `torch.topk` picks, as in training.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    for chunk in residual.split(max(1, _ENTRIES // len(encoder.b_enc))):
        if encoder.k is not None:
            values, features = pre_activations(encoder, chunk).topk(encoder.k, dim=1, sorted=False)
            parts.append((values.relu(), features))
        else:
            z = activations(encoder, chunk)
            most = max(1, int((z > 0).sum(dim=1).amax()))
            values, features = z.topk(most, dim=1)
            parts.append((values, features))
    widest = max(values.shape[1] for values, _ in parts)
    values, features = (
        torch.cat([functional.pad(part, (0, widest - part.shape[1])) for part in column])
        for column in zip(*parts, strict=True)
    )
    norms = residual.float().norm(dim=1) if encoder.unit_norm_input else torch.ones_like(values[:, 0])
    return Codes(values, features, norms)


def decode_masked(
    dictionary: Dictionary, codes: Codes, mask: Bool[Tensor, " features"], decoding: Decoding
) -> Float[Tensor, "tokens d_model"]:
    """D(m ⊙ E(H)) of eq. 7 in float32, from the decoder rows of the active features alone."""
    weights = torch.where(mask[codes.features], codes.values, torch.zeros_like(codes.values))
    decoded = functional.embedding_bag(codes.features, dictionary.w_dec, per_sample_weights=weights, mode="sum")
    if decoding.bias:
        decoded = decoded + dictionary.b_dec
    return decoded * codes.norms[:, None] if decoding.rescale else decoded


def add_scaled(
    residual: Float[Tensor, "batch pos d_model"],
    content: Bool[Tensor, "batch pos"],
    decoded: Float[Tensor, "tokens d_model"],
    alpha: float,
) -> Float[Tensor, "batch pos d_model"]:
    """H_mid + α D(m ⊙ E(H_full)) (eq. 7) at the `content` positions, row after row; added in float32.

    At BOS, which is no content, nothing is added: the SAE never saw it (paper C, sec. 3.1).
    """
    changed = residual.clone()
    changed[content] = (residual[content].float() + alpha * decoded).to(residual.dtype)
    return changed
