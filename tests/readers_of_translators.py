"""Readers of translation models, as `readers_of_folders.py`: what fetching checks, and a translation by an engine."""

import io
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save

import damage
from isogloss.bilingual.comet import check_comet
from isogloss.config.pretrained import Source
from isogloss.sources.conversion import unpickle
from isogloss.sources.hub import open_repository
from isogloss.sources.multilingual import MadladPieces, NllbPieces, load_multilingual
from isogloss.sources.opus import OpusPieces, load_opus
from isogloss.sources.translator import (
    _check_pair,
    _check_target,
    _described,
    fetch_multilingual,
    fetch_translator,
)
from marian import tiny_marian
from multilingual import tiny_madlad, tiny_nllb
from readers import Reader
from readers_of_folders import TEXT, beside, bytes_of, object_of, safetensors_of, whole


def _marian(folder: Path) -> None:
    tiny_marian(folder, target_lang="es", targets=["es", "ca"])


def _read_marian(name: str) -> Callable[[Path], Iterable[Any]]:
    """What fetching checks, and the pieces of a text."""

    def read(folder: Path) -> Iterable[Any]:
        repository = open_repository(Source(folder=str(beside(folder, _marian, name))))
        described = _described(repository, "opus-mt")
        _check_pair(repository, described, ("en", "es"))
        _check_target(described, "es", "es", repository.where)
        pieces = OpusPieces(folder, "es")
        ids = pieces.encode(TEXT)
        return [*ids, pieces.decode(ids)]

    return read


def _pickled_marian(folder: Path) -> None:
    tiny_marian(folder, target_lang="es", pickled=True)


@cache
def _pickled_weights(make: Callable[[Path], Any]) -> dict[str, torch.Tensor]:
    return torch.load(whole(make) / PICKLED, weights_only=True)


def _read_pickled(folder: Path) -> Iterable[Any]:
    with tempfile.TemporaryDirectory() as made:
        source = beside(folder, _pickled_marian, PICKLED)
        unpickle(source, Path(made), str(source / PICKLED))
        return [tensor.isfinite().sum().item() for tensor in load_file(Path(made) / "model.safetensors").values()]


PICKLED = "pytorch_model.bin"


def _nllb(folder: Path) -> None:
    tiny_nllb(folder)


def _madlad(folder: Path) -> None:
    tiny_madlad(folder)


