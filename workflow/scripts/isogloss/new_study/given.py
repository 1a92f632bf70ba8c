"""What the command is given: a folder on this machine or a repository of the Hub, and names made of it."""

import re
from pathlib import Path
from typing import NamedTuple

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.hub import Kind, Repository, open_repository


class Given(NamedTuple):
    """A source as a study file names it."""

    source: Source  # of the Hub at the commit that was read
    repository: Repository

    @property
    def on_hub(self) -> bool:
        """Whether it is a repository of the Hub."""
        return self.source.folder is None

    @property
    def title(self) -> str:
        """The last part of its name, without what a page would take for something else."""
        name = Path(self.source.folder or self.source.id or "").name
        return re.sub(r"[^\w .+-]", "-", name) or "model"

    @property
    def keys(self) -> dict[str, str]:
        """`id` and `revision`, or `folder`, as a study file has them."""
        return self.source.model_dump(exclude_none=True, exclude=set() if self.on_hub else {"revision"})


def open_given(text: str, key: str, kind: Kind = "model") -> Given:
    """The folder `text`, or else the repository of the Hub of that name at its present commit.

    Raises `IsoglossError` that names `key` for neither, and as `open_repository`.
    """
    if not text:
        raise IsoglossError(f"{key} is missing; give {key}=OWNER/NAME, a repository of the Hub, or {key}=FOLDER")
    folder = Path(text).expanduser()
    if folder.is_dir():
        source = Source(folder=str(folder.absolute()))
        return Given(source, open_repository(source, kind))
    if folder.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1:
        raise IsoglossError(f"{key}={text}: no such folder; correct it, or give a repository of the Hub as OWNER/NAME")
    try:
        repository = open_repository(Source(id=text), kind, f"{key}=FOLDER")
    except IsoglossError as error:
        raise IsoglossError(f"{key}={text} is no folder here, and of the Hub {error}") from None
    return Given(Source(id=text, revision=repository.commit or "main"), repository)


def key_of(text: str) -> str:
    """A name as keys of a study and folders of results may be called."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "model"
