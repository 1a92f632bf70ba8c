"""Stage `fetch_questions`: the questions of one benchmark task, `data/LANGUAGE/SPLIT.jsonl`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isogloss.errors import IsoglossError
from isogloss.fetch.hub import Repository, link, open_repository, record
from isogloss.tables import atomic_path

SPLITS = ("train", "val", "test")


def fetch_questions(*, source: Mapping[str, Any], task: str, languages: Sequence[str], output: str) -> None:
    """Make the folder `output` with the splits of `task` in `languages`, as `benchmarks.questions` reads them.

    Which splits a language has is upstream's affair (HellaSwag has no train). Raises `IsoglossError`
    for a source of another layout and for a language that it lacks.
    """
    repository = open_repository(source, "dataset")
    names = _names(repository, task, languages)
    files = repository.take(names)
    with atomic_path(Path(output)) as aside:
        link(files, aside)
        record(aside, repository, files, task=task, languages=list(languages))


def _names(repository: Repository, task: str, languages: Sequence[str]) -> list[str]:
    there = [name for split in SPLITS for name in repository.names(f"data/*/{split}.jsonl")]
    if not there:
        others = [*repository.names("*"), *repository.names("*/*"), *repository.names("*/*/*")]
        example = f" (there is {others[0]} instead)" if others else ""
        raise IsoglossError(
            f"{repository.where}: no data/LANGUAGE/{{{','.join(SPLITS)}}}.jsonl{example}; {task} needs that layout,"
            " which alexandrainst's m_arc, m_hellaswag and m_mmlu have"
        )
    by_language: dict[str, list[str]] = {}
    for name in there:
        by_language.setdefault(name.split("/")[1], []).append(name)
    lacking = [lang for lang in languages if lang not in by_language]
    if lacking:
        raise IsoglossError(
            f"{repository.where}: {task} has no questions in {', '.join(lacking)}; there are"
            f" {', '.join(sorted(by_language))}: leave the language out or give another source"
        )
    return sorted(name for lang in languages for name in by_language[lang])
