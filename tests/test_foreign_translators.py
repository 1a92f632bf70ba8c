"""Translation models that are damaged or do not fit are refused in one line as they are fetched."""

import json
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.models.encoder_decoder import load_encoder_decoder
from isogloss.sources.translation_engine import TransformersEngine
from isogloss.sources.translator import fetch_multilingual, fetch_translator
from marian import tiny_marian
from multilingual import tiny_madlad, tiny_nllb

WEIGHTS, CONFIG, GENERATION = "model.safetensors", "config.json", "generation_config.json"


def made(family: str, folder: Path) -> Path:
    if family == "opus-mt":
        return tiny_marian(folder, target_lang="es")
    return tiny_nllb(folder, pickled=False) if family == "nllb" else tiny_madlad(folder)


def fetch(family: str, source: Path, output: Path) -> None:
    how = {
        "source": Source(folder=str(source)),
        "engine": "transformers",
        "compute_type": "float32",
        "output": str(output),
    }
    if family == "opus-mt":
        fetch_translator(**how, target=None, source_lang="en", target_lang="es")
    else:
        fetch_multilingual(**how, backend=family)


def changed(name: str, **values: Any) -> Callable[[Path], None]:
    """Puts values into a JSON file of the folder."""

    def change(folder: Path) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))

    return change


def weights(edit: Callable[[str, dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Edits the tensors, given the name of the largest one of a layer."""

    def change(folder: Path) -> None:
        tensors: dict[str, torch.Tensor] = load_file(folder / WEIGHTS)
        of_layers = [name for name in tensors if re.search(r"(layers|block)\.\d", name)]
        edit(max(of_layers, key=lambda name: tensors[name].numel()), tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return change


def filled(value: float) -> Callable[[Path], None]:
    return weights(lambda name, tensors: tensors[name].view(-1)[-1:].fill_(value))


def depth(folder: Path) -> None:
    content = json.loads((folder / CONFIG).read_text())
    key = next(key for key in ("decoder_layers", "num_decoder_layers", "num_layers") if key in content)
    changed(CONFIG, **{key: content[key] + 1})(folder)


def tokens_beyond(folder: Path) -> None:
    """A token that every text has is beyond the model's vocabulary."""
    if (folder / "vocab.json").exists():
        changed("vocab.json", **{"</s>": 10**6})(folder)
    elif (folder / "spiece.model").exists():
        changed(CONFIG, vocab_size=20)(folder)
    else:
        added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
        moved = [token | ({"id": 10**6} if token["content"] == "eng_Latn" else {}) for token in added]
        changed("tokenizer.json", added_tokens=moved)(folder)


FAULTS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "a weight is lacking": (weights(lambda name, tensors: tensors.pop(name)), "; give a whole model"),
    "a layer too many": (depth, "; give a whole model"),
    "tokens of another model": (tokens_beyond, "where config.json gives the model tokens 0 to"),
    "of another width": (weights(lambda name, tensors: tensors.update({name: torch.zeros(3, 5)})), "files are of two"),
    "NaN": (filled(torch.nan), "holds what is no number"),
    "infinite": (filled(-torch.inf), "holds what is no number"),
    "whole numbers": (weights(lambda name, tensors: tensors.update({name: tensors[name].char()})), "stored as I8"),
    "no end": (changed(CONFIG, eos_token_id=None), "eos_token_id"),
    "an end that is none": (changed(CONFIG, eos_token_id=10**6), "eos_token_id"),
    "words left out": (changed(GENERATION, bad_words_ids=[[10**6]]), "generation_config.json has bad_words_ids"),
    "positions without end": (changed(CONFIG, max_position_embeddings=2**31, d_model=2**31), "config.json has "),
    "dropout": (changed(CONFIG, dropout=float("nan"), dropout_rate=-1), "no model computes"),
    "a start as text": (changed(GENERATION, decoder_start_token_id="<s>"), "decoder_start_token_id"),
    "starts in lists": (changed(GENERATION, decoder_start_token_id=[[]]), "token_id: [[]], not one token"),
    "quantised": (changed(CONFIG, quantization_config={"quant_method": "bitsandbytes"}), "quantised weights"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", ["opus-mt", "nllb", "madlad"])
def test_a_translator_that_does_not_fit_is_one_line(tmp_path: Path, family: str, fault: str):
    change, sentence = FAULTS[fault]
    source = made(family, tmp_path / "source")
    if not (source / GENERATION).exists():
        (source / GENERATION).write_text("{}")
    change(source)
    with pytest.raises(IsoglossError) as caught:
        fetch(family, source, tmp_path / "output")
    assert sentence in str(caught.value)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("name", "tokens", "sentence"),
    [
        ("vocab.json", {"twice": 5}, "have one id, 5; fetch it again"),
        ("vocab.json", {"x\udc00": 5}, "is half a surrogate pair and no character"),
        ("target_vocab.json", {"beyond": 10**6}, "where config.json gives the model tokens 0 to"),
    ],
)
def test_a_vocabulary_that_does_not_fit_the_model_is_one_line(
    tmp_path: Path, name: str, tokens: dict[str, int], sentence: str
):
    source = made("opus-mt", tmp_path / "source")
    (source / "target_vocab.json").write_bytes((source / "vocab.json").read_bytes())
    changed(name, **tokens)(source)
    with pytest.raises(IsoglossError, match=re.escape(sentence)) as caught:
        fetch("opus-mt", source, tmp_path / "output")
    assert f"{source}: {name}: " in str(caught.value)


def test_tokens_of_a_target_vocabulary_of_its_own_are_the_models(tmp_path: Path):
    """As opus-mt-tc-big models have, whose decoder knows more tokens than the encoder."""
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1, "max_position_embeddings": 16}
    own = {"vocab_size": 20, "decoder_vocab_size": 30, "share_encoder_decoder_embeddings": False, "eos_token_id": 0}
    config = MarianConfig(**sizes, **heads, **own, pad_token_id=19, decoder_start_token_id=29)
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(bad_words_ids=[[29]], decoder_start_token_id=29)
    model.save_pretrained(tmp_path)
    assert load_encoder_decoder(tmp_path, where="it").config.decoder_vocab_size == 30
    changed(GENERATION, bad_words_ids=[[30]])(tmp_path)
    with pytest.raises(IsoglossError, match=r"bad_words_ids: \[\[30\]\], where the model has tokens 0 to 29"):
        load_encoder_decoder(tmp_path, where="it")


def test_pickled_weights_in_an_archive_of_several_disks(tmp_path: Path):
    """Python's `is_zipfile`, which transformers asks before it reads them, raises for such an end of a file."""
    source = tiny_marian(tmp_path / "source", target_lang="es", pickled=True)
    disks, end = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 2), b"PK\x05\x06" + bytes(18)
    (source / "pytorch_model.bin").write_bytes(bytes(100) + disks + end)
    with pytest.raises(IsoglossError, match=r"not a whole file of tensors .*multiple disks.*; fetch it again"):
        fetch("opus-mt", source, tmp_path / "output")


def test_a_configuration_with_which_nothing_is_generated(tmp_path: Path):
    source = tiny_madlad(tmp_path / "source")
    changed(CONFIG, relative_attention_max_distance=10**400)(source)
    fetch("madlad", source, tmp_path / "output")
    engine = TransformersEngine(tmp_path / "output", "float32", 1)
    with pytest.raises(IsoglossError, match=r"output: transformers cannot generate with its config\.json"):
        engine.generate([[3, 4, 2]], [4], lambda _: None)
