"""ReLU SAEs, which SAELens calls standard."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from isogloss.sae.kinds.encoder import Encoder, Weights


def read_standard(_: Mapping[str, Any], files: Any) -> Weights:
    """The encoder's weights from the open safetensors file."""
    return Weights(files.get_tensor("W_enc").float(), files.get_tensor("b_enc").float())


def standard_threshold(encoder: Encoder, features: Int[Tensor, "*chosen"]) -> Float[Tensor, "*chosen"]:
    """What z must exceed: zero."""
    return torch.zeros_like(features, dtype=encoder.b_enc.dtype)
