"""Whether the folders that a study names are there, before anything runs."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from isogloss.errors import IsoglossError

PLANNED = "ISOGLOSS_PLANNED"  # set in the environment where only jobs are counted: folders may come later


def require_folders(study: BaseModel) -> None:
    """Raise `IsoglossError` with a line for every `folder` of the study's sources that is not there."""
    lines = [f"  {path}: {folder}: no such folder; correct it" for path, folder in _absent(study, "")]
    if lines:
        raise IsoglossError("\n".join([f"{len(lines)} folder(s) of the configuration are not there", *lines]))


def _is_folder(path: str) -> bool:
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, of no user, with what no name can hold
        return False


def _absent(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Key paths and values of all keys `folder` and `comet` in `value` and below that name no folder."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if not isinstance(value, dict):
        return
    for name, part in value.items():
        here = f"{path}.{name}".removeprefix(".")
        if name in ("folder", "comet") and isinstance(part, str) and not _is_folder(part):
            yield here, part
        yield from _absent(part, here)
