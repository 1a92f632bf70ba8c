"""Readers of published SAEs, as `readers_of_folders.py`: one file of an SAE in each layout is damaged."""

import io
import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import damage
import sae_standins
from isogloss.config.pretrained import Saes
from isogloss.sources.saes.fetch import fetch_sae
from readers import Reader
from readers_of_folders import beside, object_of, safetensors_of, whole
from sae_standins import D_MODEL, LAYER, QWEN_D_MODEL

ARRAYS: list[Callable[[np.ndarray], Any]] = [
    lambda a: a.astype(object),
    lambda a: a.astype(">f4"),
    lambda a: a.astype(np.float16),
    lambda a: a.astype(np.complex64),
    lambda a: a.astype(str),
    lambda a: a.astype(int),
    lambda a: a[:1],
    lambda a: a[..., :0],
    lambda a: a.T.copy(),
    lambda a: a[None],
    lambda a: np.float32(1),
    lambda a: a * np.nan,
    lambda a: a * np.float32(1e38) * 100,
    lambda a: np.zeros(3, dtype=[("a", "f4")]),
    lambda a: np.asfortranarray(a),
]


def _npz(rng: Random) -> bytes:
    originals = {name: value.numpy() for name, value in sae_standins.scope(sae_standins.weights()).items()}
    arrays: dict[str, Any] = dict(originals)
    for _ in range(rng.choice([0, 1, 1, 2])):
        name = rng.choice(list(arrays))
        match rng.randrange(5):
            case 0:
                del arrays[name]
            case 1:
                arrays[rng.choice(["x", "W_enc", "../x", "é", ""])] = arrays[name]
            case _:  # what the last round made of it may be no array of numbers
                arrays[name] = rng.choice(ARRAYS)(originals.get(name, originals["w_enc"]))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return damage.broken(stream.getvalue(), rng) if rng.random() < 0.4 else stream.getvalue()


@cache
def _dictionary() -> dict[str, torch.Tensor]:
    return dict(sae_standins.DICTIONARIES["BatchTopKSAE"](sae_standins.weights()))


@cache
def _qwen() -> dict[str, torch.Tensor]:
    return torch.load(whole(_sae("qwen-scope")) / SAE_PATHS["qwen-scope"], weights_only=True)


SAE_PATHS = {
    "gemma-scope": f"layer_{LAYER}/width_16k/average_l0_82",
    "gemma-scope-2": f"resid_post/layer_{LAYER}_width_16k_l0_medium",
    "llama-scope": f"Llama3_1-8B-Base-L{LAYER}R-8x",
    "sparsify": f"run/layers.{LAYER}",
    "dictionary-learning": f"resid_post_layer_{LAYER}/trainer_0",
    "saelens": f"blocks.{LAYER}.hook_resid_post",
    "qwen-scope": f"layer{LAYER}.sae.pt",
}
SAE_MAKERS: dict[str, Callable[[Path, str], Any]] = {
    "gemma-scope": sae_standins.gemma_scope,
    "gemma-scope-2": sae_standins.gemma_scope_2,
    "llama-scope": sae_standins.llama_scope,
    "sparsify": sae_standins.sparsify,
    "dictionary-learning": sae_standins.dictionary_learning,
    "saelens": sae_standins.saelens,
    "qwen-scope": sae_standins.qwen_scope,
}


@cache
def _sae(layout: str) -> Callable[[Path], Any]:
    return lambda folder: SAE_MAKERS[layout](folder, SAE_PATHS[layout])


def _sae_reader(
    layout: str, file: str, damaged: Callable[[Random], bytes] | None = None, d_model: int = D_MODEL, **source: str
) -> Reader:
    path = f"{SAE_PATHS[layout]}/{file}" if file else SAE_PATHS[layout]

    def read(folder: Path) -> Iterable[Any]:
        root, output = beside(folder, _sae(layout), path), folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        ids = {LAYER: SAE_PATHS[layout]}
        saes = Saes.model_validate({"source": {"folder": str(root), **source}, "ids": ids})
        fetch_sae(saes=saes, sae_id=ids[LAYER], layer=LAYER, d_model=d_model, model=None, output=str(output))
        return [(output / "cfg.json").read_text(encoding="utf-8")]

    return Reader(path, damaged or object_of(_sae(layout), path), read)


READERS = {
    "gemma-scope": _sae_reader("gemma-scope", "params.npz", _npz),
    "gemma-scope-2": _sae_reader("gemma-scope-2", "config.json"),
    "gemma-scope-2 weights": _sae_reader(
        "gemma-scope-2",
        "params.safetensors",
        lambda rng: safetensors_of(sae_standins.scope(sae_standins.weights()), rng),
    ),
    "llama-scope": _sae_reader("llama-scope", "hyperparams.json"),
    "sparsify": _sae_reader("sparsify", "cfg.json"),
    "dictionary-learning": _sae_reader("dictionary-learning", "config.json"),
    "dictionary-learning weights": _sae_reader(
        "dictionary-learning", "ae.pt", lambda rng: damage.pickled(_dictionary(), rng)
    ),
    "saelens": _sae_reader("saelens", "cfg.json"),
    "qwen-scope": _sae_reader(
        "qwen-scope", "", lambda rng: damage.pickled(_qwen(), rng), QWEN_D_MODEL, id=sae_standins.QWEN
    ),
}
