"""The one place that knows where a decoder keeps its layers."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import IsoglossError

# Where an architecture keeps its decoder layers, final norm and embedding: all that a new family may have to add. What
# else an instrument needs is tried on the model when it is loaded (config/families.md: which families do).
LAYOUTS = (
    ("layers", "norm", "embed_tokens"),  # Gemma, Qwen, Llama, Mistral, OLMo, Phi-3, Cohere, Granite, Apertus, SmolLM3
    ("layers", "final_layer_norm", "embed_in"),  # GPT-NeoX
    ("h", "ln_f", "wte"),  # GPT-2
    ("h", "ln_f", "word_embeddings"),  # BLOOM, Falcon
    ("layers", "final_layernorm", "embed_tokens"),  # Phi-1 and 2, Falcon-H1
    ("layers", "final_layer_norm", "embed_tokens"),  # OPT
    ("layers", "layer_norm", "embed_tokens"),  # XGLM
    ("layers", "embedding_norm", "embed_tokens"),  # LFM2
    ("layers", "norm_f", "embeddings"),  # Mamba, Mamba 2, Falcon Mamba, Nemotron-H
    ("layers", "final_norm", "embed_tokens"),  # RecurrentGemma
    ("layers", "final_norm", "embeddings"),  # ModernBERT's decoder
    ("blocks", "norm_f", "wte"),  # MPT, DBRX
    ("blocks", "ln_out", "embeddings"),  # RWKV
    ("blocks", "out_norm", "embeddings"),  # xLSTM
    ("h", "layernorm", "w"),  # CTRL
)


_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)  # of a forward


class Decoder(NamedTuple):
    """The parts of a decoder-only transformer that measurements read."""

    layers: nn.ModuleList  # decoder layers; the output of layers[l] is the residual stream after block l
    d_model: int
    norm: nn.Module  # the final norm, between the last layer and the head
    body: nn.Module  # what holds these and no head: reads token ids, gives final hidden states


def unwrapped(model: nn.Module) -> PreTrainedModel:
    """`model` without PEFT's wrapper; an adapter's matrices stay within its layers."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    assert isinstance(inner, PreTrainedModel), type(inner)
    return inner


def decoder_of(model: nn.Module) -> Decoder:
    """Find the parts of `model`: a transformers decoder, with or without head, or PEFT's wrapper of one.

    Of a model that also reads images (Gemma 3 from 4B on) it is the text decoder. Raises `IsoglossError`
    for an architecture that is not understood; the loaders call it, so that this shows at load.
    """
    inner = unwrapped(model)
    body = inner.get_decoder()
    if not isinstance(body, PreTrainedModel):  # ModernBERT calls its head a decoder
        body = inner.base_model
    body = getattr(body, "model", body)  # Llama 4's is none of the names that transformers goes by
    for layers, norm, embedding in LAYOUTS:
        blocks, last, first = (getattr(body, name, None) for name in (layers, norm, embedding))
        if isinstance(blocks, nn.ModuleList) and isinstance(last, nn.Module) and isinstance(first, nn.Module):
            return Decoder(blocks, inner.config.get_text_config().hidden_size, last, body)
    raise IsoglossError(
        f"{type(inner).__name__}: decoder layers, final norm and embedding not found where a known architecture"
        " keeps them; add its names to isogloss/models/architecture.py"
    )


class _FirstLayerReached(Exception):
    """Ends a forward after the first layer."""


@torch.no_grad()
def check_stream(model: nn.Module) -> None:
    """Raises `IsoglossError` for no layers, several streams, and a model that cannot compute: tried on few tokens.

    One without weights (on `meta`) may not get so far, where it reads values: of that nothing is said. It has a mask
    in place of one that is made by looking at values.
    """

    def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
        hidden_of(output)
        raise _FirstLayerReached

    decoder, weight = decoder_of(model), next(model.parameters())
    if not len(decoder.layers):
        raise IsoglossError("config.json gives it no layers; correct it, or fetch the model again")
    without = weight.device.type == "meta"
    mask = torch.zeros((1, 1, 4, 4), dtype=weight.dtype, device=weight.device) if without else None
    ids = torch.ones((1, 4), dtype=torch.long, device=weight.device)
    handle = decoder.layers[0].register_forward_hook(stop)
    try:
        decoder.body(input_ids=ids, attention_mask=mask, use_cache=False)
    except _FirstLayerReached:
        pass
    except _FAILURES as error:
        if not without:
            raise IsoglossError(
                f"{type(unwrapped(model)).__name__} computes nothing with this config.json"
                f" ({' '.join(str(error).split())[:160]}); correct it, or fetch the model again"
            ) from None
    finally:
        handle.remove()


def hidden_of(output: Any) -> Float[Tensor, "batch pos d_model"]:
    """The hidden states in a layer's output, which are all of it or the first of several.

    Raises `IsoglossError` where a layer gives several streams for each token (Gemma 3n, DeepSeek V4).
    """
    hidden = output if isinstance(output, Tensor) else output[0]
    if hidden.dim() != 3:
        raise IsoglossError(
            f"this architecture's layers give several streams for each token (a tensor {tuple(hidden.shape)}); isogloss"
            " measures models with one residual stream: give another model"
        )
    return hidden


def with_hidden(output: Any, hidden: Float[Tensor, "batch pos d_model"]) -> Any:
    """A layer's output with other hidden states."""
    return hidden if isinstance(output, Tensor) else (hidden, *output[1:])
