"""Top-activating windows of many features in one pass over a corpus, with bounded memory (paper A, sec. 2.1)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isogloss.sae.autoencoder import activations
from isogloss.sae.kinds.encoder import Encoder
from isogloss.sae.kinds.table import KINDS

_LARGEST = 2**24  # activations held at once, in numbers


class Peaks(NamedTuple):
    """The strongest token of each document for each feature; activation 0 where the feature never fires."""

    activation: Float[Tensor, "documents features"]
    position: Int[Tensor, "documents features"]  # counted from the document's first own token (BOS is not counted)


def document_peaks(
    encoder: Encoder,
    residual: Float[Tensor, "documents pos d_model"],
    content: Bool[Tensor, "documents pos"],
    features: Int[Tensor, " features"],
) -> Peaks:
    """Maximum over each document's own tokens of each feature's activation, and the first token that has it.

    Activations are rounded to 16 significant bits (1.6e-5 relative): texts that begin alike have the
    same activations, and which of them comes first must not hang on the last bits, which change
    with the batch. A NaN stays a NaN.
    """
    width = len(encoder.b_enc) if KINDS[encoder.kind].keeps else len(features)
    step = max(1, _LARGEST // (residual.shape[1] * width))
    parts = []
    for start in range(0, len(residual), step):
        fired = activations(encoder, residual[start : start + step], features)
        fired = torch.where(residual[start : start + step].isnan().any(dim=-1, keepdim=True), torch.nan, fired)
        parts.append(fired.masked_fill(~content[start : start + step, :, None], 0)[:, 1:].max(dim=1))
    return Peaks(
        activation=round_to_16_bits(torch.cat([part.values for part in parts])),
        position=torch.cat([part.indices for part in parts]),
    )


def round_to_16_bits(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Non-negative float32 values rounded to a 16-bit significand, half up; NaN stays NaN."""
    bits = values.contiguous().view(torch.int32)
    rounded = ((bits + 0x80) & ~0xFF).view(torch.float32)
    return torch.where(values.isnan(), values, rounded)


class Windows(NamedTuple):
    """Windows of every feature, strongest first; those with activation 0 are empty places."""

    activation: Float[Tensor, "features places"]
    document: Int[Tensor, "features places"]  # number of the document in the corpus
    first: Int[Tensor, "features places"]  # first segment of the document that the window touches
    last: Int[Tensor, "features places"]  # last segment, inclusive


def no_windows(features: int, kept: int) -> Windows:
    """The list before any document was seen."""
    empty = torch.zeros(features, kept, dtype=torch.long)
    return Windows(torch.zeros(features, kept), empty, empty, empty)


def strongest(kept: Windows, new: Windows) -> Windows:
    """The strongest windows of both lists, as many as `kept` has places; of equal ones the earliest.

    `new` must hold later documents than `kept`, ascending; then the result does not depend on how
    the corpus was cut into pieces.
    """
    both = Windows(*(torch.cat(pair, dim=1) for pair in zip(kept, new, strict=True)))
    order = both.activation.sort(dim=1, descending=True, stable=True).indices[:, : kept.activation.shape[1]]
    return Windows(*(column.gather(1, order) for column in both))


def qualifying(windows: Windows, threshold: float) -> Bool[Tensor, "features places"]:
    """Which windows reach `threshold` times their feature's maximum (paper A, app. A.2.2)."""
    maximum = windows.activation[:, :1]
    return (windows.activation > 0) & (windows.activation >= threshold * maximum)
