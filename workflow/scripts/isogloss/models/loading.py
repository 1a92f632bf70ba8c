"""Load language models from a folder: safetensors only, no remote code, no more than is needed."""

import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.folder import brief, check_weights, expansion_of, read_config, text_config
from isogloss.models.fused.card import card_of, check_dtype, why_no_gpu
from isogloss.models.fused.faster import make_faster

logger = logging.getLogger(__name__)

# Names of a text decoder's weights where a vision tower stands beside it (Gemma 3 from 4B on), to those without.
_TEXT_WITHIN = {r"^(model\.)?language_model\.(model\.)?(?!lm_head)": "model.", r"^language_model\.lm_head": "lm_head"}
# Constants that older checkpoints store: masks and frequencies.
_CONSTANTS = re.compile(r"(masked_bias|causal_mask|inv_freq|(attn|attention)\.bias)$")


def best_device() -> torch.device:
    """The GPU if there is one that works, else the CPU: with a line in the log where one does not."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if reason := why_no_gpu(torch.version.cuda, _start_of_cuda()):
        logger.warning(reason)
    return torch.device("cpu")


@cache
def _start_of_cuda() -> str | None:
    """What CUDA says as it cannot be started: an old driver, say."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error)
    return None


def load_base_model(
    folder: str | Path,
    *,
    last_layer: int | None = None,
    adapter: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    kernels: Literal["auto", "plain"] = "auto",
) -> nn.Module:
    """The model without its head, cut off after `last_layer` (0-based; None: whole), in eval mode.

    With `adapter`, a PEFT adapter folder is attached unmerged; its matrices above `last_layer` are
    left out. Of a model that also reads images only the text decoder is loaded. Raises `IsoglossError`
    if the folder holds no model in safetensors, the layer does not exist, or the architecture is not
    understood; and for a dtype that the GPU does not have. `kernels` auto: on a GPU faster parts are put on the
    model, where they are tried to be as good as transformers' (`make_faster`); on the CPU none ever are.
    """
    model = _load(AutoModelForCausalLM if adapter else AutoModel, folder, dtype, last_layer)
    if adapter:
        model = _attach(model, adapter)
    return _ready(model, device or best_device(), dtype, kernels)


def load_causal_model(
    folder: str | Path,
    *,
    last_layer: int | None = None,
    adapter: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    kernels: Literal["auto", "plain"] = "auto",
) -> nn.Module:
    """The causal LM, with `adapter` attached unmerged, in eval mode; errors as `load_base_model`.

    Cut off after `last_layer` its logits mean nothing: it is then for training adapters, whose files
    name their matrices as the causal LM does.
    """
    model = _load(AutoModelForCausalLM, folder, dtype, last_layer)
    if adapter:
        model = _attach(model, adapter)
    return _ready(model, device or best_device(), dtype, kernels)


