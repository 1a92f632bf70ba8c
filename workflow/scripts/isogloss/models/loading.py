"""Load language models from a folder: safetensors only, no remote code, no more than is needed."""

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoTokenizer, PreTrainedTokenizerBase

from isogloss.errors import IsoglossError
from isogloss.models.architecture import check_stream, decoder_of
from isogloss.models.folder import brief, expansion_of, quantisation_of, read_config, text_config
from isogloss.models.fused.card import card_of, check_dtype, why_no_gpu
from isogloss.models.fused.faster import make_faster
from isogloss.models.host_memory import check_host_memory
from isogloss.models.placement import placed
from isogloss.models.tokenization import check_tokenizer_file, check_vocabulary, give_bos, prompt_ids, token_ids
from isogloss.models.weights import CONSTANTS, check_weights

logger = logging.getLogger(__name__)

_TRIAL = "a ā 🧪\n"  # characters that a vocabulary has, and that it may lack
# Names of a text decoder's weights where a vision tower stands beside it (Gemma 3 from 4B on), to those without.
_TEXT_WITHIN = {r"^(model\.)?language_model\.(model\.)?(?!lm_head)": "model.", r"^language_model\.lm_head": "lm_head"}


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
    model = _load(MODEL_FOR_CAUSAL_LM_MAPPING if adapter else MODEL_MAPPING, folder, dtype, last_layer)
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
    model = _load(MODEL_FOR_CAUSAL_LM_MAPPING, folder, dtype, last_layer)
    if adapter:
        model = _attach(model, adapter)
    return _ready(model, device or best_device(), dtype, kernels)


