"""JSON Lines: an object a line, and one sentence for a line that is none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isogloss.errors import IsoglossError


def json_object(line: bytes, where: str, remedy: str, *, fault: str = "not JSON") -> dict[str, Any]:
    """The object on a line; raises `IsoglossError` "{where}: {fault} ...; {remedy}" for anything else."""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise IsoglossError(f"{where}: {fault} ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise IsoglossError(f"{where}: not a JSON object; {remedy}")
    return value


def read_json_lines(path: Path, task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a file of a task's questions, each with where it stands: "PATH, line N", counted from 1.

    Raises `IsoglossError` for a missing file and as `json_object`.
    """
    if not path.is_file():
        raise IsoglossError(f"{path}: no such file; {task} needs it in every language")
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            where = f"{path}, line {number}"
            yield where, json_object(line, where, "mend or delete the line", fault="not valid JSON")
