"""Load language models from a folder: safetensors only, no remote code, no more than is needed."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from isogloss.errors import IsoglossError

logger = logging.getLogger(__name__)


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base_model(
    folder: str | Path,
    *,
    last_layer: int | None = None,
    adapter: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> nn.Module:
    """The model without its head, cut off after `last_layer` (0-based; None: whole), in eval mode.

    With `adapter`, a PEFT adapter folder is attached unmerged; its matrices above `last_layer` are
    left out. Raises `IsoglossError` if the folder holds no model or the layer does not exist.
    """
    model = _load(AutoModelForCausalLM if adapter else AutoModel, folder, dtype, _cut(folder, last_layer))
    if adapter:
        model = _attach(model, adapter)
    return model.to(device or best_device()).eval()


def load_causal_model(
    folder: str | Path,
    *,
    last_layer: int | None = None,
    adapter: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> nn.Module:
    """The causal LM, with `adapter` attached unmerged, in eval mode; errors as `load_base_model`.

    Cut off after `last_layer` its logits mean nothing: it is then for training adapters, whose files
    name their matrices as the causal LM does.
    """
    model = _load(AutoModelForCausalLM, folder, dtype, _cut(folder, last_layer))
    if adapter:
        model = _attach(model, adapter)
    return model.to(device or best_device()).eval()


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, which must have a BOS token (its position is left out everywhere)."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if tokenizer.bos_token_id is None:
        raise IsoglossError(f"{folder}: the tokenizer has no BOS token; isogloss prepends one to every text")
    return tokenizer


def context_length(model: nn.Module) -> int:
    """The longest text, in tokens, that `model` was made for."""
    return model.config.get_text_config().max_position_embeddings  # type: ignore[union-attr]


def _config(folder: str | Path) -> Any:
    if not (Path(folder) / "config.json").is_file():
        raise IsoglossError(f"{folder}: no config.json there, so no model; run the rule that makes or fetches it")
    return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def _cut(folder: str | Path, last_layer: int | None) -> dict[str, Any]:
    """The config overrides that cut a model off after `last_layer`."""
    depth = _config(folder).get_text_config().num_hidden_layers
    if last_layer is None:
        return {}
    if not 0 <= last_layer < depth:
        raise IsoglossError(f"{folder}: no layer {last_layer}; the model has layers 0 to {depth - 1}")
    return {"num_hidden_layers": last_layer + 1}


def _load(factory: Any, folder: str | Path, dtype: torch.dtype, overrides: dict[str, Any]) -> Any:
    """`from_pretrained` without its reports on the layers that truncation leaves unused and on sharding."""
    noisy = logging.getLogger("transformers")
    level, noisy.level = noisy.level, logging.ERROR
    try:
        return factory.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **overrides,
        )
    finally:
        noisy.setLevel(level)


def _attach(model: Any, adapter: str | Path) -> Any:
    from peft import PeftConfig, PeftModel

    if not (Path(adapter) / "adapter_config.json").is_file():
        raise IsoglossError(f"{adapter}: no adapter_config.json there, so no adapter; run its alignment again")
    tuned = getattr(PeftConfig.from_pretrained(str(adapter)), "layers_to_transform", None)
    if tuned and min(tuned) >= model.config.get_text_config().num_hidden_layers:
        return model  # every matrix lies above the cut, which PEFT takes for a mistake
    return PeftModel.from_pretrained(model, str(adapter))
