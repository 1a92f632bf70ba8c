"""Stage `fetch_questions`: the questions of one task, in the layout that its data set has upstream."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.hub import Repository, link, open_repository, record
from isogloss.tables import atomic_path

SPLITS = ("train", "val", "test")
FLORES = r"[a-z]{3}_[A-Z][a-z]{3}"


def fetch_questions(*, source: Source, task: str, languages: Mapping[str, str], output: str) -> None:
    """Make the folder `output` with the files of `task` in `languages`, by their names upstream.

    `languages` has the FLORES-200 code of each.

    - arc, hellaswag, mmlu: data/LANGUAGE/SPLIT.jsonl, as `sources.okapi` reads them. Which splits
      a language has is upstream's affair (HellaSwag has no train).
    - belebele: data/FLORES.jsonl; mmmlu: test/mmlu_LANGUAGE-REGION.csv, English left to mmmlu-reference, which is
      the test split of English MMLU: all/test-*.parquet. `sources.question_sets` reads these.

    Raises `IsoglossError` for a source of another layout and for a language that it lacks.
    """
    repository = open_repository(source, "dataset")
    layout = {"belebele": _belebele, "mmmlu": _mmmlu, "mmmlu-reference": _english_mmlu}.get(task, _splits)
    files = repository.take(layout(repository, task, languages))
    with atomic_path(Path(output)) as aside:
        link(files, aside)
        record(aside, repository, files, task=task, languages=list(languages))


def _splits(repository: Repository, task: str, languages: Collection[str]) -> list[str]:
    there = [name for split in SPLITS for name in repository.names(f"data/*/{split}.jsonl")]
    if not there:
        raise _foreign(
            repository,
            task,
            f"data/LANGUAGE/{{{','.join(SPLITS)}}}.jsonl",
            "alexandrainst's m_arc, m_hellaswag and m_mmlu have",
        )
    by_language: dict[str, list[str]] = {}
    for name in there:
        by_language.setdefault(name.split("/")[1], []).append(name)
    return _of(repository, task, languages, by_language)


def _belebele(repository: Repository, task: str, languages: Mapping[str, str]) -> list[str]:
    langs = {code: lang for lang, code in languages.items()}
    there = {Path(name).stem: [name] for name in repository.names("data/*.jsonl")}
    by_language = {langs.get(code, code): names for code, names in there.items() if re.fullmatch(FLORES, code)}
    if not by_language:
        raise _foreign(repository, task, "data/FLORES.jsonl (eng_Latn, ...)", "facebook/belebele has")
    return _of(repository, task, languages, by_language)


def _mmmlu(repository: Repository, task: str, languages: Collection[str]) -> list[str]:
    by_language = {re.split("[_-]", name)[1].lower(): [name] for name in repository.names("test/mmlu_*.csv")}
    if not by_language:
        raise _foreign(repository, task, "test/mmlu_LANGUAGE-REGION.csv", "openai/MMMLU has")
    return _of(repository, task, [lang for lang in languages if lang != "en" or lang in by_language], by_language)


def _english_mmlu(repository: Repository, task: str, _: Collection[str]) -> list[str]:
    names = repository.names("all/test-*.parquet")
    if not names:
        raise _foreign(repository, task, "all/test-*.parquet", "cais/mmlu has")
    return names


def _foreign(repository: Repository, task: str, layout: str, example: str) -> IsoglossError:
    others = [*repository.names("*"), *repository.names("*/*"), *repository.names("*/*/*")]
    instead = f" (there is {others[0]} instead)" if others else ""
    return IsoglossError(f"{repository.where}: no {layout}{instead}; {task} needs that layout, which {example}")


def _of(
    repository: Repository, task: str, languages: Collection[str], by_language: Mapping[str, Sequence[str]]
) -> list[str]:
    lacking = [lang for lang in languages if lang not in by_language]
    if lacking:
        raise IsoglossError(
            f"{repository.where}: {task} has no questions in {', '.join(lacking)}; there are"
            f" {', '.join(sorted(by_language))}: leave the language out or give another source"
        )
    return sorted(name for lang in languages for name in by_language[lang])
