"""How many parameters a model has, by its files alone: no weight is read."""

import json
from pathlib import Path
from typing import Any

from isogloss.errors import IsoglossError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_HEAD = "lm_head.weight"
_NUMBERS = ("F", "BF")  # how safetensors calls types of which an element is a weight; "I4" and "U8" hold packed ones


def parameters(folder: str | Path) -> int | None:
    """The number of weights in the safetensors files of a model's folder; None where weights are packed into bytes.

    All that the files hold counts, embeddings and towers for pictures too; a head that is the embedding (`config.json`,
    `tie_word_embeddings`) counts once. Read from the headers (github.com/huggingface/safetensors, "Format").

    Raises `IsoglossError` for a folder without weights, or with a damaged file.
    """
    folder = Path(folder)
    tied = bool(_json(folder / "config.json").get("tie_word_embeddings"))
    index = _json(folder / INDEX)
    files = sorted(set(index["weight_map"].values())) if "weight_map" in index else [WEIGHTS]
    total = 0
    for file in files:
        for name, (kind, size) in _header(folder / file).items():
            if kind not in ("BOOL",) and not kind.startswith(_NUMBERS):
                return None
            total += 0 if tied and name.endswith(_HEAD) else size
    return total


def _json(path: Path) -> dict[str, Any]:
    """A JSON file; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise IsoglossError(f"{path}: no JSON; fetch the model again") from None


def _header(path: Path) -> dict[str, tuple[str, int]]:
    """Type and number of elements of each tensor in a safetensors file."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise IsoglossError(f"{path}: no such file, so nobody knows the model's size; make or fetch the model again")
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return {name: (part.get_dtype(), prod(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise IsoglossError(f"{path}: damaged ({error}); fetch the model again") from None
