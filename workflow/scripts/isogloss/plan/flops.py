"""FLOPs and parameters of what the stages run: matrix products only, a multiply-add counted as two.

Held against `torch.utils.flop_counter` on real small models in the tests. Attention is counted as eager attention
computes it: every query with every key, masked or not, also where a sliding window is shorter than the text.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Decoder(NamedTuple):
    """A transformer decoder's shape (the configuration's `architecture`)."""

    layers: int
    d_model: int
    d_mlp: int
    heads: int
    key_value_heads: int
    d_head: int
    vocabulary: int
    gated: bool = True  # the MLP has three matrices (Gemma, Llama, Qwen), not two (GPT-NeoX)

    @property
    def layer_parameters(self) -> int:
        """Weights of the linear maps of one layer."""
        attention = 2 * self.d_model * self.d_head * (self.heads + self.key_value_heads)
        return attention + (3 if self.gated else 2) * self.d_model * self.d_mlp

    def parameters(self, layers: int | None = None) -> int:
        """Weights of the embedding, which is the head too, and of the first `layers` layers; None: of all."""
        return self.vocabulary * self.d_model + self.layer_parameters * (layers or self.layers)


def forward(decoder: Decoder, depth: int, tokens: float, products: float) -> float:
    """A forward through `depth` layers.

    `tokens` counts every position, BOS included; `products` is the sum over texts of queries times
    keys: the square of the length where a text is run whole.
    """
    return depth * (2 * decoder.layer_parameters * tokens + 4 * decoder.heads * decoder.d_head * products)


def head(decoder: Decoder, positions: float) -> float:
    """Logits at `positions` positions."""
    return 2 * decoder.d_model * decoder.vocabulary * positions


def aligned(decoder: Decoder, target: int, lowest: int, tokens: float, products: float) -> float:
    """Forward to layer `target` and the gradient of LoRA matrices from layer `lowest` up, the weights being frozen.

    Gradients go through the tuned layers but to no weight, so that backward costs them one forward more, attention
    two. The products of the LoRA matrices themselves are left out: half a percent at rank 8 of a Gemma.
    """
    backward = forward(decoder, target + 1 - lowest, tokens, 2 * products)
    return forward(decoder, target + 1, tokens, products) + backward


def scored(decoder: Decoder, prompt: float, choices: Sequence[float], probed: int = 1) -> tuple[float, float]:
    """Tokens and FLOPs of a prompt and its choices, of so many tokens each, in one sequence, with `probed` lenses.

    The last token of a choice is only predicted; beginnings that choices share are counted for each.
    """
    nodes = sum(length - 1 for length in choices)
    work = forward(decoder, decoder.layers, prompt + nodes, (prompt + nodes) ** 2)
    return prompt + nodes, work + probed * head(decoder, 1 + nodes)


def swept(
    decoder: Decoder, prompt: float, choices: Sequence[float], layers: Sequence[int], variants: int
) -> tuple[float, float]:
    """Tokens and FLOPs of a prompt, then `variants` of its last token with its choices from each of `layers` on."""
    nodes = 1 + sum(length - 1 for length in choices)
    parts = [(decoder.layers, nodes), *((decoder.layers - 1 - layer, variants * nodes) for layer in layers)]
    work = forward(decoder, decoder.layers, prompt - 1, (prompt - 1) ** 2)
    work += sum(forward(decoder, depth, rows, rows * (prompt - 1 + rows)) for depth, rows in parts)
    total = sum(rows for _, rows in parts)
    return prompt - 1 + total, work + head(decoder, total)


def sae_columns(kind: str, d_model: int, features: int, columns: int, tokens: float) -> float:
    """`columns` features of an SAE at `tokens` positions; TopK computes the whole width for its threshold."""
    return 2 * d_model * (features if kind == "topk" else columns) * tokens


def sae_training(d_model: int, features: int, k: int, tokens: float, held_out: float) -> float:
    """A TopK SAE's training on `tokens` and its quality on `held_out`; the decoder touches K rows a token."""
    sparse = 12.0 * d_model * k * tokens  # decoder forward, gradients, K encoder columns
    return sae_columns("topk", d_model, features, 0, tokens + held_out) + sparse


def sae_bytes(d_model: int, features: int) -> int:
    """An SAE's float32 weights: encoder, decoder, encoder bias and threshold, decoder bias."""
    return 4 * (2 * d_model * features + 2 * features + d_model)
