"""Bytes that weights, activations and SAEs take while a stage runs: numbers alone, for plans and for benchmarks."""

from typing import NamedTuple

from isogloss.plan.flops import Decoder, sae_bytes

BYTES = {"float32": 4, "bfloat16": 2}
WIDE = 2.0**24  # numbers of an encoding that stages hold at once; of one text, where that has more
_PAIRS_WIDE, _METER_WIDE = 2.0**26, 2.0**26  # as much in alignment, and while SAEs are measured
# Bytes for each number of an encoding at the peak, intermediates included, as seen of saved tensors on the CPU.
PRE_ACTIVATIONS = 8.0  # of TopK, and of the sum with the bias
OWN_TOPK = 12.0  # the same, beside the chunk before
DENSE = 21.0  # activations of every feature that is asked for, beside the chunk before
PATTERNS = 22.6  # those of whole dictionaries, whose maxima and firings are taken
MEASURED = {"topk": 13.0, "standard": 13.0, "jumprelu": 16.0}  # SAELens' own encoding
TRAINED = {"jumprelu": 29.2, "batchtopk": 32.3, "matryoshka": 36.8}  # a step of SAELens, of tokens times features
COPIED = {"float32": 4.0, "bfloat16": 6.0}  # of residuals that phrases' own features are taken of, in both dtypes
LOSSES = 8 * 2.0**25  # logits that losses are taken of, and what these are made of, in either dtype
LENS_TILES = 4 * 8192 * 32768.0  # float32 logits of a tile of the lens, of which there is one at a time
_STEP_NUMBERS = 2.0**27  # pre-activations that a step of SAE training holds at once, in float32 and bfloat16


class TrainingBytes(NamedTuple):
    """What SAEs take while they train."""

    saes: float  # weights and Adam's moments of all, one SAE's gradient
    vectors: float  # those that are shuffled, a group of documents, a batch in float32
    step: float  # pre-activations of a part of a batch, and what a gradient keeps


def batch_bytes(decoder: Decoder, tokens: float, dtype: str) -> float:
    """Activations of a forward at its widest: in the MLP, in attention where that is wider.

    As torch's allocator counts them of families whose attention and activation functions are fused. Eager attention,
    which Gemma 2 has on the CPU, also holds its scores, heads × length numbers a token; GPT-2's GELU doubles the MLP.
    """
    mlp = (3 if decoder.gated else 2) * decoder.d_mlp + 4 * decoder.d_model
    attention = 3 * decoder.d_model + (4 * decoder.heads + 3 * decoder.key_value_heads) * decoder.d_head
    return tokens * BYTES[dtype] * max(mlp, attention)


def backward_bytes(decoder: Decoder, layers: int, tokens: float, dtype: str) -> float:
    """Activations that LoRA on every linear map of `layers` layers keeps for its gradient, and those of a forward."""
    kept = BYTES[dtype] * (4 * decoder.d_mlp + 6 * decoder.d_model) + 16 * decoder.d_model
    return layers * tokens * kept + batch_bytes(decoder, tokens, dtype)


def encoder_bytes(d_model: int, features: int, columns: float | None = None) -> float:
    """An encoder's matrix, bias and threshold in float32; of `columns` of its features only, and where they stand."""
    if columns is None or columns >= features:
        return 4.0 * (d_model + 2) * features
    return 4.0 * (d_model + 2) * columns + 8.0 * features


def encoding_numbers(width: float, positions: float, tokens: float) -> float:
    """Numbers of an encoding of `width` features that are held at once, of batches of `tokens`, `positions` a text."""
    return min(max(WIDE, positions * width), tokens * width)


def pairs_bytes(kind: str, features: int, tokens: float) -> float:
    """What a step of alignment encodes at once: TopK the whole width."""
    return PRE_ACTIVATIONS * min(_PAIRS_WIDE, tokens * features) if kind == "topk" else 0.0


def meter_bytes(kind: str, features: int, tokens: float) -> float:
    """What measuring an SAE on parts of `tokens` takes."""
    return MEASURED.get(kind, MEASURED["jumprelu"]) * min(_METER_WIDE, tokens * features)


def training_bytes(
    d_model: int, features: int, n_layers: int, batch_tokens: int, buffer_tokens: int, dtype: str, kind: str = "topk"
) -> TrainingBytes:
    """SAEs of `n_layers` layers, whose residuals are of `dtype`, in training; TopK's steps never hold the whole."""
    sae = sae_bytes(d_model, features)
    held = buffer_tokens + min(4 * batch_tokens, buffer_tokens) + batch_tokens
    vectors = n_layers * d_model * (held * BYTES[dtype] + 4.0 * batch_tokens)
    numbers = min(_STEP_NUMBERS, batch_tokens * features)
    step = 6.0 * numbers if kind == "topk" else TRAINED[kind] * batch_tokens * features
    return TrainingBytes((3.0 * n_layers + 1) * sae, vectors, step + 3 * 4.0 * batch_tokens * d_model)
