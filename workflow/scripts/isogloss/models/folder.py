"""A model's folder before it is loaded: what its configuration and its safetensors files say of it."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel
from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"

# Quantised weights that transformers turns back into numbers as it loads them, the same on every device.
_EXPANDED = {"fp8": FineGrainedFP8Config, "mxfp4": Mxfp4Config}
# What ties layers to those above: such a model is loaded whole and cut off then.
_ACROSS_LAYERS = ("num_kv_shared_layers", "hidden_size_per_layer_input")


def read_config(folder: str | Path, where: str | None = None) -> Any:
    """The configuration in `folder`, of which messages say that it is `where`.

    Raises `IsoglossError` for one that cannot be read, whose model is no decoder that transformers knows without
    code of its own, or whose weights are quantised in a way that is not undone at load.
    """
    where = where or str(folder)
    if not (Path(folder) / CONFIG).is_file():
        raise IsoglossError(f"{where}: no {CONFIG} there, so no model; run the rule that makes or fetches it")
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, AttributeError, KeyError, TypeError, StrictDataclassError) as error:
        raise IsoglossError(
            f"{where}: {CONFIG} describes no decoder that transformers knows ({brief(error)}); give a causal language"
            " model that needs no code of its own, or mend the file"
        ) from None
    if getattr(config, "is_encoder_decoder", False):
        raise IsoglossError(
            f"{where}: {CONFIG} describes an encoder-decoder, and so no causal language model ({config.model_type});"
            " isogloss measures decoder-only models"
        )
    if (method := _quantised(config)) and method not in _EXPANDED:
        raise IsoglossError(
            f"{where}: {CONFIG} says that the weights are quantised ({method}); isogloss measures a model as it was"
            " trained: give the one that this was made from"
        )
    return config


def brief(error: Exception) -> str:
    """The first sentence of another library's message."""
    return " ".join(str(error).split()).split(". ")[0][:160]


def _quantised(config: Any) -> str | None:
    quantisation = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if not quantisation:
        return None
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation.quant_method
    return str(getattr(method, "value", method))


def expansion_of(config: Any) -> Any:
    """What `from_pretrained` takes to load quantised weights as plain numbers; None for weights that are plain."""
    method = _quantised(config)
    return _EXPANDED[method](dequantize=True) if method else None


def text_config(config: Any, *, last_layer: int | None, where: str) -> Any:
    """The configuration of the text decoder in `config`, cut off after `last_layer` where it can be.

    A head that shares the embedding's weights may be a matter of the whole, with a vision tower say.
    """
    text = config.get_text_config()
    if text is not config:
        text.tie_word_embeddings = any(getattr(each, "tie_word_embeddings", False) for each in (text, config))
        if quantisation := getattr(config, "quantization_config", None):
            text.quantization_config = quantisation
    depth = getattr(text, "num_hidden_layers", None)
    if last_layer is None or depth is None:
        return text
    if not 0 <= last_layer < depth:
        raise IsoglossError(f"{where}: no layer {last_layer}; the model has layers 0 to {depth - 1}")
    if any(getattr(text, name, None) for name in _ACROSS_LAYERS):
        return text
    for name, value in list(vars(text).items()):
        if name.endswith("layer_types") and isinstance(value, list):
            setattr(text, name, value[: last_layer + 1])
    text.num_hidden_layers = last_layer + 1
    return text


def check_architecture(config: Any, where: str) -> None:
    """Raises `IsoglossError` if the text decoder of `config` keeps its layers where isogloss does not know to look.

    No weight is made for it.
    """
    with torch.device("meta"):
        try:
            model = AutoModel.from_config(text_config(config, last_layer=None, where=where), trust_remote_code=False)
        except ValueError as error:
            raise IsoglossError(
                f"{where}: {CONFIG} describes no decoder that transformers knows ({brief(error)}); give a causal"
                " language model"
            ) from None
    try:
        decoder_of(model)
    except IsoglossError as error:
        raise IsoglossError(f"{where}: {error}") from None


def check_weights(folder: Path, *, quantised: bool) -> None:
    """Raises `IsoglossError` unless all the weights of the model in `folder` are there, in safetensors, as numbers."""
    if (folder / WEIGHTS).is_file():
        files = [WEIGHTS]
    elif (folder / INDEX).is_file():
        files = shards_of(folder / INDEX, str(folder))
        if missing := [shard for shard in files if not (folder / shard).is_file()]:
            raise IsoglossError(
                f"{folder}: {len(missing)} of {len(files)} shards are missing, the first is {missing[0]};"
                " fetch the model again"
            )
    else:
        others = [path.name for suffix in ("bin", "pt", "pth", "gguf", "h5") for path in folder.glob(f"*.{suffix}")]
        raise IsoglossError(
            f"{folder}: no {WEIGHTS} there{f', only {others[0]}' if others else ''}; isogloss reads nothing but"
            " safetensors: take a revision that has them, or convert the model"
        )
    for name in files:
        kind = _eight_bits(folder / name)
        if kind and not quantised:
            raise IsoglossError(
                f"{folder}: {name} has weights of 8 bits ({kind}), but {CONFIG} does not say how they are scaled; give"
                f" the model with its own {CONFIG}, or one in 16 bits"
            )


def _eight_bits(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            kinds = (file.get_slice(name).get_dtype() for name in names)
            return next((kind for kind in kinds if kind.startswith(("F8", "F4"))), None)
    except SafetensorError as error:
        raise IsoglossError(
            f"{path.parent}: a safetensors file is damaged ({path.name}: {error}); fetch the model again"
        ) from None


def shards_of(index: Path, where: str) -> list[str]:
    """The files that the weights of a model are in, by their index."""
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IsoglossError(f"{where}: {INDEX} is no index of shards; fetch the model again") from None
    return sorted(shards)
