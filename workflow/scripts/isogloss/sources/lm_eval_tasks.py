"""lm-eval's tasks over local files: its own prompts, choices, few-shot examples and answers.

A folder that `fetch_tasks` made holds `tasks.json` and, by language, the documents as Parquet. A task's definition is
the YAML file of the installed lm-eval; nothing but its data is exchanged.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import datasets
import lm_eval
from jinja2 import TemplateError
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from isogloss.errors import IsoglossError, made_again, several, shown

FOLDER = Path(lm_eval.__file__).parent / "tasks"
LISTED = "tasks.json"
ROW = "row"
# What a definition's templates and functions raise for documents that it is not written for.
_UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, TemplateError)
# What tells questions apart, the first of these that every document has: most data sets', XStoryCloze's, Belebele's.
ID_COLUMNS = (
    ("id",),
    ("question_id",),
    ("sample_id",),
    ("idx",),
    ("story_id",),
    ("link", "question_number"),
    ("guid",),
)
ACCURACY = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]


class Part(NamedTuple):
    """One task of lm-eval, whole or one of a group's."""

    task: ConfigurableTask
    questions: list[str]  # ids, in the order of the task's documents
    left_out: Mapping[int, str] = MappingProxyType({})  # positions of those that cannot be asked, and why


class Listed(NamedTuple):
    """What a folder of fetched tasks has."""

    languages: dict[str, dict[str, Any]]  # by language, `name` and `parts`
    parallel: bool  # whether the questions have the same ids in every language
    id_column: str | None


def listed(folder: str | Path) -> Listed:
    """What `fetch_tasks` wrote about `folder`."""
    return Listed(**json.loads(Path(folder, LISTED).read_text(encoding="utf-8")))


