"""Whether a job's own memory holds a model's weights, before they are read: a killed job says nothing."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from isogloss.errors import IsoglossError
from isogloss.models.architecture import LAYOUTS
from isogloss.models.weights import files_of_weights

_STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_LAYER = re.compile(rf"(?:^|\.)(?:{'|'.join(sorted({layers for layers, _, _ in LAYOUTS}))})\.(\d+)\.")
_NOT_TEXT = re.compile(r"(?:^|[._])(?:vision|visual|audio|image)")


def check_host_memory(folder: Path, dtype: torch.dtype, last_layer: int | None, where: str) -> None:
    """Raises `IsoglossError`, which names dtype and memory, where the weights cannot be made in this job's memory."""
    size, limit = converted_bytes(folder, dtype, last_layer), memory_limit()
    if size <= limit:
        return
    name = str(dtype).removeprefix("torch.")
    lower = " or, for half of that, compute.dtype bfloat16" if dtype == torch.float32 else ""
    raise IsoglossError(
        f"{where}: its weights take {size / 1e9:.3g} GB in {name}, but this job has {limit / 1e9:.3g} GB of memory"
        f" beside any GPU; take a larger node (on Slurm mem_mb in the profile){lower}"
    )


def converted_bytes(folder: Path, dtype: torch.dtype, last_layer: int | None) -> int:
    """Bytes in `dtype` of the weights down to `last_layer` that are stored in another one.

    All others are read in their file's own pages, which a full memory gives back.
    """
    size = 0
    for path in files_of_weights(folder, str(folder)):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                layer = _LAYER.search(name)
                part = file.get_slice(name)
                stored = _STORED.get(part.get_dtype(), dtype)
                above = layer is not None and last_layer is not None and int(layer[1]) > last_layer
                if stored != dtype and not above and not _NOT_TEXT.search(name):
                    size += math.prod(part.get_shape()) * dtype.itemsize
    return size


def memory_limit(root: Path = Path("/")) -> float:
    """Bytes that this process may have: of the machine, or of the control groups that Slurm puts a job in."""
    return float(min(_limits(root), default=math.inf))


def _limits(root: Path) -> Iterator[int]:
    info = root / "proc" / "meminfo"
    if info.is_file():
        yield 1024 * int(info.read_text(encoding="utf-8").partition("MemTotal:")[2].split()[0])
    own = root / "proc" / "self" / "cgroup"
    for line in own.read_text(encoding="utf-8").splitlines() if own.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2, version 1
            base = root / "sys" / "fs" / "cgroup" / controllers
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            within = Path(group.lstrip("/"))
            for part in (within, *within.parents):
                file = base / part / name
                if file.is_file() and (text := file.read_text(encoding="utf-8").strip()).isdigit():
                    yield int(text)
