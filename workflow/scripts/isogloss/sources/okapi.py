"""Questions of the Okapi benchmarks from local JSON lines, the same ones in every language.

The files are those of `alexandrainst/m_arc`, `m_hellaswag` and `m_mmlu` on the Hugging Face Hub:
`data/{lang}/{train,val,test}.jsonl`. Their ids are the same in every language: ARC-Challenge/test/Mercury_7029645,
hellaswag/validation/0, abstract_algebra/test/0.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isogloss.errors import IsoglossError, shown
from isogloss.jsonl import read_json_lines
from isogloss.sources.values import check_id, check_text, whole_number

LETTERS = "ABCDE"
# The fields that lm-eval's task code reads; a field that a file lacks is null, as in a JSON dataset.
FIELDS = {
    "arc": ("id", "instruction", "option_a", "option_b", "option_c", "option_d", "option_e", "answer"),
    "hellaswag": ("id", "ind", "activity_label", "ctx_a", "ctx_b", "endings", "source_id", "label"),
    "mmlu": ("id", "instruction", "option_a", "option_b", "option_c", "option_d", "answer"),
}
# What tells questions apart: the first of these fields that a row has (HellaSwag's source_id is a video or an article).
KEYS = {"arc": ("id",), "hellaswag": ("id", "ind"), "mmlu": ("id",)}
TEXTS = {"arc": ("instruction",), "hellaswag": ("activity_label", "ctx_a", "ctx_b"), "mmlu": ("instruction",)}


class Questions(NamedTuple):
    """The rows of one split in one language whose ids all languages share."""

    ids: list[str]  # in the order of the first language's file, which is then the order in every language
    rows: list[dict[str, Any]]
    dropped: int  # ids that at least one language lacks


def common_questions(
    folder: str | Path,
    task: str,
    split: str,
    lang: str,
    languages: Sequence[str],
    *,
    emptied: Callable[[dict[str, Any]], bool],
) -> Questions:
    """The questions of `split` in `lang` that each of `languages` has (paper A, app. B.2).

    A row for which `emptied` is True (the task's own text processing leaves nothing of a choice) counts
    as missing in that language. Raises `IsoglossError` for a missing file, a broken line, a
    repeated id, a question that cannot be asked, or languages that share no question.
    """
    if lang not in languages:
        raise IsoglossError(f"{task}: {lang} is not among the languages that share questions ({', '.join(languages)})")
    ids: dict[str, list[str]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for code in languages:
        read = _read(_path(folder, code, split), task, code)
        kept = {key: row for key, row in read.items() if not emptied(row)}
        ids[code] = list(kept)
        if code == lang:
            rows = kept
    shared = set.intersection(*map(set, ids.values()))
    if not shared:
        raise IsoglossError(
            f"{folder}: no {split} question of {task} has the same id in all of {', '.join(languages)};"
            " check the ids or leave a language out"
        )
    order = [key for key in ids[languages[0]] if key in shared]
    part = [rows[key] for key in order]
    return Questions(_names(order, part), part, len(set().union(*ids.values())) - len(shared))


def _names(keys: list[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the questions are called: HellaSwag's without an id by where they come from, if that tells them apart."""
    if any(row.get("id") for row in rows):
        return keys
    sources = [str(row["source_id"]) for row in rows if row.get("source_id")]
    return sources if len(set(sources)) == len(keys) else keys


def has_split(folder: str | Path, split: str, languages: Sequence[str]) -> bool:
    """Whether every language has the file of `split` (HellaSwag upstream has no train split).

    Raises `IsoglossError` if only some have it: few-shot examples would differ between languages.
    """
    lacking = [code for code in languages if not _path(folder, code, split).is_file()]
    if lacking and len(lacking) < len(languages):
        raise IsoglossError(
            f"{folder}: {', '.join(lacking)} without {split}.jsonl, other languages with it; add or remove the file"
        )
    return not lacking


def _path(folder: str | Path, lang: str, split: str) -> Path:
    return Path(folder) / "data" / lang / f"{split}.jsonl"


def _read(path: Path, task: str, lang: str) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for where, record in read_json_lines(path, task):
        row = {field: record.get(field) for field in FIELDS[task]}
        for field in row.keys() & {*KEYS[task], "source_id"}:  # numbers and texts mix in them, not so in a data set
            row[field] = None if row[field] in (None, "") else check_id(row[field], field, where)
        key = next((row[field] for field in KEYS[task] if row[field]), None)
        if key is None:
            raise IsoglossError(f"{where}: no {' and no '.join(map(repr, KEYS[task]))}; every question needs an id")
        if task == "hellaswag" and isinstance(row["endings"], list):
            row["endings"] = [_in_own_language(ending, lang) for ending in row["endings"]]
        if key in rows:
            raise IsoglossError(f"{where}: id {shown(key)} a second time; an id must be unique in its file")
        _check(row, task, where)
        rows[key] = row
    return rows


def _in_own_language(ending: Any, lang: str) -> Any:
    """The text of an ending that is given in two languages at once, as those of one Chinese question upstream."""
    return ending.get(lang) if isinstance(ending, dict) else ending


def _check(row: dict[str, Any], task: str, where: str) -> None:
    """Refuse what lm-eval would crash on or score as a question that nobody can get right."""
    for field in TEXTS[task]:
        check_text(row[field], field, where)
    if task == "hellaswag":
        choices = row["endings"] if isinstance(row["endings"], list) else []
        number = whole_number(row["label"])
        answer = -1 if number is None else number
        given = shown(row["label"])
        row["label"] = str(row["label"]) if isinstance(row["label"], str) else str(answer)  # the template strips it
    else:
        options = [row[field] for field in FIELDS[task] if field.startswith("option_")]
        present = max((index for index, option in enumerate(options) if option not in (None, "")), default=-1) + 1
        # ARC has questions of three and of five options: those at the end may be missing, none before them
        choices = options[:present] if task == "arc" else options
        answer = LETTERS.find(row["answer"]) if isinstance(row["answer"], str) and len(row["answer"]) == 1 else -1
        given = shown(row["answer"])
    for number, choice in enumerate(choices, start=1):
        name = f"choice {LETTERS[number - 1] if number <= len(LETTERS) else number}"
        if not check_text("" if choice is None else choice, name, where).strip():
            raise IsoglossError(f"{where}: {name} is empty; mend or delete the line")
    if len(choices) < 2:
        raise IsoglossError(f"{where}: {len(choices)} choice(s); a question needs at least two")
    if not 0 <= answer < len(choices):
        raise IsoglossError(f"{where}: answer {given} is none of the {len(choices)} choices; mend or delete the line")


def first_by_hash(ids: Sequence[str], count: int | None) -> list[int]:
    """The positions, ascending, of the first `count` ids (None: all) in the order of their BLAKE2b hash.

    A sample that no seed changes: the same in every language, model and adapter, larger counts hold
    the smaller ones, and each kind of question is there in proportion, on average.
    """
    chosen = sorted(range(len(ids)), key=lambda position: hashlib.blake2b(ids[position].encode()).digest())[:count]
    return sorted(chosen)
