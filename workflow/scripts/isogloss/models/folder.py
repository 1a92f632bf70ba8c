"""A model's configuration, before it is loaded: what model it is of, and whether isogloss could measure that."""

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoConfig, AutoModel, GenerationConfig
from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from isogloss.errors import IsoglossError, shown
from isogloss.models.architecture import check_stream, decoder_of

CONFIG, GENERATION = "config.json", "generation_config.json"
_LARGEST = 1 << 26  # bytes of a configuration
UNFIT = (
    ValueError,
    OSError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    ImportError,
    StrictDataclassError,
)
"""What transformers raises for configurations that are none of its own."""

# By key, at any depth. Doge has 16384 experts.
_MOST = {r"(layers?|heads)$": 4096, r"experts$": 1 << 17, r"^num_labels$": 1 << 20}
# By key, at any depth: what positions, rotations, norms and dropout compute with, where a number is given at all.
_LEAST = {
    r"^(max_position_embeddings|n_positions|rope_theta|rope_local_base_freq)$": 1,
    r"_eps(ilon)?$": 0,
    r"drop(out)?(_prob|_rate)?$": 0,
}
_COUNT = r"^n(um)?_|heads$"

# Quantised weights that transformers turns back into numbers as it loads them, the same on every device.
_EXPANDED = {"fp8": FineGrainedFP8Config, "mxfp4": Mxfp4Config}


def read_config(folder: str | Path, where: str | None = None) -> Any:
    """The configuration in `folder`, of which messages say that it is `where`.

    Raises `IsoglossError` for one that cannot be read, whose model is no decoder that transformers knows without
    code of its own, whose weights are quantised in a way that is not undone at load, or whose settings for generation
    cannot be read.
    """
    where = where or str(folder)
    config = read_any_config(
        folder,
        where,
        "decoder that transformers knows",
        "give a causal language model that needs no code of its own, or mend the file",
    )
    # Saved alone, a decoder of such a model says that it is none.
    if getattr(config, "is_encoder_decoder", False) or getattr(type(config), "is_encoder_decoder", False):
        raise IsoglossError(
            f"{where}: {CONFIG} describes a {config.model_type}: an encoder-decoder, and so no causal language model;"
            " isogloss measures decoder-only models"
        )
    text = config.get_text_config()
    if getattr(text, "use_sliding_window", True):  # without, Qwen2-MoE's is 0
        _check_lowest("sliding_window", getattr(text, "sliding_window", None), 1, where)
    _check_generation(Path(folder), where)
    if (method := quantisation_of(config)) and method not in _EXPANDED:
        raise IsoglossError(
            f"{where}: {CONFIG} says that the weights are quantised ({method}); isogloss measures a model as it was"
            " trained: give the one that this was made from (of quantised ones it reads FP8 and MXFP4)"
        )
    return config


def read_any_config(folder: str | Path, where: str, what: str, mend: str) -> Any:
    """The configuration in `folder` as transformers reads it, whatever it is of.

    Raises `IsoglossError` for one that cannot be read: messages call it `where`, say that it describes no `what`, and
    how to `mend` that.
    """
    if not (Path(folder) / CONFIG).is_file():
        raise IsoglossError(f"{where}: no {CONFIG} there, so no model; run the rule that makes or fetches it")
    if (Path(folder) / CONFIG).stat().st_size > _LARGEST:
        raise IsoglossError(f"{where}: {CONFIG} has over {_LARGEST >> 20} MB, so it is none; fetch it again")
    try:
        _check_counts(_content(Path(folder) / CONFIG), where)
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except UNFIT as error:
        raise IsoglossError(f"{where}: {CONFIG} describes no {what} ({brief(error)}); {mend}") from None


def _content(path: Path) -> Any:
    """What a JSON file holds; nothing of one that is none, about which transformers has its own words."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _check_counts(content: Any, where: str) -> None:
    """Refuse numbers of which transformers would make lists that no memory holds, and too low ones (`_LEAST`)."""
    for name, value in content.items() if isinstance(content, dict) else ():
        most = next((most for pattern, most in _MOST.items() if re.search(pattern, name)), None)
        least = 0 if re.search(_COUNT, name) else -math.inf  # a layer may be counted from the end: -1
        if most and isinstance(value, (int, float)) and not least <= value <= most:
            raise IsoglossError(f"{where}: {CONFIG} has {name}: {shown(value)}, and no model so many; fetch it again")
        lowest = next((least for pattern, least in _LEAST.items() if re.search(pattern, name)), None)
        if lowest is not None:
            _check_lowest(name, value, lowest, where)
        _check_counts(value, where)


def _check_lowest(name: str, value: Any, lowest: int, where: str) -> None:
    """Refuse a number that is lower, or NaN."""
    if isinstance(value, (int, float)) and not value >= lowest:
        raise IsoglossError(
            f"{where}: {CONFIG} has {name}: {shown(value)}, with which no model computes; correct it (null: none),"
            " or fetch the model again"
        )


def _check_generation(folder: Path, where: str) -> None:
    """Refuse a generation_config.json that transformers cannot load beside the weights."""
    if not (folder / GENERATION).is_file():
        return
    try:
        GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    except OSError:
        return  # one that is no JSON it leaves out itself
    except UNFIT as error:
        raise IsoglossError(
            f"{where}: {GENERATION} has no settings of transformers ({brief(error)}); correct it, delete it or fetch it"
            " again"
        ) from None


def brief(error: BaseException) -> str:
    """The first sentence of another library's message."""
    return " ".join(str(error).split()).split(". ")[0][:160]


def quantisation_of(config: Any) -> str | None:
    """How the weights of a model are quantised, by its configuration; None: they are not."""
    quantisation = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if not quantisation:
        return None
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation.quant_method
    return str(getattr(method, "value", method))


def expansion_of(config: Any) -> Any:
    """What `from_pretrained` takes to load quantised weights as plain numbers; None for weights that are plain."""
    method = quantisation_of(config)
    return _EXPANDED[method](dequantize=True) if method else None


def text_config(config: Any, where: str) -> Any:
    """The configuration of the text decoder in `config`.

    A head that shares the embedding's weights may be a matter of the whole, with a vision tower say. Raises
    `IsoglossError` for one of which transformers has no causal language model.
    """
    text = config.get_text_config()
    if type(text) not in MODEL_MAPPING or type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise IsoglossError(
            f"{where}: {type(text).__name__.removesuffix('Config')} is no causal language model that transformers"
            " knows; isogloss measures decoder-only models"
        )
    if text is not config:
        text.tie_word_embeddings = any(getattr(each, "tie_word_embeddings", False) for each in (text, config))
        if quantisation := getattr(config, "quantization_config", None):
            text.quantization_config = quantisation
    return text


def check_architecture(config: Any, where: str) -> int:
    """How many layers the text decoder of `config` has. No weight is made for it.

    Raises `IsoglossError` if it keeps them where isogloss does not know to look, or they have several streams.
    """
    text = text_config(config, where)
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(text, dtype=torch.bfloat16)  # experts compute in no other there
    except UNFIT as error:
        raise IsoglossError(
            f"{where}: {CONFIG} describes no decoder that transformers knows ({brief(error)}); give a causal"
            " language model"
        ) from None
    try:
        check_stream(model)
        return len(decoder_of(model).layers)
    except IsoglossError as error:
        raise IsoglossError(f"{where}: {error}") from None
