"""Rows that wait on disk: no memory, and gone with the process however it ends."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np


class SpillFile:
    """Rows of one dtype in a file without a name in `folder`, which `stack` closes."""

    def __init__(self, row: np.dtype, *, stack: ExitStack, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._row = row
        self._file = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        self._sizes: list[int] = []  # rows of each append

    def append(self, rows: np.ndarray) -> None:
        """Add `rows` behind those that are there."""
        self._file.write(np.ascontiguousarray(rows).data)
        self._sizes.append(len(rows))

    def read(self) -> np.ndarray:
        """All rows, in the order in which they were appended."""
        self._file.seek(0)
        return np.frombuffer(self._file.read(), self._row)

    def take(self, numbers: Iterable[int]) -> np.ndarray:
        """The rows with these numbers (0 was appended first)."""
        self._file.flush()
        size = self._row.itemsize
        return np.frombuffer(b"".join(os.pread(self._file.fileno(), size, n * size) for n in numbers), self._row)

    def chunks(self, least: int) -> Iterator[np.ndarray]:
        """All rows, in order, `least` or more at a time but for the last; what was appended together stays so."""
        self._file.seek(0)
        waiting = 0
        for number, size in enumerate(self._sizes, start=1):
            waiting += size
            if waiting >= least or number == len(self._sizes):
                yield np.frombuffer(self._file.read(waiting * self._row.itemsize), self._row)
                waiting = 0


class LayerFiles:
    """Rows of one dtype on disk, a `SpillFile` a layer."""

    def __init__(self, row: np.dtype, *, stack: ExitStack, folder: Path) -> None:
        self._row, self._stack, self._folder = row, stack, folder
        self._files: dict[int, SpillFile] = {}

    @property
    def layers(self) -> list[int]:
        """The layers that rows were added to, ascending."""
        return sorted(self._files)

    def append(self, layer: int, rows: np.ndarray) -> None:
        """Add `rows` behind those of a layer."""
        if layer not in self._files:
            self._files[layer] = SpillFile(self._row, stack=self._stack, folder=self._folder)
        self._files[layer].append(rows)

    def read(self, layer: int) -> np.ndarray:
        """A layer's rows, in the order in which they were appended."""
        return self._files[layer].read()
