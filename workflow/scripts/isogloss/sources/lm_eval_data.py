"""Stage `fetch_tasks`: the documents of lm-eval's tasks as local files, so that they are asked without a network."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import lm_eval
from lm_eval.tasks import TaskManager

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError, several
from isogloss.sources.data_sets import read_configuration
from isogloss.sources.hub import Repository, open_repository, write_record
from isogloss.sources.lm_eval_tasks import FOLDER, LISTED, definition, ids_of, splits
from isogloss.sources.task_registry import nearest, reason
from isogloss.tables import atomic_path

logger = logging.getLogger(__name__)

READERS = ("json", "csv", "parquet", "arrow", "text")  # of the datasets library, in a repository's place


class _Task(NamedTuple):
    """A task that is asked by itself, as a study or a group names it."""

    name: str
    file: Path
    overrides: dict[str, Any]


def fetch_tasks(*, names: Mapping[str, str], source: Source | None, id_column: str | None, output: str) -> None:
    """Make the folder `output` with the documents of lm-eval's tasks or groups `names`, one a language.

    LANGUAGE/N/SPLIT.parquet are the splits that a task asks and takes examples from, N numbering the data sets of a
    group; tasks.json (`lm_eval_tasks.listed`) names each task's definition and data, and says whether the questions
    have the same ids in every language. `source` takes the place of the repository that the tasks name. Whatever
    Python a data set's repository holds is not run.

    Raises `IsoglossError` for a name that lm-eval lacks, a task that cannot be asked (`task_registry.reason`), a data
    set without the task's configuration or split, and as `open_repository`.
    """
    datasets.disable_progress_bars()
    index = _index()
    languages: dict[str, dict[str, Any]] = {}
    ids: dict[str, set[str] | None] = {}
    files: dict[str, Path] = {}
    records: dict[str, dict[str, Any]] = {}
    with atomic_path(Path(output)) as aside, tempfile.TemporaryDirectory() as scratch:
        for lang, name in names.items():
            known: dict[str, str] = {}  # data sets of the language: what they are by, the folder they are in
            parts: list[dict[str, Any]] = []
            own: list[list[str] | None] = []
            for task in _tasks(index, name):
                file = task.file.relative_to(FOLDER).as_posix()
                config = definition(file, task.overrides)
                if why := reason(config):
                    raise IsoglossError(f"lm-eval's task {task.name} {why}; take a task of multiple choices")
                key = json.dumps([config.get(part) for part in ("dataset_path", "dataset_name", "dataset_kwargs")])
                key += f" {splits(config)}"
                if key not in known:
                    known[key] = str(len(known))
                    folder = aside / lang / known[key]
                    repository, taken, asked = _save(config, task.name, source, folder, Path(scratch, lang, known[key]))
                    files |= {f"{repository.where}/{path}": where for path, where in taken.items()}
                    records[repository.where] = _about(repository)
                    own.append(ids_of(asked, id_column, f"{repository.where}: {task.name}"))
                parts.append({"task": task.name, "file": file, "overrides": task.overrides, "data": known[key]})
            languages[lang] = {"name": name, "parts": parts}
            ids[lang] = None if None in own else {key for keys in own for key in keys or []}
        parallel = _parallel(ids, ", ".join(dict.fromkeys(names.values())))
        text = json.dumps({"languages": languages, "parallel": parallel, "id_column": id_column}, indent=1)
        (aside / LISTED).write_text(text + "\n", encoding="utf-8")
        write_record(aside, files, repositories=records, lm_eval=lm_eval.__version__, tasks=dict(names))


@cache
def _index() -> dict[str, Any]:
    return TaskManager()._index


def _tasks(index: Mapping[str, Any], name: str, overrides: Mapping[str, Any] | None = None) -> Iterator[_Task]:
    """The tasks of a task, group or tag, in lm-eval's order."""
    entry = index.get(name)
    if entry is None:
        like = f", but {', '.join(near)}" if (near := nearest(name)) else ""
        raise IsoglossError(f"lm-eval {lm_eval.__version__} has no task or group {name}{like}; correct lm_eval")
    if entry.kind.name == "TAG":
        for member in sorted(entry.tags):
            yield from _tasks(index, member, overrides)
    elif entry.kind.name == "GROUP":
        for member in entry.cfg["task"]:
            given = {"task": member} if isinstance(member, str) else dict(member)
            inner = given.pop("task", None) or given.get("group")
            if not isinstance(inner, str) or inner not in index:
                raise IsoglossError(f"lm-eval's group {name} defines tasks of its own; name one of its tasks instead")
            yield from _tasks(index, inner, {**given, **(overrides or {})})
    else:
        own = {key: value for key, value in (overrides or {}).items() if key != "task_alias"}
        yield _Task(name, Path(entry.yaml_path), own)


def _save(
    config: Mapping[str, Any], task: str, source: Source | None, output: Path, scratch: Path
) -> tuple[Repository, dict[str, Path], datasets.Dataset]:
    """Write a task's splits into `output`; the repository, its files that were read, and the split that is asked."""
    kwargs = dict(config.get("dataset_kwargs") or {})
    if source is None:
        if config["dataset_path"] in READERS:
            raise IsoglossError(
                f"lm-eval's task {task} reads files of its own; give the task's source: {{folder: ...}}"
            )
        source = Source(id=config["dataset_path"], revision=kwargs.get("revision", "main"))
    repository = open_repository(source, "dataset")
    data, taken = read_configuration(repository, config.get("dataset_name"), kwargs.get("data_files"), scratch, task)
    asked, shown = splits(config)
    if asked not in data:
        there = several(map(str, data))
        raise IsoglossError(f"{repository.where}: no split {asked!r}, which {task} asks; there are {there}")
    output.mkdir(parents=True)
    for split in {asked, shown} & set(data):
        data[split].to_parquet(str(output / f"{split}.parquet"))
    return repository, taken, data[asked]


def _about(repository: Repository) -> dict[str, Any]:
    return {"id": repository.id, "revision": repository.commit, "requested": repository.requested}


def _parallel(ids: Mapping[str, set[str] | None], what: str) -> bool:
    """Whether all languages have the same ids; says if not."""
    sets = list(ids.values())
    if None in sets:
        logger.warning("%s: questions without ids, so languages are not compared question by question", what)
        return False
    every = [own for own in sets if own is not None]
    common, union = set.intersection(*every), set().union(*every)
    if common != union:
        logger.warning("%s: %d of %d ids in all languages, so their questions differ", what, len(common), len(union))
    return common == union
