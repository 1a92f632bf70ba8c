"""Parallel questions: the same ones, in the same order, in every language."""

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from isogloss.errors import IsoglossError
from isogloss.sources.okapi import first_by_hash
from isogloss.sources.question_sets import UpstreamQuestion, read_upstream

logger = logging.getLogger(__name__)

_ROWS = 1024  # of a row group
_LEAST = 0.1  # share of the questions that two languages have in common, from which on they are the same set
_FEWEST = 4  # questions of a group from which on it is judged whether its answers are in step


class ParallelQuestion(NamedTuple):
    """A question in one language, as the table of questions has it."""

    question: str  # id, the same in every language
    passage: str | None  # what is read before: Belebele's passage; HellaSwag's activity label, of cloze prompts only
    text: str
    choices: list[str]  # as many for every question of a task
    answer: int  # position of the correct choice
    held_out: bool  # one of those that steering vectors and the projection are made of


def parallel_questions(
    *,
    task: str,
    layout: str,
    data: str,
    reference_data: str | None,
    languages: Mapping[str, str],
    reference: str,
    questions: int | None,
    held_out: int,
    seed: int,
    output: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write the questions of `task` that all `languages` have, language by language (paper B, sec. 4.1 and app. A).

    `data` is the folder of the task, `layout` the one that it has (`read_upstream`), `reference_data` the folder of
    English MMLU; `languages` has the FLORES-200 code of each. Questions are in the
    order of the reference's file; of those that are parallel the first `questions` by a hash of their ids
    (None: all) are kept, and `held_out` of these, drawn with `seed`, are marked.

    A question is dropped in every language if it is lacking in one, or there has an empty text, another number of
    choices than most in the reference (four, but for lm-eval's tasks), an empty choice, no answer among them, or
    another answer than in the reference; and if
    it belongs to a group (subject of MMMLU) in which a language's answers mostly differ. The metadata count
    the dropped by reason, each question once. Texts of one language only are in memory at a time.

    Raises `IsoglossError` for bad files (`read_upstream`), for a language that shares less than a tenth of its
    questions with the reference or whose answers mostly differ, and if no more than `held_out` questions are left.
    """
    if reference not in languages:
        raise IsoglossError(f"{task}: the reference {reference} is not among its languages, {', '.join(languages)}")
    source = _Source(task, layout, data, reference_data, languages)
    answers, dropped = _parallel(source, reference)
    ids = list(answers)
    ids = [ids[position] for position in first_by_hash(ids, questions)]
    if len(ids) <= held_out:
        raise IsoglossError(
            f"{data}: {len(ids)} questions of {task} in all of {', '.join(languages)}, of which latent.held_out takes"
            f" {held_out}; none is left to ask: lower it, or take more questions"
        )
    marked = set(random.Random(f"{seed}/{task}/held out").sample(sorted(ids), held_out))
    more = {"task": task, "languages": list(languages), "questions": len(ids), "dropped": dict(dropped)}
    _write(output, {**metadata, **more}, source, ids, marked)


class _Source(NamedTuple):
    """Where the questions of a task are."""

    task: str
    layout: str
    data: str
    reference_data: str | None
    languages: Mapping[str, str]

    def read(self, lang: str) -> Iterator[UpstreamQuestion]:
        return read_upstream(self.layout, self.data, self.reference_data, lang, self.languages[lang])


def _parallel(source: _Source, reference: str) -> tuple[dict[str, int], Counter[str]]:
    """The answer of each question that can be asked in every language, in the reference's order; the dropped."""
    task, data = source.task, source.data
    ahead = [reference, *(lang for lang in source.languages if lang != reference)]
    key: dict[str, tuple[str, int]] = {}  # group and answer in the reference
    width = 0  # choices of most of its questions
    there: Counter[str] = Counter()  # in how many languages a question can be asked
    reasons: dict[str, str] = {}
    for lang in ahead:
        answers: dict[str, tuple[str, int]] = {}
        widths: dict[str, int] = {}
        for row in source.read(lang):
            if row.defect:
                reasons.setdefault(row.question, row.defect)
            else:
                answers[row.question] = (row.group, row.answer)
                widths[row.question] = len(row.choices)
            there.setdefault(row.question, 0)
        if lang == reference:
            width = Counter(widths.values()).most_common(1)[0][0] if widths else 0
        for question in [question for question, count in widths.items() if count != width]:
            reasons.setdefault(question, f"not_{width}_choices")
            del answers[question]
        if lang == reference:
            key = answers
        shared = answers.keys() & key.keys()
        if len(shared) < _LEAST * min(len(answers), len(key)) or not shared:
            raise IsoglossError(
                f"{data}: {task} in {lang} has {len(shared) or 'no'} question(s) in common with {reference} that can be"
                f" asked, of {len(answers)} and {len(key)}; give the same questions the same ids, or leave {lang} out"
            )
        there.update(answers.keys())
        for question, reason in _unlike(task, data, lang, {q: (key[q], answers[q]) for q in shared}).items():
            reasons.setdefault(question, reason)
    for question, count in there.items():
        if count < len(ahead):
            reasons.setdefault(question, "lacking")
    dropped = Counter(reasons.values())
    if dropped:
        named = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
        logger.warning("%s: %d of %d questions dropped in every language: %s", task, len(reasons), len(there), named)
    return {question: answer for question, (_, answer) in key.items() if question not in reasons}, dropped


def _unlike(
    task: str, data: str, lang: str, pairs: Mapping[str, tuple[tuple[str, int], tuple[str, int]]]
) -> dict[str, str]:
    """Why questions that `lang` shares with the reference are not the same ones.

    Raises `IsoglossError` if most of their answers differ.
    """
    differ = [question for question, (key, other) in pairs.items() if key[1] != other[1]]
    if len(pairs) >= _FEWEST and 2 * len(differ) > len(pairs):
        raise IsoglossError(
            f"{data}: {len(differ)} of {len(pairs)} questions of {task} have another answer in {lang} than in the"
            " reference, so they are not the same questions; correct the file's ids or leave the language out"
        )
    size = Counter(other[0] for _, other in pairs.values())
    wrong = Counter(pairs[question][1][0] for question in differ)
    astray = {group for group in wrong if group and size[group] >= _FEWEST and 2 * wrong[group] > size[group]}
    if astray:
        logger.warning("%s in %s: answers mostly differ in %s; left out", task, lang, ", ".join(sorted(astray)))
    reasons = {question: "out_of_step" for question, (_, other) in pairs.items() if other[0] in astray}
    return {**dict.fromkeys(differ, "answer_differs"), **reasons}


def _write(
    output: str,
    metadata: Mapping[str, Any],
    source: _Source,
    ids: Sequence[str],
    held_out: set[str],
) -> None:
    import pyarrow as pa

    from isogloss.tables import TableWriter

    schema = pa.schema(
        {
            "question": pa.string(),
            "lang": pa.string(),
            "passage": pa.string(),
            "text": pa.string(),
            "choices": pa.list_(pa.string()),
            "answer": pa.int32(),
            "held_out": pa.bool_(),
        }
    )
    wanted = set(ids)
    with TableWriter(output, schema, metadata) as writer:
        for lang in source.languages:
            texts: dict[str, UpstreamQuestion] = {
                row.question: row for row in source.read(lang) if row.question in wanted
            }
            for start in range(0, len(ids), _ROWS):
                rows = [
                    {**texts[question]._asdict(), "lang": lang, "held_out": question in held_out}
                    for question in ids[start : start + _ROWS]
                ]
                writer.write(
                    {name: pa.array([row[name] for row in rows], schema.field(name).type) for name in schema.names}
                )


def read_questions(path: str, lang: str) -> list[ParallelQuestion]:
    """The questions in `lang`, in the table's order, which is the same in every language.

    Reads no other language's texts. Raises `IsoglossError` for a language that the table lacks.
    """
    from isogloss.tables import open_table

    with open_table(path) as table:
        groups = range(table.num_row_groups)
        langs = [table.read_row_group(group, columns=["lang"]).column(0)[0].as_py() for group in groups]
        if lang not in langs:
            raise IsoglossError(f"{path}: no questions in {lang}, only in {', '.join(dict.fromkeys(langs))}")
        rows = table.read_row_groups(
            [group for group in groups if langs[group] == lang], list(ParallelQuestion._fields)
        )
    return [ParallelQuestion(**row) for row in rows.to_pylist()]