def load_tokenizer(folder: str | Path, where: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with a BOS token: every measured text starts with it, and its position is left out.

    Where the tokenizer has none of its own (Qwen's), it is that of the model's config.json; whether the
    tokenizer puts it first by itself stays as it was. Raises `IsoglossError`, which says that the folder is `where`,
    if there is none, for a tokenizer that cannot be read, and for one whose words, special tokens aside (Gemma's for
    images), are more than the model knows.
    """
    where = where or str(folder)
    config = read_config(folder, where).get_text_config()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # parsers of tokenizers raise anything, their own kind of exception too
        raise IsoglossError(
            f"{where}: its tokenizer cannot be read ({brief(error)}); a clone without Git LFS or"
            " a damaged file: fetch the model again"
        ) from None
    special = set(tokenizer.all_special_ids) | {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    words = config.vocab_size
    if beyond := [number for number in range(words, len(tokenizer)) if number not in special]:
        raise IsoglossError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens, the model knows {words}; it could not read"
            f" {tokenizer.convert_ids_to_tokens(beyond[0])!r}: give model and tokenizer of one repository"
        )
    if tokenizer.bos_token_id is None:
        bos = getattr(config, "bos_token_id", None)
        if not isinstance(bos, int) or not 0 <= bos < len(tokenizer):
            raise IsoglossError(
                f"{where}: neither the tokenizer nor config.json (bos_token_id: {bos}) has a BOS token, which isogloss"
                " puts before every text; name one in tokenizer_config.json"
            )
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(bos)
    return tokenizer


def context_length(model: nn.Module) -> int:
    """The longest text, in tokens, that `model` was made for: no bound where its config names none (BLOOM's ALiBi)."""
    config: Any = model.config.get_text_config()  # type: ignore[union-attr]
    return getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None) or sys.maxsize


def _load(factory: Any, folder: str | Path, dtype: torch.dtype, last_layer: int | None) -> Any:
    """The text decoder, no deeper than `last_layer`, with every weight from the folder.

    Silences the reports of `from_pretrained` on sharding and on weights left unused: those of the layers
    above and, where a model reads images too, of its vision tower.
    """
    whole = read_config(folder)
    expansion = expansion_of(whole)
    check_weights(Path(folder), quantised=expansion is not None)
    config = text_config(whole, last_layer=last_layer, where=str(folder))
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
            ignore_mismatched_sizes=True,  # they are in the report, and refused
            output_loading_info=True,
            **({"quantization_config": expansion} if expansion else {}),
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
    layers = decoder_of(model).layers
    if last_layer is not None:
        del layers[last_layer + 1 :]  # of a model that could not be cut off before
    _check_report(model, report, str(folder))
    return model


def _ready(model: Any, device: torch.device, dtype: torch.dtype, kernels: str) -> Any:
    """The model on `device` in eval mode, faster parts put on."""
    if device.type != "cuda":
        return model.to(device).eval()
    check_dtype(card_of(device), dtype)
    model = model.to(device).eval()
    if kernels == "auto":
        make_faster(model)
    return model


def _check_report(model: PreTrainedModel, report: Any, folder: str) -> None:
    """Raises `IsoglossError` for weights that are missing, of another shape, or not wanted in a layer."""
    if missing := sorted(report["missing_keys"]):
        raise IsoglossError(
            f"{folder}: {len(missing)} weights are not in its safetensors files, the first is {missing[0]};"
            " fetch the model again"
        )
    if wrong := sorted(report["mismatched_keys"]):
        name, found, expected = wrong[0]
        raise IsoglossError(
            f"{folder}: {len(wrong)} weights are not of the shape that config.json gives them, the first is {name}:"
            f" {list(found)}, not {list(expected)}; the files are of two models: fetch both again"
        )
    decoder = decoder_of(model)
    parts = {*decoder.layers, decoder.norm}
    prefix = f"{model.base_model_prefix}."
    within = tuple(f"{name.removeprefix(prefix)}." for name, part in model.named_modules() if part in parts)
    unused = [
        key
        for key in sorted(report["unexpected_keys"])
        if key.removeprefix(prefix).startswith(within) and not _CONSTANTS.search(key)
    ]
    if unused:
        raise IsoglossError(
            f"{folder}: {len(unused)} weights of its decoder layers have no use in a {type(model).__name__}, the first"
            f" is {unused[0]}; its numbers would not be those of the model that was trained: correct config.json"
        )


def _attach(model: Any, adapter: str | Path) -> Any:
    from peft import PeftConfig, PeftModel

    if not (Path(adapter) / "adapter_config.json").is_file():
        raise IsoglossError(f"{adapter}: no adapter_config.json there, so no adapter; run its alignment again")
    tuned = getattr(PeftConfig.from_pretrained(str(adapter)), "layers_to_transform", None)
    if tuned and min(tuned) >= len(decoder_of(model).layers):
        return model  # every matrix lies above the cut, which PEFT takes for a mistake
    # In the base model's own dtype: PEFT would make them float32, and each product with them one of two dtypes.
    return PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
