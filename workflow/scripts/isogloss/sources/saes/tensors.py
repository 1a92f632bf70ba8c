"""Files of tensors: safetensors, npz and torch's own by `weights_only`. Nothing in them is run."""

import math
import pickle
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isogloss.errors import IsoglossError
from isogloss.sources.saes.published import Opened

if TYPE_CHECKING:
    from torch import Tensor


def read_tensors(
    opened: Opened,
    file: str,
    required: Mapping[str, str],
    optional: Mapping[str, str] | None = None,
    unread: Collection[str] = (),
) -> "dict[str, Tensor]":
    """The tensors of `file` in float32 under our names, each given by its name there; `NAME.T` is transposed.

    Raises `IsoglossError` for a file that is damaged or holds more than tensors, and for one that lacks a required
    tensor or has one that is in none of the lists: what is not understood is not left out.
    """
    path, wanted = opened.files[file], {**required, **(optional or {})}
    where = f"{opened.where}: {file or path.name}"
    raw = _raw(path, where)
    if lacking := [name for name in required if name not in raw]:
        raise IsoglossError(f"{where} has no tensor {', '.join(lacking)}; is saes.layout right?")
    if more := sorted(name for name in raw if name not in wanted and name not in unread):
        raise IsoglossError(
            f"{where} has the tensors {', '.join(more)} besides, which an SAE of this layout has not: a transcoder or a"
            " newer format; give another SAE"
        )
    read = [name for name in wanted if name in raw]
    return {wanted[name].removesuffix(".T"): _float(raw[name], wanted[name], f"{where}: {name}") for name in read}


def tensor_shapes(opened: Opened, file: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of `file` by their names there, without torch but for torch's own files."""
    from safetensors import SafetensorError, safe_open

    path = opened.files[file]
    try:
        if path.suffix == ".npz":
            return dict(_npz_shapes(path))
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as tensors:
                return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise _damaged(f"{opened.where}: {file}", error) from None
    return {name: tuple(tensor.shape) for name, tensor in _raw(path, f"{opened.where}: {path.name}").items()}


def _npz_shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as array:
                version = np.lib.format.read_magic(array)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                yield member.removesuffix(".npy"), read(array)[0]


def _raw(path: Path, where: str) -> "dict[str, Tensor]":
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays}
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, zipfile.BadZipFile, ValueError, EOFError, TypeError, RuntimeError) as error:
        raise _damaged(where, error) from None
    except pickle.UnpicklingError:
        raise IsoglossError(
            f"{where} holds more than tensors (a pickle), and code in it is not run; give another SAE, or save its"
            " state dict as safetensors"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(part, torch.Tensor) for part in tensors.values()):
        raise IsoglossError(f"{where} is no dictionary of tensors; give another SAE")
    return tensors


def _float(tensor: "Tensor", name: str, where: str) -> "Tensor":
    if not tensor.is_floating_point():
        raise IsoglossError(f"{where} is of {tensor.dtype}, not of floating-point numbers; give another SAE")
    if name.endswith(".T"):
        if tensor.ndim != 2:
            raise IsoglossError(f"{where} has {tensor.ndim} dimension(s), not 2; give another SAE")
        tensor = tensor.T
    return tensor.float().contiguous()


def _damaged(where: str, error: Exception) -> IsoglossError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return IsoglossError(f"{where} is no whole file of tensors ({reason}); fetch it again")


def floats(values: Mapping[str, object], key: str, where: str) -> float:
    """A finite positive number of a config; raises `IsoglossError` for anything else."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise IsoglossError(f"{where}: {key} is {value!r}, not a positive number")
    return float(value)
