"""JumpReLU SAEs, Gemma Scope's kind."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from isogloss.sae.kinds.encoder import Encoder, Weights


def read_jumprelu(_: Mapping[str, Any], files: Any) -> Weights:
    """The encoder's weights and thresholds from the open safetensors file."""
    w_enc, b_enc, threshold = (files.get_tensor(name).float() for name in ("W_enc", "b_enc", "threshold"))
    return Weights(w_enc, b_enc, threshold=threshold)


def jumprelu_threshold(encoder: Encoder, features: Int[Tensor, "*chosen"]) -> Float[Tensor, "*chosen"]:
    """What z must exceed: each feature's own threshold."""
    assert encoder.threshold is not None
    return encoder.threshold[encoder.columns(features)]
