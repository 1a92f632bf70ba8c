"""Whether the folders that a study names are there, before anything runs."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from isogloss.errors import IsoglossError

# Keys that name a folder, and what must be in it.
_FILES = {"folder": (), "comet": ("hparams.yaml", "checkpoints/model.ckpt")}
PLANNED = "ISOGLOSS_PLANNED"  # set in the environment where only jobs are counted: folders may come later


def files_of(folder: str | None, *patterns: str) -> list[str]:
    """The files of a local source that fit one of the globs: a change there runs its fetch again. None without one.

    Raises `IsoglossError` for a file whose name holds a brace, which Snakemake takes for a wildcard.
    """
    found = (
        {str(path) for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()} if folder else ()
    )
    for path in found:
        if wrong := _braced(path):
            raise IsoglossError(f"{wrong}; rename it")
    return sorted(found)


def _braced(path: str) -> str | None:
    brace = re.search("[{}]", path)
    return brace and f"{path}: the name holds {brace[0]}, which Snakemake takes for a wildcard"


def require_folders(study: BaseModel) -> None:
    """Raise `IsoglossError` with a line for every folder of the study that is not there, or that cannot be used.

    One lacks its COMET model, or has files that Snakemake could not name.
    """
    lines = [f"  {path}: {folder}: {lacking}; correct it" for path, folder, lacking in _absent(study, "")]
    if lines:
        raise IsoglossError(
            "\n".join([f"{len(lines)} folder(s) of the configuration are not there or cannot be used", *lines])
        )


def _lacking(path: str, files: Iterable[str]) -> str | None:
    """What is not there, the folder or a file that it should hold; or a file that should not."""
    try:
        folder = Path(path)
        if not folder.is_dir():
            return "no such folder"
        absent = (f"no {name} in this folder" for name in files if not (folder / name).is_file())
        return next(absent, None) or next(filter(None, (_braced(each.name) for each in folder.iterdir())), None)
    except PermissionError:
        return None  # fetching says it better
    except (OSError, ValueError):  # too long, or with what no name can hold
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
