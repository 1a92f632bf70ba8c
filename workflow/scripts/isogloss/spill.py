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
        self._file.write(rows.tobytes())
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
