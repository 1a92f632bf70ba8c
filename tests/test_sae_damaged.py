"""SAE files that are damaged, foreign or odd, in each layout: one line at fetch that names file and key."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sae_standins as standins
from isogloss.config.pretrained import Saes
from isogloss.errors import IsoglossError
from isogloss.sources.saes.fetch import fetch_sae
from isogloss.sources.saes.locate import sae_shape
from isogloss.sources.saes.table import LAYOUTS
from sae_standins import D_MODEL, LAYER, VERSION_5, VERSION_6, without_threshold

Write = Callable[[Path, str], None]
SCOPE = f"layer_{LAYER}/width_16k/average_l0_82"
# By name: layout, what writes it, the SAE's id, its weights, its config, the part of the config that has the keys
STANDINS: dict[str, tuple[str, Write, str, str, str | None, str | None]] = {
    "gemma-scope": ("gemma-scope", standins.gemma_scope, SCOPE, "params.npz", None, None),
    "gemma-scope-2": ("gemma-scope-2", standins.gemma_scope_2, "sae", "params.safetensors", "config.json", None),
    "saelens 5": (
        "saelens",
        lambda root, path: standins.saelens(root, path, VERSION_5, without_threshold()),
        "sae",
        "sae_weights.safetensors",
        "cfg.json",
        None,
    ),
    "saelens 6": (
        "saelens",
        lambda root, path: standins.saelens(root, path, VERSION_6),
        "sae",
        "sae_weights.safetensors",
        "cfg.json",
        "metadata",
    ),
    "llama-scope": (
        "llama-scope",
        standins.llama_scope,
        "sae",
        "checkpoints/final.safetensors",
        "hyperparams.json",
        None,
    ),
    "qwen-scope": ("qwen-scope", standins.qwen_scope, f"layer{LAYER}.sae.pt", "", None, None),
    "sparsify": ("sparsify", standins.sparsify, f"layers.{LAYER}", "sae.safetensors", "cfg.json", None),
    "dictionary-learning": (
        "dictionary-learning",
        standins.dictionary_learning,
        "sae",
        "ae.pt",
        "config.json",
        "trainer",
    ),
}
ODD = (None, True, -1, 0, 99, 0.5, 1e308, "x", "a\nb", "\0", [], [[1]], {}, {"a": {"b": []}}, "y" * 10_000)


def test_every_layout_has_a_stand_in():
    assert {layout for layout, *_ in STANDINS.values()} == set(LAYOUTS)


def fetch(root: Path, path: str, output: Path, d_model: int = D_MODEL) -> str:
    """The line that fetching ends in; "" if it gives an SAE."""
    saes = Saes.model_validate({"source": {"folder": str(root), "id": standins.QWEN}, "ids": {LAYER: path}})
    try:
        sae_shape(saes, LAYER)
        fetch_sae(saes=saes, sae_id=path, layer=LAYER, d_model=d_model, model=None, output=str(output))
    except IsoglossError as error:
        line = str(error)
    else:
        return ""
    assert not output.exists()
    assert "\n" not in line
    assert len(line) < 1500
    return line


def made(tmp_path: Path, standin: str) -> tuple[Path, Path, str, int]:
    """The folder of a stand-in, the file of its weights, its id and the width of its inputs."""
    layout, write, path, weights, *_ = STANDINS[standin]
    root = tmp_path / "files"
    write(root, path)
    width = standins.QWEN_D_MODEL if layout == "qwen-scope" else D_MODEL
    return root, root / path / weights if weights else root / path, path, width


def read(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".npz":
        return {name: torch.from_numpy(value) for name, value in np.load(file, allow_pickle=False).items()}
    return load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)


def write(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    if file.suffix == ".npz":
        np.savez(file, **{name: value.numpy() for name, value in tensors.items()})
    elif file.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    else:
        torch.save(tensors, file)


def floats(tensors: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in tensors.items() if value.is_floating_point() and value.ndim]


@pytest.mark.parametrize("standin", STANDINS)
def test_each_odd_value_in_a_config_gives_an_sae_or_one_line(tmp_path: Path, standin: str):
    root, _, path, width = made(tmp_path, standin)
    _, _, _, _, config, part = STANDINS[standin]
    assert fetch(root, path, tmp_path / "plain", width) == ""
    if config is None:
        return
    file = root / path / config
    whole = json.loads(file.read_text())
    for inner in {None, part}:
        keys = [*(whole[inner] if inner else whole), "new"]
        for number, key in enumerate(keys):
            for value in ODD[number % 5 :: 5]:  # every value at some key, every key with three
                changed = json.loads(json.dumps(whole))
                (changed[inner] if inner else changed)[key] = value
                file.write_text(json.dumps(changed))
                line = fetch(root, path, tmp_path / "out" / f"{inner}-{number}-{ODD.index(value)}", width)
                assert line == "" or line.startswith(f"{root}: {path}"), (key, value)


@pytest.mark.parametrize("standin", STANDINS)
def test_each_damage_of_a_tensor_is_one_line_with_file_and_key(tmp_path: Path, standin: str):
    root, file, path, width = made(tmp_path, standin)
    whole = read(file)
    where = f"{root}: {path}"
    for name in floats(whole):
        if name == "W_dec" and width != D_MODEL:
            continue  # as W_enc, and not small
        good = whole[name]
        bad: dict[str, torch.Tensor | None] = {
            "lacking": None,
            "NaN": torch.full_like(good, torch.nan),
            "infinite": good.clone().index_fill_(0, torch.tensor([0]), torch.inf),
            "whole numbers": good.to(torch.int8),
            "one more": torch.cat([good, good[:1]]),
            "of no size": good[:0],
            "of no dimension": good.flatten()[0],
            "of three": good[None, None],
        }
        for damage, tensor in bad.items():
            changed = {key: value for key, value in {**whole, name: tensor}.items() if value is not None}
            write(file, changed)
            line = fetch(root, path, tmp_path / "out" / name / damage, width)
            if name == "threshold" and damage in ("lacking", "of no dimension") and line == "":
                continue  # of a kind that has none, or one for all features
            if name == "decoder.bias" and damage == "lacking":
                continue  # Llama Scope may have none
            assert line.startswith(where), (name, damage)
            if damage in ("lacking", "NaN", "infinite", "whole numbers"):
                assert file.name in line, line
                assert name in line, line


@pytest.mark.parametrize("standin", STANDINS)
def test_what_is_no_file_of_tensors_is_one_line_with_its_name(tmp_path: Path, standin: str):
    root, file, path, width = made(tmp_path, standin)
    content = file.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    damaged = {
        b"": "is empty; fetch it again",
        pointer: "is a pointer of Git LFS, not the file; run `git lfs pull` there, or download it",
        b"<html>Sign in</html>": "file of tensors",
        content[: len(content) // 2]: "file of tensors",
        content[100:]: "file of tensors",
    }
    for bytes_, advice in damaged.items():
        file.write_bytes(bytes_)
        line = fetch(root, path, tmp_path / "out", width)
        assert file.name in line
        assert advice in line or "a pickle" in line
    file.write_bytes(content)
    assert "the model's residual stream has 33" in fetch(root, path, tmp_path / "out", 33)


@pytest.mark.parametrize("standin", ["gemma-scope", "gemma-scope-2"])
def test_a_negative_threshold_where_none_is_made_is_refused(tmp_path: Path, standin: str):
    root, file, path, width = made(tmp_path, standin)
    tensors = read(file)
    tensors["threshold"][:3] *= -1
    write(file, tensors)
    line = fetch(root, path, tmp_path / "out", width)
    assert line.startswith(f"{root}: {path}: {file.name}: threshold is negative for 3 features; give an SAE that was")


def test_a_k_of_none_in_a_repositorys_name_is_refused(tmp_path: Path):
    standins.qwen_scope(tmp_path / "files", f"layer{LAYER}.sae.pt")
    source = {"folder": str(tmp_path / "files"), "id": standins.QWEN.replace("L0_50", "L0_0")}
    saes = Saes.model_validate({"source": source, "ids": {LAYER: f"layer{LAYER}.sae.pt"}})
    with pytest.raises(IsoglossError, match="k is 0, but the SAE has 1024 features"):
        fetch_sae(saes=saes, sae_id=f"layer{LAYER}.sae.pt", layer=LAYER, d_model=2048, model=None, output=str(tmp_path))
