"""Encoder-decoders, which translate, from a folder: every weight from its files, none drawn at random."""

import errno
import logging
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, AutoModelForSeq2SeqLM

from isogloss.errors import IsoglossError, several, shown
from isogloss.models.folder import UNFIT, brief, quantisation_of, read_any_config

_DAMAGED = (*UNFIT, SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError)
_LARGEST_TABLE = 1 << 26  # positions by width: Marian's are computed one by one as the model is made; 2^21 in NLLB-3.3B
_ONE_TOKEN = ("bos_token_id", "decoder_start_token_id", "forced_bos_token_id")  # the other keys may list several
_MEND = "give a translation model as its authors published it"


def load_encoder_decoder(
    folder: Path,
    *,
    where: str,
    dtype: torch.dtype = torch.float32,
    pickled: bool = False,
    device_map: str | None = None,
) -> Any:
    """The model in `folder`, of which messages say that it is `where`; with `device_map` meta, no weight is read.

    `pickled`: its weights are read as tensors alone, running no pickled code. Raises `IsoglossError` for a
    configuration of no encoder-decoder or of a quantised one, and for weights that are damaged, lacking, or of other
    shapes than it gives them.
    """
    config = read_any_config(folder, where, "encoder-decoder that transformers knows", _MEND)
    if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING or quantisation_of(config):
        of = f"quantised weights ({quantisation_of(config)})" if quantisation_of(config) else f"a {config.model_type}"
        raise IsoglossError(f"{where}: config.json describes {of}, no encoder-decoder that isogloss runs; {_MEND}")
    positions, width = getattr(config, "max_position_embeddings", None), getattr(config, "d_model", None)
    if isinstance(positions, int) and isinstance(width, int) and positions * width > _LARGEST_TABLE:
        raise IsoglossError(
            f"{where}: config.json has {positions} positions of {width} numbers each, and no translation model so many;"
            " fetch it again"
        )
    noisy = logging.getLogger("transformers")
    level, noisy.level = noisy.level, logging.ERROR
    try:
        model, report = AutoModelForSeq2SeqLM.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=not pickled,
            weights_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are in the report, and refused
            output_loading_info=True,
            device_map=device_map,
        )
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # invalid: shorter than it says
            raise
        reason = brief(error) or type(error).__name__
        raise IsoglossError(f"{where}: not a whole file of tensors ({reason}); fetch it again") from None
    finally:
        noisy.setLevel(level)
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers
        raise IsoglossError(f"{where}: no {several(missing, 3)}; give a whole model")
    if wrong := sorted(report["mismatched_keys"]):
        name, found, expected = wrong[0]
        raise IsoglossError(
            f"{where}: {name} has the shape {list(found)}, not {list(expected)} as config.json gives it; the files are"
            " of two models: fetch both again"
        )
    _check_ids(model, where)
    return model


def _check_ids(model: Any, where: str) -> None:
    """Refuse tokens by which decoding begins, ends, or that it leaves out, and that the model does not have."""
    words = max(model.config.vocab_size, getattr(model.config, "decoder_vocab_size", None) or 0)  # Marian may have two
    for key in ("pad_token_id", "eos_token_id"):
        if type(getattr(model.config, key)) is not int:
            raise IsoglossError(f"{where}: config.json names no {key}; fetch it again")
    for file, settings in (("config.json", model.config), ("generation_config.json", model.generation_config)):
        for key, value in settings.to_dict().items():
            if not key.endswith(("token_id", "_ids")) or value is None:
                continue
            if key in _ONE_TOKEN and isinstance(value, list):
                raise IsoglossError(f"{where}: {file} has {key}: {shown(value)}, not one token; fetch it again")
            if not all(type(number) is int and 0 <= number < words for number in _flat(value)):
                raise IsoglossError(
                    f"{where}: {file} has {key}: {shown(value)}, where the model has tokens 0 to {words - 1}; fetch it"
                    " again"
                )


def _flat(value: Any) -> Iterator[Any]:
    """The items of lists within lists; anything else itself."""
    if not isinstance(value, list):
        yield value
        return
    for one in value:
        yield from _flat(one)
