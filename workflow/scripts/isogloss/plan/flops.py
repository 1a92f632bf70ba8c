"""FLOPs and parameters of what the stages run: matrix products only, a multiply-add counted as two.

Held against `torch.utils.flop_counter` on real small models in the tests. Attention is counted as eager attention
computes it: every query with every key, masked or not, also where a sliding window is shorter than the text.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_ORDER = (  # in which a decoder layer applies its linear maps
    ("q_proj", "k_proj", "v_proj", "query_key_value"),
    ("o_proj", "dense"),
    ("gate_proj", "up_proj", "dense_h_to_4h"),
    ("down_proj", "dense_4h_to_h"),
)
_STAGES = {name: stage for stage, names in enumerate(_ORDER) for name in names}


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
    tied: bool = True  # the head is the embedding

    @property
    def maps(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear map of a layer, by the name of its module."""
        d, wide, queries, keys = self.d_model, self.d_mlp, self.heads * self.d_head, self.key_value_heads * self.d_head
        if self.gated:
            attention = {"q_proj": (d, queries), "k_proj": (d, keys), "v_proj": (d, keys), "o_proj": (queries, d)}
            return attention | {"gate_proj": (d, wide), "up_proj": (d, wide), "down_proj": (wide, d)}
        attention = {"query_key_value": (d, queries + 2 * keys), "dense": (queries, d)}
        return attention | {"dense_h_to_4h": (d, wide), "dense_4h_to_h": (wide, d)}

    @property
    def layer_parameters(self) -> int:
        """Weights of the linear maps of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.maps.values())

    def parameters(self, layers: int | None = None) -> int:
        """Weights of the embedding, the first `layers` layers (None: all) and, with all layers, an untied head."""
        embeddings = 2 if layers is None and not self.tied else 1
        return embeddings * self.vocabulary * self.d_model + self.layer_parameters * (layers or self.layers)


class Lora(NamedTuple):
    """LoRA matrices of rank `rank` on the maps `modules` of the decoder layers `layers`."""

    rank: int
    modules: Sequence[str]
    layers: Sequence[int]

    def layer_parameters(self, decoder: Decoder) -> int:
        """Weights of the matrices on one layer."""
        return self.rank * sum(sum(decoder.maps.get(name, (0, 0))) for name in self.modules)


def forward(decoder: Decoder, depth: int, tokens: float, products: float, lora: Lora | None = None) -> float:
    """A forward through the first `depth` layers.

    `tokens` counts every position, BOS included; `products` is the sum over texts of queries times
    keys: the square of the length where a text is run whole.
    """
    per_token = 2 * decoder.layer_parameters * depth
    if lora is not None:
        per_token += 2 * lora.layer_parameters(decoder) * sum(layer < depth for layer in lora.layers)
    return per_token * tokens + _attention(decoder) * products * depth


def head(decoder: Decoder, positions: float) -> float:
    """Logits at `positions` positions."""
    return 2 * decoder.d_model * decoder.vocabulary * positions


class Work(NamedTuple):
    """What one question costs."""

    tokens: float
    forward: float  # FLOPs


def scored(
    decoder: Decoder, prompt: float, choices: Sequence[float], probed: int = 1, lora: Lora | None = None
) -> Work:
    """A prompt and its choices, of so many tokens each, as one sequence, with logits at `probed` layers.

    The last token of a choice is only predicted; beginnings that choices share are counted for each.
    """
    nodes = sum(length - 1 for length in choices)
    work = forward(decoder, decoder.layers, prompt + nodes, (prompt + nodes) ** 2, lora)
    return Work(prompt + nodes, work + probed * head(decoder, 1 + nodes))


def backward_to_lora(decoder: Decoder, target: int, tokens: float, products: float, lora: Lora) -> float:
    """The gradient of LoRA matrices from the residual after layer `target`, the weights themselves being frozen.

    Gradients go through every map above the lowest tuned one, and to no weight. At the lowest tuned
    layer the maps that come before, and the input of the first tuned ones, need none.
    """
    lowest = min(lora.layers)
    tuned = set(lora.modules) & set(decoder.maps)
    first = min((_STAGES[name] for name in tuned), default=0)
    through = 2 * decoder.layer_parameters * (target - lowest)
    through += 2 * sum(i * o for name, (i, o) in decoder.maps.items() if _STAGES[name] > first)
    unread = 2 * lora.rank * sum(decoder.maps[name][0] for name in tuned if _STAGES[name] == first)
    matrices = 4 * lora.layer_parameters(decoder) * sum(layer <= target for layer in lora.layers) - unread
    attended = target - lowest + (first == 0)
    return (through + matrices) * tokens + 2 * _attention(decoder) * products * attended


def _attention(decoder: Decoder) -> int:
    """Scores and weighted values of one query and one key, all heads."""
    return 4 * decoder.heads * decoder.d_head


def sae_columns(kind: str, d_model: int, features: int, columns: int, tokens: float) -> float:
    """`columns` features of an SAE at `tokens` positions; TopK computes the whole width for its threshold."""
    return 2 * d_model * (features if kind == "topk" else columns) * tokens


def sae_bytes(d_model: int, features: int) -> int:
    """An SAE's float32 weights: encoder, decoder, encoder bias and threshold, decoder bias."""
    return 4 * (2 * d_model * features + 2 * features + d_model)


def translation(sizes: Mapping[str, int], tokens: float, beam_size: int) -> float:
    """One text of `tokens` tokens through a Marian encoder-decoder, its translation being as long."""
    d, wide, layers = sizes["d_model"], sizes["encoder_ffn_dim"], sizes["decoder_layers"]
    encoder = sizes["encoder_layers"] * (2 * (4 * d * d + 2 * d * wide) * tokens + 4 * d * tokens**2)
    of_source = layers * 4 * d * d * tokens  # keys and values of the source, for each beam
    step = layers * (2 * (6 * d * d + 2 * d * wide) + 4 * d * (1.5 * tokens)) + 2 * d * sizes["vocab_size"]
    return encoder + beam_size * (of_source + step * tokens)


def translator_parameters(sizes: Mapping[str, int]) -> int:
    """Weights of a Marian encoder-decoder with one embedding."""
    d, wide = sizes["d_model"], sizes["encoder_ffn_dim"]
    encoder = sizes["encoder_layers"] * (4 * d * d + 2 * d * wide)
    return encoder + sizes["decoder_layers"] * (8 * d * d + 2 * d * wide) + d * sizes["vocab_size"]
