"""Compressed files from elsewhere: no more comes out of one than can be meant."""

import bz2
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isogloss.errors import IsoglossError

SMALL = 1 << 30  # bytes that may come out of any file
FOLD = 200  # and of a larger one, times its size: text shrinks about five times, tables of numbers less
_CHUNK = 1 << 20  # bytes
_STREAMS: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
    ValueError,
    struct.error,
)


def check_expansion(path: Path, where: str) -> None:
    """Raise `IsoglossError` for a zip, gz, bz2 or xz that is damaged or out of which far more comes than went in.

    A zip is taken at its word, which its readers hold it to; of the others it is counted, and no further than that.
    """
    limit = max(SMALL, FOLD * path.stat().st_size)
    try:
        if path.suffix == ".zip" or zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        elif opened := _STREAMS.get(path.suffix):
            size = 0
            with opened(path) as stream:
                while size <= limit and (chunk := stream.read(_CHUNK)):
                    size += len(chunk)
        else:
            return
    except DAMAGED as error:
        raise IsoglossError(f"{where} is damaged or cut off ({error}); fetch it again") from None
    check_size(size, path, where)


def check_size(size: int, path: Path, where: str) -> None:
    """Raise `IsoglossError` if `size` bytes, which come out of the file `path`, are far more than went in."""
    limit = max(SMALL, FOLD * path.stat().st_size)
    if size > limit:
        raise IsoglossError(
            f"{where}: more than {limit >> 20} MB come out of {path.stat().st_size >> 10} kB, so it was not unpacked;"
            " give another source, or unpack it yourself and give the folder"
        )
