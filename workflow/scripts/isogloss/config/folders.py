"""Whether the folders that a study names are there, before anything runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from isogloss.errors import IsoglossError

# Keys that name a folder, and what must be in it.
_FILES = {"folder": (), "comet": ("hparams.yaml", "checkpoints/model.ckpt")}
PLANNED = "ISOGLOSS_PLANNED"  # set in the environment where only jobs are counted: folders may come later


def require_folders(study: BaseModel) -> None:
    """Raise `IsoglossError` with a line for every folder of the study that is not there, or lacks its COMET model."""
    lines = [f"  {path}: {folder}: {lacking}; correct it" for path, folder, lacking in _absent(study, "")]
    if lines:
        raise IsoglossError("\n".join([f"{len(lines)} folder(s) of the configuration are not there", *lines]))


def _lacking(path: str, files: Iterable[str]) -> str | None:
    """What is not there: the folder, or a file that it should hold."""
    try:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            return "no such folder"
        return next((f"no {name} in this folder" for name in files if not (folder / name).is_file()), None)
    except (OSError, RuntimeError, ValueError):  # too long, of no user, with what no name can hold
        return "no such folder"


def _absent(value: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Key paths and values of all keys `folder` and `comet` in `value` and below, of which something is lacking."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if not isinstance(value, dict):
        return
    for name, part in value.items():
        here = f"{path}.{name}".removeprefix(".")
        if name in _FILES and isinstance(part, str) and (lacking := _lacking(part, _FILES[name])):
            yield here, part, lacking
        yield from _absent(part, here)
