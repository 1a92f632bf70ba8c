"""Data sets as the `datasets` library has them: a configuration's splits, from a repository at a commit or a folder.

The library finds a configuration's files by the head of the repository's card (README.md; `configs`, documented under
"Data files configuration" on the Hub). Here the files are found first and taken by our own fetching, which knows
commits, gates and caches, and the library then reads them as it would on the Hub. Python in a repository is not run.
"""

import errno
import json
import re
import zlib
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import datasets
import yaml
from datasets.exceptions import DatasetsError
from huggingface_hub.utils import filter_repo_objects

from isogloss.errors import IsoglossError, several
from isogloss.sources.archives import check_expansion
from isogloss.sources.cards import CARD, read_card
from isogloss.sources.hub import Repository, link
from isogloss.sources.hub_errors import disk_is_full
from isogloss.sources.rows import kind_of, read_lines, read_rows

PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
FORMATS = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".arrow", *PACKED)
PARQUET = "refs/convert/parquet"  # branch in which the Hub keeps a data set's tables
DEEPEST = 5  # folders that data files are looked for in
# What the library raises itself, for files that are none of its formats; the rest it wraps into its own.
_UNREADABLE = (
    DatasetsError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    EOFError,
    StopIteration,  # of a file without a row
    zlib.error,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # of an address, or a drive
_NESTED = 5  # lists within lists of a card: configuration, data_files, split, path


class Configuration(NamedTuple):
    """Which files of a repository a configuration of its data set has."""

    files: list[str]
    named: bool = False  # whether the card names the configuration
    folder: str | None = None  # if not: the folder that holds them,
    splits: dict[str, list[str]] | None = (
        None  # or what each split has, in the branch of tables: NAME/SPLIT/0000.parquet
    )


def read_configuration(
    repository: Repository, name: str | None, data_files: Any, scratch: Path, what: str
) -> tuple[dict[Any, datasets.Dataset], dict[str, Path]]:
    """The splits of the configuration `name` (None: the default one), and the files that they were read from.

    `data_files` is what `datasets.load_dataset` takes by that name, or None. Raises `IsoglossError`, which names `what`
    needs the data, for a configuration that is not there, or there twice, data behind a script, files that cannot be
    read, names of files elsewhere, and as `Repository.take`.
    """
    card = repository.take([CARD] if repository.has(CARD) else [])
    head = _head(card.get(CARD))
    if [str(one["config_name"]) for one in head["configs"]].count(name or "default") > 1:
        raise IsoglossError(
            f"{repository.where}: {CARD} has the configuration {name or 'default'!r}, which {what} needs, more than"
            " once; take a copy and leave one of them"
        )
    chosen = find_files(repository, {one["config_name"]: one for one in head["configs"]}, name, data_files, what)
    taken = repository.take(chosen.files)
    for file, path in taken.items():
        if file.endswith(PACKED):
            check_expansion(path, f"{repository.where}: {file}")
        if kind_of(file) in (".jsonl", ".json"):
            _check_json(path, file, f"{repository.where}: {file}, which {what} needs,")
    link(taken, scratch / "files")
    if chosen.named:  # the card without other configurations, whose files the library would look for
        own = {
            key: [one for one in part if one.get("config_name") == (name or "default")] for key, part in head.items()
        }
        (scratch / "files" / CARD).write_text(f"---\n{yaml.safe_dump(own)}---\n", encoding="utf-8")
    arguments: dict[str, Any] = {"name": name if chosen.named else None, "data_dir": chosen.folder}
    arguments |= {"cache_dir": str(scratch / "cache"), "verification_mode": "no_checks"}
    try:
        read = datasets.load_dataset(str(scratch / "files"), data_files=data_files or chosen.splits, **arguments)
    except _UNREADABLE as error:
        if disk_is_full(error):
            raise OSError(errno.ENOSPC, "No space left on device") from None
        cause = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise IsoglossError(
            f"{repository.where}: {chosen.files[0]}, which {what} needs, cannot be read ({cause}); fetch it again"
        ) from None
    assert isinstance(read, datasets.DatasetDict)
    return read, card | taken


def _check_json(path: Path, name: str, where: str) -> None:
    """Refuse rows that are no objects, at which the library may end the process; .json may be one array, or columns."""
    try:
        if kind_of(name) == ".jsonl" or not _is_whole("\n".join(read_lines(path, name))):
            deque(read_rows(path, name, ()), maxlen=0)
    except IsoglossError as error:
        raise IsoglossError(f"{where} cannot be read ({str(error).rpartition('; ')[0]}); fetch it again") from None


def _is_whole(text: str) -> bool:
    """Whether the text is one JSON array of objects, or an object, and not lines of them."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(row, dict) for row in value))


def find_files(
    repository: Repository, configurations: Mapping[str, Any], name: str | None, data_files: Any, what: str
) -> Configuration:
    """The files of the configuration `name`: those that the card names, of a folder of that name, or all.

    Without a card a file of that name is the test split.

    Raises `IsoglossError` as `read_configuration`.
    """
    every = [path for depth in range(DEEPEST) for path in repository.names("/".join("*" * (depth + 1)))]
    every = [path for path in every if path.endswith(FORMATS)]
    named = name in configurations or (name is None and "default" in configurations)
    files: list[str] = []
    if data_files is not None or named:
        given = data_files if data_files is not None else configurations[name or "default"]
        _keep_within(given, f"{repository.where}: the files that {what} needs")
        patterns = _patterns(given)
        files = list(filter_repo_objects(every, allow_patterns=patterns))
    elif name and not configurations and (files := [path for path in every if path.startswith(f"{name}/")]):
        splits: dict[str, list[str]] = {}
        for path in files:
            splits.setdefault(path.removeprefix(f"{name}/").rpartition("/")[0], []).append(path)
        return Configuration(files, folder=name) if "" in splits else Configuration(files, splits=splits)
    elif name and not configurations and (files := [path for path in every if Path(path).name.split(".")[0] == name]):
        return Configuration(files, splits={"test": files})
    elif name in (None, "default") and not configurations:
        files = every
    if files:
        return Configuration(files, named=named and data_files is None)
    scripts = repository.names("*.py")
    if scripts and not configurations:
        raise IsoglossError(
            f"{repository.where}: the data of {what} are behind a script, {scripts[0]}, which is not run; give a"
            f" folder, or, where the Hub keeps tables of them, source: {{id: {repository.id}, revision: {PARQUET}}}"
        )
    there = f"; it has {several(map(str, configurations))}" if configurations else ""
    raise IsoglossError(
        f"{repository.where}: no files of the configuration {name!r}, which {what} needs{there}; give another source,"
        " or call a folder or a file by that name"
    )


def _head(card: Path | None) -> dict[str, list[Any]]:
    """What the head of a data set's card says of its configurations: `configs` and `dataset_info`."""
    given = read_card(card) if card else {}
    parts = {key: given.get(key) for key in ("configs", "dataset_info")}
    lists = {key: part if isinstance(part, list) else [part] for key, part in parts.items()}
    return {key: [one for one in part if isinstance(one, dict) and "config_name" in one] for key, part in lists.items()}


def _keep_within(given: Any, where: str) -> None:
    """Refuse what the library would take for a file of this machine or an address, not for one of the repository."""
    parts = [given.get("data_dir"), given.get("data_files")] if _is_entry(given) else [given]
    seen = set[int]()
    while parts:
        part = parts.pop()
        if isinstance(part, str):
            windows = PureWindowsPath(part)
            if windows.anchor or ".." in windows.parts or "::" in part or _SCHEME.match(part):
                raise IsoglossError(f"{where} are called {part[:80]!r}, which is not within it; name files within it")
        elif isinstance(part, Mapping | Sequence) and id(part) not in seen:
            seen.add(id(part))
            parts += part.values() if isinstance(part, Mapping) else part


def _is_entry(given: Any) -> bool:
    """Whether it is what a card says of a configuration, other settings with it."""
    return isinstance(given, Mapping) and "config_name" in given


def _patterns(given: Any, above: Collection[int] = ()) -> list[str]:
    """The globs of a configuration's files: a text, a list, by split, or what the card says of it.

    What stands within itself, or deeper than any card's lists do, has none.
    """
    if isinstance(given, str):
        return [given]
    if id(given) in above or len(above) == _NESTED:
        return []
    above = {*above, id(given)}
    if isinstance(given, Mapping):
        folder, inner = given.get("data_dir"), given.get("data_files", given.get("path"))
        if inner is None and folder is None:
            return [pattern for one in given.values() for pattern in _patterns(one, above)]
        return [f"{folder}/{pattern}" if folder else pattern for pattern in _patterns(inner or "*", above)]
    return [pattern for one in given for pattern in _patterns(one, above)] if isinstance(given, Sequence) else []