def _read_nllb(name: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        pieces = NllbPieces(beside(folder, _nllb, name), "eng_Latn", "spa_Latn")
        ids = pieces.encode(TEXT)
        return [*ids, pieces.decode(ids)]

    return read


def _read_madlad(name: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        pieces = MadladPieces(beside(folder, _madlad, name), "es")
        ids = pieces.encode(TEXT)
        return [*ids, pieces.decode(ids)]

    return read


def _single(folder: Path) -> None:
    tiny_marian(folder, target_lang="es")


WHOLE: dict[str, Callable[[Path], None]] = {"opus-mt": _single, "nllb": _nllb, "madlad": _madlad}
WEIGHTS = "model.safetensors"


def _translate(backend: str, name: str) -> Callable[[Path], Iterable[Any]]:
    """A translation by the model as it is fetched, with one of the engines, as the damaged file's length says."""

    def read(folder: Path) -> Iterable[Any]:
        source = Source(folder=str(beside(folder, WHOLE[backend], name)))
        how = {"engine": ("ctranslate2", "transformers")[(folder / name).stat().st_size % 2], "compute_type": "float32"}
        with tempfile.TemporaryDirectory(dir=folder) as made:
            output = f"{made}/model"
            if backend == "opus-mt":
                pair = {"source_lang": "en", "target_lang": "es"}
                fetch_translator(source=source, target=None, output=output, **pair, **how)
                models = [load_opus(output, target=None, beam_size=2, **how)]
            else:
                fetch_multilingual(source=source, backend=backend, output=output, **how)
                codes = ("eng_Latn", "spa_Latn") if backend == "nllb" else ("en", "es")
                pair = dict(zip(("source", "target"), codes, strict=True))
                models = load_multilingual(output, backend=backend, beam_size=2, **pair, **how)
            return [text for model in models for text in model.translate([TEXT])[0]]

    return read


@cache
def _weights(backend: str) -> dict[str, torch.Tensor]:
    return load_file(whole(WHOLE[backend]) / WEIGHTS)


def _weights_damaged(backend: str) -> Callable[[Random], bytes]:
    """Weights of which some are lacking, named or shaped otherwise, or no numbers."""

    def damaged(rng: Random) -> bytes:
        tensors = dict(_weights(backend))
        for _ in range(rng.choice([0, 1, 1, 2])):
            name = rng.choice(list(tensors))
            match rng.randrange(6):
                case 0:
                    del tensors[name]
                case 1:
                    tensors[rng.choice(["x", "é", name.upper()])] = tensors.pop(name)
                case 2:
                    tensors[name] = torch.zeros(rng.choice([(), (0,), (3,), (2, 2), tensors[name].shape[::-1]]))
                case 3:
                    tensors[name] = tensors[name].to(rng.choice([torch.int8, torch.float16, torch.float8_e4m3fn]))
                case _:
                    tensors[name] = torch.full_like(tensors[name], rng.choice([torch.nan, torch.inf, 0.0]))
        return save(tensors) if rng.random() < 0.8 else safetensors_of(tensors, rng)

    return damaged


def _settings_of_comet(folder: Path) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hparams.yaml").write_text("class_identifier: regression_metric\nhidden_sizes: [48, 16]\nlayer: mix\n")
    torch.save({"state_dict": COMET}, folder / CHECKPOINT)


def _checkpoint_of_comet(rng: Random) -> bytes:
    if rng.random() < 0.2:
        return damage.pickled(COMET, rng)
    content: Any = damage.mutated({"state_dict": dict(COMET), "hyper_parameters": {"layer": "mix"}, "epoch": 3}, rng)
    stream = io.BytesIO()
    torch.save(content, stream)
    return damage.broken(stream.getvalue(), rng) if rng.random() < 0.4 else stream.getvalue()


def _read_comet(name: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        source = beside(folder, _settings_of_comet, name)
        return [float(tensor.double().abs().sum()) for tensor in check_comet(source).values()]

    return read


CHECKPOINT = "checkpoints/model.ckpt"
COMET = {"encoder.weight": torch.ones(3, 2), "estimator.bias": torch.zeros(2), "ids": torch.arange(3)}

READERS = {
    "marian config": Reader("config.json", object_of(_marian, "config.json"), _read_marian("config.json")),
    "marian tokenizer": Reader(
        "tokenizer_config.json", object_of(_marian, "tokenizer_config.json"), _read_marian("tokenizer_config.json")
    ),
    "marian vocabulary": Reader("vocab.json", object_of(_marian, "vocab.json"), _read_marian("vocab.json")),
    "marian pieces": Reader("source.spm", bytes_of(_marian, "source.spm"), _read_marian("source.spm")),
    "marian weights": Reader(
        PICKLED, lambda rng: damage.pickled(_pickled_weights(_pickled_marian), rng), _read_pickled
    ),
    "nllb config": Reader("config.json", object_of(_nllb, "config.json"), _read_nllb("config.json")),
    "nllb tokenizer": Reader("tokenizer.json", object_of(_nllb, "tokenizer.json"), _read_nllb("tokenizer.json")),
    "madlad config": Reader("config.json", object_of(_madlad, "config.json"), _read_madlad("config.json")),
    "madlad pieces": Reader("spiece.model", bytes_of(_madlad, "spiece.model"), _read_madlad("spiece.model")),
    "opus-mt's config": Reader("config.json", object_of(_single, "config.json"), _translate("opus-mt", "config.json")),
    "opus-mt's vocabulary": Reader("vocab.json", object_of(_single, "vocab.json"), _translate("opus-mt", "vocab.json")),
    "opus-mt's generation": Reader(
        "generation_config.json",
        object_of(_single, "generation_config.json"),
        _translate("opus-mt", "generation_config.json"),
    ),
    "opus-mt's weights": Reader(WEIGHTS, _weights_damaged("opus-mt"), _translate("opus-mt", WEIGHTS)),
    "nllb's config": Reader("config.json", object_of(_nllb, "config.json"), _translate("nllb", "config.json")),
    "nllb's tokenizer": Reader(
        "tokenizer.json", object_of(_nllb, "tokenizer.json"), _translate("nllb", "tokenizer.json")
    ),
    "nllb's weights": Reader(
        PICKLED, lambda rng: damage.pickled(_pickled_weights(_nllb), rng), _translate("nllb", PICKLED)
    ),
    "madlad's config": Reader("config.json", object_of(_madlad, "config.json"), _translate("madlad", "config.json")),
    "madlad's pieces": Reader("spiece.model", bytes_of(_madlad, "spiece.model"), _translate("madlad", "spiece.model")),
    "madlad's weights": Reader(WEIGHTS, _weights_damaged("madlad"), _translate("madlad", WEIGHTS)),
    "comet's settings": Reader(
        "hparams.yaml",
        lambda rng: damage.lines((whole(_settings_of_comet) / "hparams.yaml").read_bytes(), rng),
        _read_comet("hparams.yaml"),
    ),
    "comet's weights": Reader(CHECKPOINT, _checkpoint_of_comet, _read_comet(CHECKPOINT)),
}
