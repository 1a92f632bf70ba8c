"""Load language models from a folder: safetensors only, no remote code, no more than is needed."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of

# Names of a text decoder's weights where a vision tower stands beside it (Gemma 3 from 4B on), to those without.
_TEXT_WITHIN = {r"^(model\.)?language_model\.(model\.)?(?!lm_head)": "model.", r"^language_model\.lm_head": "lm_head"}


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
    left out. Of a model that also reads images only the text decoder is loaded. Raises `IsoglossError`
    if the folder holds no model in safetensors, the layer does not exist, or the architecture is not
    understood.
    """
    model = _load(AutoModelForCausalLM if adapter else AutoModel, folder, dtype, last_layer)
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
    model = _load(AutoModelForCausalLM, folder, dtype, last_layer)
    if adapter:
        model = _attach(model, adapter)
    return model.to(device or best_device()).eval()


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with a BOS token: every measured text starts with it, and its position is left out.

    Where the tokenizer has none of its own (Qwen's), it is that of the model's config.json; whether the
    tokenizer puts it first by itself stays as it was. Raises `IsoglossError` if there is none.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if tokenizer.bos_token_id is None:
        bos = getattr(_config(folder).get_text_config(), "bos_token_id", None)
        if not isinstance(bos, int) or not 0 <= bos < len(tokenizer):
            raise IsoglossError(
                f"{folder}: neither the tokenizer nor config.json (bos_token_id: {bos}) has a BOS token, which isogloss"
                " puts before every text; name one in tokenizer_config.json"
            )
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(bos)
    return tokenizer


def context_length(model: nn.Module) -> int:
    """The longest text, in tokens, that `model` was made for."""
    return model.config.get_text_config().max_position_embeddings  # type: ignore[union-attr]


def _config(folder: str | Path) -> Any:
    if not (Path(folder) / "config.json").is_file():
        raise IsoglossError(f"{folder}: no config.json there, so no model; run the rule that makes or fetches it")
    return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def _text_config(folder: str | Path, last_layer: int | None) -> Any:
    """The config of the text decoder, cut off after `last_layer`."""
    config = _config(folder).get_text_config()
    depth = getattr(config, "num_hidden_layers", None)
    if last_layer is None or depth is None:
        return config
    if not 0 <= last_layer < depth:
        raise IsoglossError(f"{folder}: no layer {last_layer}; the model has layers 0 to {depth - 1}")
    for name, value in list(vars(config).items()):
        if name.endswith("layer_types") and isinstance(value, list):
            setattr(config, name, value[: last_layer + 1])
    config.num_hidden_layers = last_layer + 1
    return config


def _load(factory: Any, folder: str | Path, dtype: torch.dtype, last_layer: int | None) -> Any:
    """The text decoder, no deeper than `last_layer`, with every weight from the folder.

    Silences the reports of `from_pretrained` on sharding and on weights left unused: those of the layers
    above and, where a model reads images too, of its vision tower.
    """
    config = _text_config(folder, last_layer)
    _check_weights(Path(folder))
    noisy = logging.getLogger("transformers")
    level, noisy.level = noisy.level, logging.ERROR
    try:
        model, report = factory.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            key_mapping=_TEXT_WITHIN,
            output_loading_info=True,
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise IsoglossError(
            f"{folder}: {type(config).__name__.removesuffix('Config')} is no causal language model that transformers"
            " knows; isogloss measures decoder-only models"
        ) from None
    except SafetensorError as error:
        raise IsoglossError(f"{folder}: a safetensors file is damaged ({error}); fetch the model again") from None
    finally:
        noisy.setLevel(level)
    decoder_of(model)
    if missing := sorted(report["missing_keys"]):
        raise IsoglossError(
            f"{folder}: {len(missing)} weights are not in its safetensors files, the first is {missing[0]};"
            " fetch the model again"
        )
    return model


def _check_weights(folder: Path) -> None:
    if (folder / "model.safetensors").is_file():
        return
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        others = [path.name for suffix in ("bin", "pt", "pth", "gguf", "h5") for path in folder.glob(f"*.{suffix}")]
        raise IsoglossError(
            f"{folder}: no model.safetensors there{f', only {others[0]}' if others else ''}; isogloss reads nothing but"
            " safetensors: take a revision that has them, or convert the model"
        )
    shards = set(json.loads(index.read_text())["weight_map"].values())
    if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
        raise IsoglossError(
            f"{folder}: {len(missing)} of {len(shards)} shards are missing, the first is {missing[0]};"
            " fetch the model again"
        )


def _attach(model: Any, adapter: str | Path) -> Any:
    from peft import PeftConfig, PeftModel

    if not (Path(adapter) / "adapter_config.json").is_file():
        raise IsoglossError(f"{adapter}: no adapter_config.json there, so no adapter; run its alignment again")
    tuned = getattr(PeftConfig.from_pretrained(str(adapter)), "layers_to_transform", None)
    if tuned and min(tuned) >= model.config.get_text_config().num_hidden_layers:
        return model  # every matrix lies above the cut, which PEFT takes for a mistake
    return PeftModel.from_pretrained(model, str(adapter))
