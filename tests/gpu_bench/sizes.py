"""What is measured, and what of memory it is planned to take."""

from typing import NamedTuple

from transformers import Gemma2Config

from isogloss.plan.flops import Decoder
from isogloss.plan.sizes import (
    BYTES,
    COPIED,
    LENS_TILES,
    WIDE,
    backward_bytes,
    batch_bytes,
    encoder_bytes,
    training_bytes,
)


class Size(NamedTuple):
    """What is measured."""

    layers: int = 26
    d_model: int = 2304
    d_mlp: int = 9216
    heads: int = 8
    key_value_heads: int = 4
    d_head: int = 256
    vocabulary: int = 256_000
    features: int = 16_384
    budget: int = 32_768  # tokens of a batch
    phrases: int = 800  # a layer
    strides: tuple[int, int] = (8, 100)  # of features in `capture`: for a wait that can be measured, and the study's
    prompt: int = 300
    questions: int = 128
    steered: int = 32  # questions asked in all ways of steering
    pairs: int = 16
    steps: int = 8
    sae_width: int = 2048  # of paper C's 1.8B model
    sae_features: int = 32_768
    sae_batch: int = 32_768
    dtype: str = "bfloat16"

    @property
    def probed(self) -> list[int]:
        """Paper B's layers."""
        return list(range(1, self.layers, 4))


TINY = Size(3, 32, 64, 2, 1, 16, 320, 64, 256, 12, (1, 2), 12, 3, 2, 2, 2, 16, 64, 128, "float32")
GAMMAS = [step / 2 for step in range(-6, 7) if step]  # 12; with seven layers 84 ways


def gemma2(size: Size) -> Gemma2Config:
    return Gemma2Config(
        vocab_size=size.vocabulary, hidden_size=size.d_model, intermediate_size=size.d_mlp,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.key_value_heads,
        head_dim=size.d_head, query_pre_attn_scalar=size.d_head, sliding_window=4096, max_position_embeddings=8192,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip


def planned_peaks(size: Size) -> dict[str, float]:
    """Bytes at the peak of each part, as `make plan` counts them; what a part is given that a stage is not, too.

    The model without its head stays loaded from `forward` to `capture`, with its head from `score` on.
    """
    decoder = Decoder(
        size.layers, size.d_model, size.d_mlp, size.heads, size.key_value_heads, size.d_head, size.vocabulary
    )
    model = float(BYTES[size.dtype] * decoder.parameters())
    batch = batch_bytes(decoder, size.budget, size.dtype)
    encoder = encoder_bytes(size.d_model, size.features)
    layer = min(20, size.layers - 1)
    texts = 2 * size.pairs * 37  # the longest is 36 words
    trained = training_bytes(size.sae_width, size.sae_features, 4, size.sae_batch, 2 * size.sae_batch, size.dtype)
    return {
        "forward": model + batch,
        "kernels": model + batch,
        "encode": 2 * model + size.layers * encoder + batch + COPIED[size.dtype] * WIDE,  # one with an adapter beside
        "capture": model + batch,
        "score": 2 * model + batch + LENS_TILES,
        "steer": 2 * model + batch + LENS_TILES,
        "align": BYTES[size.dtype] * decoder.parameters(layer + 1)
        + encoder
        + backward_bytes(decoder, layer + 1, texts, size.dtype),
        "sae_training": trained.saes + trained.vectors + trained.step,
    }
