"""The parallel corpus of a new study: FLORES+, or a folder or repository whose layout is seen by its files."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from isogloss.errors import IsoglossError
from isogloss.languages import language
from isogloss.new_study.given import Given, open_given
from isogloss.sources.hub import Repository
from isogloss.sources.parallel_text import matching_files
from isogloss.sources.rows import column_names, kind_of

FLORES = {"id": "openlanguagedata/flores_plus", "files": "dev/{flores}.*", "document_column": "url"}
PATTERNS = ("{lang}.*", "{flores}.*", "{code}.*", "{lang}/*", "dev/{flores}.*", "dev/{lang}.*", "*.{lang}")
IDS = ("id", "segment", "segment_id", "sentence_id", "key")
TEXTS = ("text", "sentence", "content", "translation")
DOCUMENTS = ("document", "document_id", "doc_id", "url")
_SHOWN = 8


class Corpus(NamedTuple):
    """The section `parallel` of a study, and what was not found."""

    keys: dict[str, Any]
    lacking: list[str]


def parallel_corpus(segments: str, languages: Sequence[str], online: bool) -> Corpus:
    """The corpus in the folder or repository `segments`; "" for FLORES+, which is looked up on the Hub if `online`.

    Raises `IsoglossError` for a language that the corpus lacks, files whose columns of text cannot be told, and as
    `open_given`.
    """
    if segments:
        return _seen(open_given(segments, "SEGMENTS", "dataset"), segments, languages)
    if nameless := [lang for lang in languages if language(lang).flores is None]:
        raise IsoglossError(
            f"LANGUAGES: FLORES+ has no {', '.join(nameless)}; give a corpus that does (SEGMENTS=FOLDER), or leave the"
            " language out"
        )
    if not online:
        return Corpus(FLORES, ["FLORES+ was not looked up, the model being in a folder: fetching sees what it lacks"])
    given = open_given(FLORES["id"], "FLORES+", "dataset")
    _check_languages(given.repository, FLORES["files"], languages, "FLORES+")
    return Corpus({**FLORES, **given.keys}, [])


def _seen(given: Given, text: str, languages: Sequence[str]) -> Corpus:
    repository, where = given.repository, f"SEGMENTS={text}"
    usable = [
        pattern for pattern in PATTERNS if "{flores}" not in pattern or all(language(lang).flores for lang in languages)
    ]
    files = max(usable, key=lambda pattern: len(_there(repository, pattern, languages)))
    there = _there(repository, files, languages)
    tables = [name for name in repository.names("*") if kind_of(name)]
    if not there and len(tables) == 1:
        return _of_one_table(given, tables[0], languages, where)
    _check_languages(repository, files, languages, where)
    name = there[languages[0]][0]
    keys = given.keys | ({} if files == PATTERNS[0] else {"files": files})
    if not kind_of(name):
        return Corpus(keys | {"id_column": None}, [f"{where}: plain text, so segments go by the number of their line"])
    columns = column_names(repository.take([name])[name], name)
    return _with_columns(keys, columns, f"{where}: {name}", None)


def _of_one_table(given: Given, name: str, languages: Sequence[str], where: str) -> Corpus:
    columns = column_names(given.repository.take([name])[name], name)
    if lacking := [lang for lang in languages if lang not in columns]:
        raise IsoglossError(
            f"{where}: {name} has no column {', '.join(lacking)}, there are {', '.join(columns[:_SHOWN])}; add it, or"
            " leave the language out"
        )
    return _with_columns({**given.keys, "files": name}, columns, f"{where}: {name}", "{lang}")


def _with_columns(keys: dict[str, Any], columns: list[str], where: str, text: str | None) -> Corpus:
    """The section with its columns, those that go without saying left out."""
    text = text or _first(TEXTS, columns)
    if text is None:
        raise IsoglossError(
            f"{where} has no column {' or '.join(TEXTS)}, there are {', '.join(columns[:_SHOWN])}; call that of the"
            " texts so"
        )
    segment = _first(IDS, columns)
    document = _first(DOCUMENTS, columns)
    columns_of = {"id_column": (segment, "id"), "text_column": (text, "text"), "document_column": (document, None)}
    keys = keys | {key: column for key, (column, default) in columns_of.items() if column != default}
    lacking = [] if segment else [f"{where}: no column of ids ({', '.join(IDS)}), so segments go by number"]
    return Corpus(keys, lacking)


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _there(repository: Repository, pattern: str, languages: Sequence[str]) -> dict[str, list[str]]:
    """The files of each language that has some."""
    matches = {lang: matching_files(repository, pattern, _names(lang)) for lang in languages}
    return {lang: files for lang, files in matches.items() if files}


def _check_languages(repository: Repository, pattern: str, languages: Sequence[str], where: str) -> None:
    there = _there(repository, pattern, languages)
    if lacking := [lang for lang in languages if lang not in there]:
        names = repository.names(re.sub(r"\{\w+\}", "*", pattern)) or ["no files like it"]
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        raise IsoglossError(
            f"{where}: no text in {', '.join(lacking)} (files {pattern}; there are {shown}); add it, or leave the"
            " language out"
        )


def _names(lang: str) -> dict[str, str]:
    return {"lang": lang, "code": lang.split("-")[0], "flores": language(lang).flores or ""}