def load_tokenizer(folder: str | Path, where: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with a BOS token: every measured text starts with it, and its position is left out.

    Where the tokenizer has none of its own (Qwen's) or an empty one, it is that of the model's config.json; whether the
    tokenizer puts it first by itself stays as it was. Raises `IsoglossError`, which says that the folder is `where`,
    if there is none, for a tokenizer that cannot be read, and for one whose words, special tokens aside (Gemma's for
    images), are more than the model knows.
    """
    where = where or str(folder)
    config = read_config(folder, where).get_text_config()
    try:
        check_tokenizer_file(Path(folder) / "tokenizer.json")
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        trial = {*token_ids(tokenizer, [_TRIAL])[0], *prompt_ids(tokenizer, _TRIAL)}
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # parsers of tokenizers raise anything, and panics in Rust are no Exception
        raise IsoglossError(
            f"{where}: its tokenizer cannot be read ({brief(error)}); a clone without Git LFS or"
            " a damaged file: fetch the model again"
        ) from None
    give_bos(tokenizer, getattr(config, "bos_token_id", None), where)
    check_vocabulary(tokenizer, trial, config.vocab_size, where)
    return tokenizer


def context_length(model: nn.Module) -> int:
    """The longest text, in tokens, that `model` was made for: no bound where its config names none (BLOOM's ALiBi)."""
    config: Any = model.config.get_text_config()  # type: ignore[union-attr]
    return getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None) or sys.maxsize


def check_loads(folder: str | Path, where: str) -> None:
    """Raises `IsoglossError` as `load_causal_model`, of which messages say that it is `where`; no weight is read."""
    _load(MODEL_FOR_CAUSAL_LM_MAPPING, folder, torch.float32, None, where=where, device_map="meta")


def _load(
    classes: Mapping[Any, Any],
    folder: str | Path,
    dtype: torch.dtype,
    last_layer: int | None,
    *,
    where: str | None = None,
    device_map: str | None = None,
) -> Any:
    """The text decoder, no deeper than `last_layer`, with every weight from the folder.

    Silences the reports of `from_pretrained` on sharding and on weights left unused: those of the layers
    above and, where a model reads images too, of its vision tower.
    """
    where = where or str(folder)
    whole = read_config(folder, where)
    check_weights(Path(folder), method=quantisation_of(whole), where=where)
    if device_map is None:
        check_host_memory(Path(folder), dtype, last_layer, where)
    config, expansion = text_config(whole, where), expansion_of(whole)
    model_class = classes[type(config)]
    noisy = logging.getLogger("transformers")
    level, noisy.level = noisy.level, logging.ERROR
    try:
        model, report = _cut_off(model_class, last_layer).from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            key_mapping=_TEXT_WITHIN,
            ignore_mismatched_sizes=True,  # they are in the report, and refused
            output_loading_info=True,
            **({"quantization_config": expansion} if expansion else {}),
            device_map=device_map,
        )
        model.__class__ = model_class
        _check_report(model, report)
        if last_layer is None:
            _check_depth(model, report["unexpected_keys"])
        check_stream(model)
    except SafetensorError as error:
        raise IsoglossError(f"{where}: a safetensors file is damaged ({error}); fetch the model again") from None
    except IsoglossError as error:
        raise IsoglossError(f"{where}: {error}") from None
    finally:
        noisy.setLevel(level)
    return model


def _cut_off(model_class: Any, last_layer: int | None) -> Any:
    """`model_class` without the layers after `last_layer`.

    Its configuration stays that of the whole: layers scale by the depth (MiniCPM), the last one has a bias of its own
    (GPT-NeoX-Japanese), upper ones read keys and values of lower ones (Gemma 4).
    """
    if last_layer is None:
        return model_class

    def make(self: Any, *arguments: Any, **settings: Any) -> None:
        model_class.__init__(self, *arguments, **settings)
        layers = decoder_of(self).layers
        if not 0 <= last_layer < len(layers):
            raise IsoglossError(f"no layer {last_layer}; the model has layers 0 to {len(layers) - 1}")
        del layers[last_layer + 1 :]
        there = {name for name, _ in self.named_parameters(remove_duplicate=False)}  # shared by layers (Zamba)
        self.all_tied_weights_keys = {name: of for name, of in self.all_tied_weights_keys.items() if name in there}

    return type(model_class.__name__, (model_class,), {"__init__": make, "__module__": model_class.__module__})


def _ready(model: Any, device: torch.device, dtype: torch.dtype, kernels: str) -> Any:
    """The model on `device` in eval mode, faster parts put on where it lies on no other."""
    if device.type != "cuda":
        return model.to(device).eval()
    check_dtype(card_of(device), dtype)
    model = placed(model, device).eval()
    if kernels == "auto" and {weight.device.index for weight in model.parameters()} == {device.index or 0}:
        make_faster(model)
    return model


def _check_report(model: Any, report: Any) -> None:
    """Raises `IsoglossError` for weights that are missing, of another shape, or not wanted in a layer."""
    decoder = decoder_of(model)
    if missing := sorted(report["missing_keys"]):
        head = model.get_output_embeddings()
        of_head = {f"{name}.weight" for name, part in model.named_modules() if part is head}
        untied = " set tie_word_embeddings in config.json if the head is the embedding, else"
        raise IsoglossError(
            f"{len(missing)} weights are not in its safetensors files, the first is {missing[0]};"
            f"{untied if {*missing} <= of_head else ''} fetch the model again"
        )
    if wrong := sorted(report["mismatched_keys"]):
        name, found, expected = wrong[0]
        raise IsoglossError(
            f"{len(wrong)} weights are not of the shape that config.json gives them, the first is {name}:"
            f" {list(found)}, not {list(expected)}; the files are of two models: fetch both again"
        )
    parts = {*decoder.layers, decoder.norm}
    prefix = f"{model.base_model_prefix}."
    within = tuple(f"{name.removeprefix(prefix)}." for name, part in model.named_modules() if part in parts)
    unused = [
        key
        for key in sorted(report["unexpected_keys"])
        if key.removeprefix(prefix).startswith(within) and not CONSTANTS.search(key)
    ]
    if unused:
        raise IsoglossError(
            f"{len(unused)} weights of its decoder layers have no use in a {type(model).__name__}, the first"
            f" is {unused[0]}; its numbers would not be those of the model that was trained: correct config.json"
        )


def _check_depth(model: Any, unexpected: Iterable[str]) -> None:
    """Raises `IsoglossError` for weights of layers above the last, but of those that predict tokens further on.

    These are the ones that transformers leaves out by their number (DeepSeek-V3's 61), or that join a layer's output
    with an embedding.
    """
    layers, prefix = decoder_of(model).layers, f"{model.base_model_prefix}."
    name = next(name for name, part in model.named_modules() if part is layers).removeprefix(prefix)
    plain = {key.removeprefix(prefix): key for key in sorted(unexpected)}
    further = {key.removesuffix("eh_proj.weight") for key in plain if key.endswith(".eh_proj.weight")}
    known = model._keys_to_ignore_on_load_unexpected or ()  # patterns that the head's prefix may be in, for bodies too
    for key, stored in plain.items():
        layer = re.match(rf"{re.escape(name)}\.(\d+)\.", key)
        if not layer or int(layer[1]) < len(layers) or layer[0] in further:
            continue
        if not any(re.search(each, f"{prefix}{key}") for each in known):
            raise IsoglossError(
                f"config.json gives it {len(layers)} layers, but there are weights of more, the first is {stored};"
                " its numbers would not be those of the model that was trained: correct config.json"
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
