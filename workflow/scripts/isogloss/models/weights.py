"""The weights in a model's folder before they are loaded: which files, whole ones, of numbers."""

import json
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from isogloss.errors import IsoglossError, made_again, several

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Constants that older checkpoints store: masks and frequencies.
CONSTANTS = re.compile(r"(masked_bias|causal_mask|inv_freq|(attn|attention)\.bias)$")

_NUMBERS = {"F64", "F32", "F16", "BF16"}
# Numbers as FP8 and MXFP4 checkpoints store them, beside their scales.
_PACKED = {"fp8": {"F8_E4M3"}, "mxfp4": {"U8"}}
_SCALE = {"fp8": ("", "_scale_inv"), "mxfp4": ("_blocks", "_scales")}  # how a weight's name ends, and its scale's
_OF_WEIGHTS = re.compile(r"(weight|weight_packed|weight_int8|qweight|qzeros|_blocks)$")


def check_weights(folder: Path, *, method: str | None, where: str) -> None:
    """Raises `IsoglossError` unless the weights of the model in `folder` are all there, once, in safetensors, numbers.

    `method` is how its configuration says that they are quantised, None if it does not; `where` how messages call it.
    """
    kinds: dict[str, str] = {}
    files: dict[str, str] = {}
    for path in files_of_weights(folder, where):
        for name, kind in kinds_of(path, where).items():
            if name in files and not CONSTANTS.search(name):
                raise IsoglossError(
                    f"{where}: {several([name])} is both in {files[name]} and in {path.name}, and only one can be"
                    " right; fetch the model again"
                )
            kinds[name], files[name] = kind, path.name
    check_numbers(kinds, method=method, where=where)


def files_of_weights(folder: Path, where: str) -> list[Path]:
    """The safetensors files that transformers reads in `folder`: the single one, else those of the index.

    Raises `IsoglossError` where there are none, or not all of them.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        files = shards_of(folder / INDEX, where)
        if missing := [shard for shard in files if not (folder / shard).is_file()]:
            raise IsoglossError(
                f"{where}: {len(missing)} of {len(files)} shards are missing, the first is {several(missing[:1])};"
                " fetch the model again"
            )
        return [folder / shard for shard in files]
    if (folder / ".snakemake_timestamp").exists():  # a job made it, with weights
        raise IsoglossError(f"{where}: no {WEIGHTS} there; {made_again(folder / WEIGHTS)}")
    others = [path.name for suffix in ("bin", "pt", "pth", "gguf", "h5") for path in folder.glob(f"*.{suffix}")]
    raise IsoglossError(
        f"{where}: no {WEIGHTS} there{f', only {others[0]}' if others else ''}; isogloss reads nothing but"
        " safetensors: take a revision that has them, or convert the model"
    )


def kinds_of(path: Path, where: str) -> dict[str, str]:
    """What kind of numbers each tensor of a safetensors file holds, as its header names them.

    Raises `IsoglossError` for what is no whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_slice(name).get_dtype() for name in names}
    except (SafetensorError, OSError) as error:
        raise IsoglossError(
            f"{where}: {path.name} is damaged: not a whole safetensors file ({str(error).splitlines()[0]}); a clone"
            " without Git LFS or a download cut off: fetch the model again"
        ) from None


def check_finite(path: Path, where: str) -> None:
    """Raises `IsoglossError` for a safetensors file with weights that are no numbers; one at a time is in memory."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            if CONSTANTS.search(name):
                continue  # an old mask may be infinite
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and not (tensor if tensor.itemsize > 1 else tensor.half()).isfinite().all():
                raise IsoglossError(f"{where}: {name} holds what is no number (NaN or infinite); fetch it again")


def check_numbers(kinds: dict[str, str], *, method: str | None, where: str) -> None:
    """Raises `IsoglossError` for weights that are no numbers of 16 bits or more, nor what `method` makes them of."""
    for name, kind in kinds.items():
        if kind in _NUMBERS or CONSTANTS.search(name) or not (_OF_WEIGHTS.search(name) or kind.startswith("F")):
            continue
        if method is None:
            raise IsoglossError(
                f"{where}: weights are stored as {kind} ({name}), but config.json does not say how they are scaled;"
                " isogloss reads 16, 32 and 64 bits, and FP8 and MXFP4 with their settings: give the model with its"
                " own config.json, or the one that this was made from"
            )
        ending, scale = _SCALE[method]
        scaled = name.endswith(("scales", "scale_inv")) or f"{name.removesuffix(ending)}{scale}" in kinds
        if kind not in _PACKED[method] or not scaled:
            raise IsoglossError(
                f"{where}: config.json says that the weights are quantised ({method}), but {name} is {kind} without"
                f" the scale of one; give the one that this was made from"
            )


def _is_shard(name: str) -> bool:
    """Whether it is the name of a safetensors file in the same folder, which a file system can have."""
    plain = Path(name).name == name and len(name.encode(errors="replace")) <= 255
    return plain and name.endswith(".safetensors") and name.isprintable()


def shards_of(index: Path, where: str) -> list[str]:
    """The files that the weights of a model are in, by their index; they lie beside it.

    Raises `IsoglossError` for what is no index, or names files that are no safetensors beside it.
    """
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        strange = [each for each in shards if not _is_shard(each)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise IsoglossError(f"{where}: {INDEX} is no index of shards; fetch the model again") from None
    if strange or not shards:
        named = several([min(strange)]) if strange else "no file"
        raise IsoglossError(
            f"{where}: {INDEX} names {named}, where isogloss reads safetensors files beside it;"
            " take a revision that has them, or convert the model"
        )
    return sorted(shards)
