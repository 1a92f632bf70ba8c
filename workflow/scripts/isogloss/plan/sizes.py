"""Bytes that weights, activations and SAEs take while a stage runs: numbers alone, for plans and for benchmarks."""

from typing import NamedTuple

from isogloss.plan.flops import Decoder, sae_bytes

BYTES = {"float32": 4, "bfloat16": 2}
WIDE_NUMBERS = 3 * 4 * 2.0**24  # float32 of a full-width encoding that is held at once, and two that it is made of
LENS_TILES = 4 * 8192 * 32768.0  # float32 logits of a tile of the lens, of which there is one at a time
_STEP_NUMBERS = 2.0**27  # pre-activations that a step of SAE training holds at once, in float32 and bfloat16


class TrainingBytes(NamedTuple):
    """What SAEs take while they train."""

    saes: float  # weights and Adam's moments of all, one SAE's gradient
    vectors: float  # those that are shuffled, a group of documents, a batch in float32
    step: float  # pre-activations of a part of a batch, and what a gradient keeps


def batch_bytes(decoder: Decoder, tokens: float, dtype: str) -> float:
    """Activations of a forward at its widest, in the MLP; norms are float32."""
    return tokens * (BYTES[dtype] * (3 * decoder.d_mlp + 8 * decoder.d_model) + 4 * decoder.d_model)


def backward_bytes(decoder: Decoder, layers: int, tokens: float, dtype: str) -> float:
    """Activations that LoRA on every linear map of `layers` layers keeps for its gradient, and those of a forward."""
    kept = BYTES[dtype] * (4 * decoder.d_mlp + 6 * decoder.d_model) + 16 * decoder.d_model
    return layers * tokens * kept + batch_bytes(decoder, tokens, dtype)


def encoder_bytes(d_model: int, features: int) -> float:
    """An encoder: its matrix, bias and threshold, in float32."""
    return 4.0 * (d_model + 2) * features


def training_bytes(
    d_model: int, features: int, n_layers: int, batch_tokens: int, buffer_tokens: int, dtype: str
) -> TrainingBytes:
    """TopK SAEs of `n_layers` layers, whose residuals are of `dtype`, in training."""
    sae = sae_bytes(d_model, features)
    held = buffer_tokens + min(4 * batch_tokens, buffer_tokens) + batch_tokens
    vectors = n_layers * d_model * (held * BYTES[dtype] + 4.0 * batch_tokens)
    numbers = min(_STEP_NUMBERS, batch_tokens * features)
    return TrainingBytes((3.0 * n_layers + 1) * sae, vectors, 6.0 * numbers + 3 * 4.0 * batch_tokens * d_model)
