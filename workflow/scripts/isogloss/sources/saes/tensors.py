"""Files of tensors: safetensors, npz and torch's own by `weights_only`. Nothing in them is run."""

import errno
import math
import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isogloss.errors import IsoglossError
from isogloss.sources.archives import check_expansion
from isogloss.sources.saes.published import Opened, as_json, some

if TYPE_CHECKING:
    from torch import Tensor

_POINTER = b"version https://git-lfs.github.com/"
# What readers of zip, npz and torch's files raise for bytes that are none.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    EOFError,
    TypeError,
    RuntimeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    tokenize.TokenError,  # numpy's, of a header that ends too early
)


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
            f"{where} has the tensors {some(more)} besides, which an SAE of this layout has not: a transcoder or a"
            " newer format; give another SAE"
        )
    read = [name for name in wanted if name in raw]
    return {wanted[name].removesuffix(".T"): _float(raw[name], wanted[name], f"{where}: {name}") for name in read}


def tensor_shapes(opened: Opened, file: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of `file` by their names there, without torch but for torch's own files.

    Raises `IsoglossError` as `read_tensors`.
    """
    from safetensors import safe_open

    path = opened.files[file]
    where = f"{opened.where}: {file or path.name}"
    if path.suffix not in (".npz", ".safetensors"):
        return {name: tuple(tensor.shape) for name, tensor in _raw(path, where).items()}
    with _readable(path, where):
        if path.suffix == ".npz":
            return dict(_npz_shapes(path))
        with safe_open(path, framework="np") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def count_features(opened: Opened, file: str, bias: str = "b_enc") -> int:
    """The features of an SAE, by the length of its encoder's bias; raises `IsoglossError` where that has none."""
    shape = tensor_shapes(opened, file).get(bias)
    if shape is None or len(shape) != 1 or not shape[0]:
        there = "no" if shape is None else "no vector as"
        raise IsoglossError(f"{opened.where}: {file} has {there} tensor {bias}; is saes.layout right?")
    return shape[0]


def _npz_shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as array:
                version = np.lib.format.read_magic(array)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                yield member.removesuffix(".npy"), read(array)[0]


@contextmanager
def _readable(path: Path, where: str) -> Iterator[None]:
    """Turn what is raised about the bytes of a file into an `IsoglossError`."""
    from safetensors import SafetensorError

    with path.open("rb") as handle:
        head = handle.read(len(_POINTER))
    if not head:
        raise IsoglossError(f"{where} is empty; fetch it again")
    if head == _POINTER:
        raise IsoglossError(f"{where} is a pointer of Git LFS, not the file; run `git lfs pull` there, or download it")
    if path.suffix != ".safetensors":
        check_expansion(path, where)
    try:
        yield
    except pickle.UnpicklingError:
        raise IsoglossError(
            f"{where} holds more than tensors (a pickle), and code in it is not run; give another SAE, or save its"
            " state dict as safetensors"
        ) from None
    except (SafetensorError, *_UNREADABLE) as error:
        raise _damaged(where, error) from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a seek to where the file says that something is
            raise
        raise _damaged(where, error) from None


def _raw(path: Path, where: str) -> "dict[str, Tensor]":
    import torch
    from safetensors.torch import load_file

    with _readable(path, where):
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays}
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(part, torch.Tensor) for name, part in tensors.items()
    ):
        raise IsoglossError(f"{where} is no dictionary of tensors; give another SAE")
    return tensors


def _float(tensor: "Tensor", name: str, where: str) -> "Tensor":
    if not tensor.is_floating_point():
        raise IsoglossError(f"{where} is of {tensor.dtype}, not of floating-point numbers; give another SAE")
    if name.endswith(".T"):
        if tensor.ndim != 2:
            raise IsoglossError(f"{where} has {tensor.ndim} dimension(s), not 2; give another SAE")
        tensor = tensor.T
    number = tensor.float().contiguous()
    if not is_finite(number):
        raise IsoglossError(f"{where} with NaN or infinite values; fetch it again")
    return number


def is_finite(tensor: "Tensor") -> bool:
    """Whether all its values are finite numbers; needs no memory besides."""
    return not tensor.numel() or all(math.isfinite(end) for end in map(float, tensor.aminmax()))


def positive_thresholds(threshold: "Tensor", where: str) -> "Tensor":
    """`threshold`; raises `IsoglossError` for a negative one where the publisher's training makes none."""
    if bool((threshold < 0).any()):
        raise IsoglossError(
            f"{where}: threshold is negative for {int((threshold < 0).sum())} features; give an SAE that was trained to"
            " the end, or fetch it again"
        )
    return threshold


def _damaged(where: str, error: Exception) -> IsoglossError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return IsoglossError(f"{where} is no whole file of tensors ({reason}); fetch it again")


def floats(values: Mapping[str, object], key: str, where: str) -> float:
    """A finite positive number of a config; raises `IsoglossError` for anything else."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
        raise IsoglossError(f"{where}: {key} is {as_json(value)}, not a positive number")
    return float(value)
