"""Questions as upstream has them: Belebele, MMMLU with English MMLU, Okapi's HellaSwag, lm-eval's tasks."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from isogloss.errors import IsoglossError
from isogloss.jsonl import read_json_lines
from isogloss.sources.okapi import common_questions

LETTERS = "ABCD"
MMMLU_COLUMNS = ("Question", *LETTERS, "Answer", "Subject")
INDEX_COLUMNS = ("", "Unnamed: 0")  # pandas writes its index without a name, and reads it under the second
BELEBELE_FIELDS = ("link", "question_number", "flores_passage", "question", "correct_answer_num")


class UpstreamQuestion(NamedTuple):
    """A question in one language."""

    question: str  # id, the same in every language
    group: str  # what it belongs to within its task: a subject of MMMLU; "" elsewhere
    passage: str | None
    text: str
    choices: list[str]
    answer: int  # -1 if it is none of the choices
    defect: str | None  # why it cannot be asked


def read_upstream(
    layout: str, data: str, reference_data: str | None, lang: str, flores: str
) -> Iterator[UpstreamQuestion]:
    """The questions in `lang` from the folder `data`, which has `layout`, in file order; those with a defect too.

    - belebele (facebook/belebele): data/{flores}.jsonl, by the language's FLORES-200 code. An id is the link and the
      question's number.
    - mmmlu (openai/MMMLU): test/mmlu_{LANGUAGE}-{REGION}.csv, English from the folder `reference_data`
      (cais/mmlu): all/test-*.parquet. An id is the subject and the number that the row has in English.
    - hellaswag (alexandrainst/m_hellaswag): data/{lang}/val.jsonl. Ids are those of
      `sources.okapi`. Texts go through lm-eval's processing, which takes rests of mark-up away; the
      passage is the activity label, and "{passage}: {text}" lm-eval's prompt. (The paper asks the context
      alone, as the layout of its letters does here.)
    - lm_eval (`sources.lm_eval_data`): the text is the task's whole prompt, the choices its doc_to_choice.

    Raises `IsoglossError` for a missing file, a broken line or row, a repeated id, and as `asked_in_words`.
    """
    if layout == "belebele":
        yield from _belebele(data, flores)
    elif layout == "mmmlu":
        yield from _mmmlu(data, reference_data, lang)
    elif layout == "lm_eval":
        yield from _lm_eval(data, lang)
    else:
        yield from _hellaswag(data, lang)


def _question(
    question: str, group: str, passage: str | None, text: str, choices: Sequence[str], answer: int
) -> UpstreamQuestion:
    texts = [choice.strip() for choice in choices]
    defect = None
    if not text.strip() or (passage is not None and not passage.strip()):
        defect = "empty_text"
    elif len(texts) != len(LETTERS):
        defect = "not_four_choices"
    elif not all(texts):
        defect = "empty_choice"
    elif not 0 <= answer < len(LETTERS):
        defect = "no_answer"
    return UpstreamQuestion(question, group, passage and passage.strip(), text.strip(), texts, answer, defect)


def _belebele(data: str, flores: str) -> Iterator[UpstreamQuestion]:
    path = Path(data) / "data" / f"{flores}.jsonl"
    seen: set[str] = set()
    for where, row in read_json_lines(path, "belebele"):
        lacking = [field for field in (*BELEBELE_FIELDS, "mc_answer1") if row.get(field) is None]
        if lacking:
            raise IsoglossError(f"{where}: no {lacking[0]!r}; a line of Belebele has one, mend or delete it")
        given = {int(name.removeprefix("mc_answer")): value for name, value in row.items() if _is_choice(name)}
        choices = [given.get(number) or "" for number in range(1, max(4, *(n for n in given if given[n])) + 1)]
        number = str(row["correct_answer_num"]).strip()
        answer = int(number) - 1 if number.isdecimal() else -1
        name = _new(f"{row['link']}#{row['question_number']}", seen, where)
        texts = [row["flores_passage"], row["question"], *choices]
        if not all(isinstance(text, str) for text in texts):
            raise IsoglossError(f"{where}: passage, question or a choice is not a text; mend or delete the line")
        yield _question(name, "", row["flores_passage"], row["question"], choices, answer)


def _is_choice(name: str) -> bool:
    return re.fullmatch(r"mc_answer[1-9]", name) is not None


def _mmmlu(data: str, reference_data: str | None, lang: str) -> Iterator[UpstreamQuestion]:
    if lang == "en" and reference_data is not None:
        yield from _english_mmlu(reference_data)
        return
    paths = sorted(Path(data).glob(f"test/mmlu_{lang.upper()}[-_]*.csv"))
    if len(paths) != 1:
        there = ", ".join(path.name for path in paths or sorted(Path(data).glob("test/*.csv"))) or "none"
        more = "; English is in cais/mmlu, give it as reference_source" if lang == "en" else ""
        raise IsoglossError(f"{data}: needs one test/mmlu_{lang.upper()}-*.csv, there is {there}{more}")
    seen: set[str] = set()
    for where, row in _csv_rows(paths[0]):
        number = row["index"].strip()
        if not number.isdecimal():
            raise IsoglossError(f"{where}: {number!r} is no row number; mend or delete the row")
        subject = row["Subject"].strip()
        name = _new(f"{subject}/{number}", seen, where)
        choices = [row[letter] for letter in LETTERS] + ([row["E"]] if row.get("E", "").strip() else [])
        answer = LETTERS.find(row["Answer"].strip() or "?")
        yield _question(name, subject, None, row["Question"], choices, answer)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file by column, the unnamed one as `index`, each with its place."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = csv.reader(handle, strict=True)
        start = 1  # line on which a row begins
        try:
            header = ["index" if name in INDEX_COLUMNS else name for name in next(rows, [])]
            lacking = [name for name in ("index", *MMMLU_COLUMNS) if name not in header]
            if lacking:
                raise IsoglossError(f"{path}, line 1: no column {lacking[0]!r}, which MMMLU has; take another revision")
            start = rows.line_num + 1
            for row in rows:
                if len(row) != len(header):
                    raise IsoglossError(
                        f"{path}, line {start}: {len(row)} columns, the header has {len(header)}; mend or delete it"
                    )
                yield f"{path}, line {start}", dict(zip(header, row, strict=True))
                start = rows.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise IsoglossError(f"{path}, line {start}: broken CSV ({error}); fetch the file again") from None


def _english_mmlu(data: str) -> Iterator[UpstreamQuestion]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted(Path(data).glob("all/test-*.parquet"))
    if not paths:
        raise IsoglossError(f"{data}: no all/test-*.parquet, which cais/mmlu has; give that as reference_source")
    number = 0
    for path in paths:
        try:
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(columns=["question", "subject", "choices", "answer"]):
                    for row in batch.to_pylist():
                        if any(row.get(field) is None for field in ("question", "subject", "choices")):
                            raise IsoglossError(f"{path}, row {number}: question, subject or choices are missing there")
                        answer = -1 if row["answer"] is None else row["answer"]
                        choices = [choice or "" for choice in row["choices"]]
                        name = f"{row['subject']}/{number}"
                        yield _question(name, row["subject"], None, row["question"], choices, answer)
                        number += 1
        except (pa.ArrowInvalid, OSError) as error:
            raise IsoglossError(f"{path}: damaged or cut off ({str(error).splitlines()[0]}); fetch it again") from None


def _hellaswag(data: str, lang: str) -> Iterator[UpstreamQuestion]:
    read = common_questions(data, "hellaswag", "val", lang, [lang], emptied=lambda _: False)
    for name, row in zip(read.ids, read.rows, strict=True):
        context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
        label = _without_markup(row["activity_label"]).strip()
        query = _without_markup(f"{row['activity_label']}: {context}").strip()
        start = f"{label}: "
        text = query.removeprefix(start) if query.startswith(start) else _without_markup(context)
        choices = [_without_markup(ending) for ending in row["endings"]]
        yield _question(name, "", label or None, text, choices, int(row["label"]))


def _lm_eval(data: str, lang: str) -> Iterator[UpstreamQuestion]:
    from isogloss.sources.lm_eval_tasks import asked_in_words  # three seconds

    for question, text, choices, answer in asked_in_words(data, lang):
        defect = None
        if not text.strip():
            defect = "empty_text"
        elif not all(choice.strip() for choice in choices):
            defect = "empty_choice"
        elif not 0 <= answer < len(choices):
            defect = "no_answer"
        yield UpstreamQuestion(question, "", None, text, choices, answer, defect)


def _without_markup(text: str) -> str:
    """What lm-eval's tasks of HellaSwag make of a text (their `preprocess`)."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _new(name: str, seen: set[str], where: str) -> str:
    if name in seen:
        raise IsoglossError(f"{where}: question {name} a second time; an id must be unique in its file")
    seen.add(name)
    return name
