"""JSON and JSON Lines of others: an object a file, or a line, and one sentence for what is none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from isogloss.errors import IsoglossError, shown

LONGEST = 2**26  # bytes of a line: a file without line breaks is none of what is read by lines
LARGEST = 2**28  # bytes of a file of one object; the vocabularies of tokenizers have 40 MB
_BOM = b"\xef\xbb\xbf"


def json_object(line: bytes, where: str, remedy: str, *, fault: str = "not JSON") -> dict[str, Any]:
    """The object on a line (RFC 8259, in UTF-8; a byte order mark is left out).

    Raises `IsoglossError` "{where}: {fault} ...; {remedy}" for anything else: a key that comes twice in one object,
    bytes that are not UTF-8, what nests too deeply, whole numbers of thousands of digits. NaN and Infinity, which
    Python writes, are read as floats.
    """
    try:
        value = json.loads(line.removeprefix(_BOM).decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        byte = f"byte {line.removeprefix(_BOM)[error.start]:#04x} is not UTF-8"
        raise IsoglossError(f"{where}: {fault} ({byte}); {remedy}") from None
    except RecursionError:
        raise IsoglossError(f"{where}: {fault} (nested too deeply); {remedy}") from None
    except ValueError as error:
        reason = str(error).partition(";")[0]
        raise IsoglossError(f"{where}: {fault} ({reason}); {remedy}") from None
    if not isinstance(value, dict):
        raise IsoglossError(f"{where}: not a JSON object; {remedy}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(mapping := dict(pairs)) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in names if names.count(key) > 1))} comes twice")
    return mapping


def read_json(path: Path, remedy: str = "fetch it again") -> dict[str, Any]:
    """The object in a JSON file; raises `IsoglossError` for one that is unreadable or huge, and as `json_object`."""
    try:
        with path.open("rb") as handle:
            content = handle.read(LARGEST + 1)
    except OSError as error:
        raise IsoglossError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if len(content) > LARGEST:
        raise IsoglossError(f"{path}: over {LARGEST >> 20} MB, so no JSON object of a model; {remedy}")
    return json_object(content, str(path), remedy, fault="not valid JSON")


def each_line(stream: IO[bytes], where: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that is open, by number from 1; a line feed alone parts them.

    Raises `IsoglossError` for one of more than `LONGEST` bytes, of which no more than these are read.
    """
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise IsoglossError(f"{where}:{number}: a line of over {LONGEST >> 20} MiB; is it text? Fetch it again")
        yield number, line


def read_json_lines(path: Path, task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a file of a task's questions, each with where it stands: "PATH, line N", counted from 1.

    Blank lines are left out. Raises `IsoglossError` for a missing file and as `json_object`.
    """
    if not path.is_file():
        raise IsoglossError(f"{path}: no such file; {task} needs it in every language")
    with path.open("rb") as handle:
        for number, line in each_line(handle, str(path)):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, json_object(line, where, "mend or delete the line", fault="not valid JSON")