def definition(file: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The definition of a task: the YAML file below lm-eval's folder of tasks, its functions loaded.

    Raises `IsoglossError` for a file that the installed lm-eval lacks.
    """
    path = FOLDER / file
    if not path.is_file():
        raise IsoglossError(f"lm-eval {lm_eval.__version__} has no {file}; delete the folder of the task and run again")
    return load_yaml(path) | dict(overrides or {})


def splits(config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The split that is asked, and the one that examples are taken from; None if the definition names none."""
    asked = config.get("test_split") or config.get("validation_split")
    fewshot = config.get("fewshot_config") or {}
    shown = fewshot.get("split") or config.get("fewshot_split")
    if shown is None and fewshot.get("samples") is None:
        shown = config.get("training_split") or config.get("validation_split") or asked
    return asked, shown


def local_parts(folder: str | Path, lang: str, name: str, *, shots: int, seed: int) -> list[Part]:
    """The tasks of `lang` in a folder of `fetch_tasks`, called `name/TASK`, with `shots` examples in the prompt.

    Metrics are acc and acc_norm, whichever of them the definition names. Examples are drawn by lm-eval's samplers with
    `seed`. Raises `IsoglossError` if there are fewer examples than shots, or the task allows none, for a column of ids
    that is not there, and for a document that the definition does not fit.
    """
    content = listed(folder)
    parts = [_part(Path(folder, lang), entry, name, shots, seed) for entry in content.languages[lang]["parts"]]
    keys = [ids_of(task.eval_docs, content.id_column, f"{folder}: {task.task_name}") for task in parts]
    every = [key for own in keys for key in own or []]
    if any(own is None for own in keys) or len(set(every)) < len(every):  # row numbers, or ids of a task's own
        whole = content.languages[lang]["name"]
        stems = [entry["task"].removeprefix(whole).lstrip("_") for entry in content.languages[lang]["parts"]]
        own = [ids or list(map(str, range(len(task.eval_docs)))) for task, ids in zip(parts, keys, strict=True)]
        keys = [[f"{stem}/{key}".lstrip("/") for key in ids] for stem, ids in zip(stems, own, strict=True)]
    return [Part(task, ids or []) for task, ids in zip(parts, keys, strict=True)]


def asked_in_words(folder: str | Path, lang: str) -> Iterator[tuple[str, str, list[str], int]]:
    """Id, prompt, choices and the answer's position (-1: none of them) of each question of `lang` in `folder`.

    Prompt (without examples) and choices are lm-eval's, a space between them. Raises `IsoglossError` for questions
    without ids, unless row numbers are asked for, for a task that asks each choice in a context of its own or joins
    prompt and choice by something else than a space, and as `local_parts`.
    """
    content = listed(folder)
    for task, questions, _ in local_parts(folder, lang, "", shots=0, seed=0):
        name = task.task_name.lstrip("/")
        if task.multiple_input:
            raise IsoglossError(
                f"{folder}: {name}: each choice has a context of its own, so none is a prompt; take another task"
            )
        if task.config.target_delimiter != " ":
            raise IsoglossError(
                f"{name}: {task.config.target_delimiter!r} and no space stands before a choice; take another task"
            )
        if content.id_column is None and ids_of(task.eval_docs, None, name) is None:
            raise IsoglossError(
                f"{folder}: {name}: no column tells its questions apart in every language; set id_column, or to {ROW}"
                " if the rows are the same questions in every language"
            )
        documents: Any = task.eval_docs
        for row, (question, document) in enumerate(zip(questions, documents, strict=True), start=1):
            with _fitting(f"{folder}, row {row}", name):
                choices = list(map(str, task.doc_to_choice(document)))
                target: Any = task.doc_to_target(document)
                if isinstance(target, str):
                    target = choices.index(target) if target in choices else -1
                prompt = task.fewshot_context(document, num_fewshot=0, gen_prefix=task.doc_to_prefix(document))
            yield question, str(prompt), choices, target if isinstance(target, int) else -1


def without_defects(part: Part, where: str, *, shots: int) -> tuple[Part, Counter[str]]:
    """`part` with the questions that cannot be asked left out, its examples too; how many of each split these are.

    `no_answer` is a question whose answer is none of its choices, as in a split that is published without answers;
    `empty_choice` has nothing, or white space only, for a choice; `one_choice` has no other. Examples are looked at if
    there are `shots`.

    Raises `IsoglossError` for a document that the definition does not fit, which it names by task, split and row, and
    if fewer examples than shots are left.
    """
    task, dropped = part.task, Counter[str]()
    name = task.task_name.rpartition("/")[2]
    asked: Any = task.config.test_split or task.config.validation_split
    documents: Any = task.eval_docs
    left_out: dict[int, str] = {}
    for at, document in enumerate(documents):
        with _fitting(f"{where}, {asked}, row {at + 1}", name):
            task.fewshot_context(document, num_fewshot=0, gen_prefix=task.doc_to_prefix(document))
            if defect := _defect(task, document, task.config):
                left_out[at] = defect
    dropped[asked] += len(left_out)
    ranked = (task.config.training_split, task.config.validation_split, asked)  # where the definition names none
    source: Any = task.fewshot_cfg.split or next(filter(None, ranked))
    if shots and (task.fewshot_cfg.split or not task.fewshot_cfg.samples):
        kept: list[Any] = []
        for row, document in enumerate(task.sampler.df, start=1):
            with _fitting(f"{where}, {source}, row {row}", name):
                kept += [] if _defect(task, document, task.fewshot_cfg) else [document]
        if source != asked:
            dropped[source] += len(task.sampler.df) - len(kept)
        if shots > (available := len(kept) - (task.fewshot_cfg.split == task.config.test_split)):
            raise IsoglossError(f"{where}: {name}: {shots} shots, but {available} examples have an answer; lower shots")
        if len(kept) < len(task.sampler.df):
            task.sampler.replace_df(kept)
    return part._replace(left_out=left_out), +dropped


def _defect(task: ConfigurableTask, document: Any, wording: Any) -> str | None:
    """Why a document cannot be asked, or shown, in `wording`; raises one of `_UNFIT` if lm-eval could not."""
    text: Any = task.doc_to_text(document, wording.doc_to_text)
    choices: Any = task.doc_to_choice(document, wording.doc_to_choice or task.config.doc_to_choice)
    target: Any = task.doc_to_target(document, wording.doc_to_target)
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise TypeError(f"choices {shown(choices)} are no texts")
    if not task.multiple_input and not isinstance(text, str):
        raise TypeError(f"question {shown(text)} is no text")
    texts = [*choices, str(target)] if task.multiple_input else choices
    if not all(each.strip() for each in texts):
        return "empty_choice"
    if len(choices) < 2:
        return "one_choice"
    answers: Any = text if task.multiple_input else target
    if isinstance(answers, list) != bool(task.multiple_target):
        raise TypeError(f"answer {shown(answers)} is of another kind than that of row 1")
    # Several right ones are positions, one may be a text.
    positions = [_position(each, ()) for each in answers] if task.multiple_target else [_position(answers, choices)]
    return None if positions and all(0 <= at < len(choices) for at in positions) else "no_answer"


def _position(answer: Any, choices: Sequence[str]) -> int:
    if isinstance(answer, str):
        return choices.index(answer) if answer in choices else -1
    if not isinstance(answer, int):
        raise TypeError(f"answer {shown(answer)} is neither the position nor the text of a choice")
    return answer


@contextmanager
def _fitting(where: str, task: str) -> Iterator[None]:
    """Where one of `_UNFIT` becomes a sentence."""
    try:
        yield
    except _UNFIT as error:
        raise IsoglossError(
            f"{where}: the documents do not fit lm-eval's task {task} ({type(error).__name__}:"
            f" {' '.join(str(error).split())[:200]}); take the data set, and revision, that it is written for"
        ) from None


def _part(folder: Path, entry: Mapping[str, Any], name: str, shots: int, seed: int) -> ConfigurableTask:
    config = definition(entry["file"], entry["overrides"])
    where = f"{entry['task']}: "
    if shots and config.get("num_fewshot") == 0:
        raise IsoglossError(f"{where}lm-eval asks it without examples of its own choice; set shots: 0")
    data = _documents(str(folder / entry["data"]))
    for key in ("tag", "group", "dataset_kwargs", "generation_kwargs", "filter_list", "metadata"):
        config.pop(key, None)
    asked, shown = splits(config)
    if shown not in data and not config.get("fewshot_config", {}).get("samples"):
        if shots:
            raise IsoglossError(f"{where}{shots} shots, but no split {shown!r} to take examples from; set shots: 0")
        config.update(fewshot_split=asked)
    config.update(
        task=f"{name}/{entry['task']}", custom_dataset=lambda **_: data, metric_list=ACCURACY, num_fewshot=shots
    )
    with _fitting(f"{folder / entry['data']}", entry["task"]):
        task = ConfigurableTask(config=config)
    own = task.fewshot_cfg.split == task.config.test_split  # the question itself is left out of its examples
    available = len(task.sampler.df) - own
    if shots > available:
        raise IsoglossError(f"{where}{shots} shots, but there are {available} examples; lower shots")
    task.set_fewshot_seed(seed)
    return task


@lru_cache(maxsize=4)
def _documents(folder: str) -> dict[Any, datasets.Dataset]:
    """The documents of a data set's splits: tasks of a group have one in common.

    Raises `IsoglossError` for a damaged file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    splits: dict[Any, datasets.Dataset] = {}
    for path in sorted(Path(folder).glob("*.parquet")):
        try:
            splits[path.stem] = datasets.Dataset(pq.read_table(path))
        except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
            reason = " ".join(str(error).split())[-200:]
            raise IsoglossError(f"{path}: damaged ({reason}); {made_again(path.parents[2])}") from None
    return datasets.DatasetDict(splits)


def ids_of(documents: Any, column: str | None, where: str) -> list[str] | None:
    """The documents' ids: `column`, or the usual ones; None where they have none, or row numbers are asked for.

    Raises `IsoglossError` for a column that is not there, is not of texts or numbers (images, lists), or does not tell
    the documents apart.
    """
    if column == ROW:
        return None
    for names in ID_COLUMNS if column is None else [(column,)]:
        if all(isinstance(documents.features.get(name), datasets.Value) for name in names):
            ids = ["#".join(map(str, values)) for values in zip(*(documents[name] for name in names), strict=True)]
            if "None" not in ids and "" not in ids and len(set(ids)) == len(ids):
                return ids
            if column is not None:
                raise IsoglossError(f"{where}: {column} is empty in, or the same of, several questions; take another")
    if column is not None:
        if column in documents.features:
            raise IsoglossError(f"{where}: {column} has neither texts nor numbers, so it is no id; take another")
        there = several(documents.features)
        raise IsoglossError(f"{where}: no column {column!r}; there are {there}")
    return None
