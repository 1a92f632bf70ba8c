"""Questions as upstream has them: Belebele, MMMLU with English MMLU, Okapi's HellaSwag, lm-eval's tasks."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from isogloss.errors import IsoglossError, shown
from isogloss.jsonl import LONGEST, read_json_lines
from isogloss.sources.okapi import common_questions
from isogloss.sources.values import check_id, check_text, whole_number

LETTERS = "ABCD"
MMMLU_COLUMNS = ("Question", *LETTERS, "Answer", "Subject")
MMLU_COLUMNS = ("question", "subject", "choices", "answer")
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
        lacking = [field for field in (*BELEBELE_FIELDS, "mc_answer1") if row.get(field) in (None, [], {})]
        if lacking:
            raise IsoglossError(f"{where}: no {lacking[0]!r}; a line of Belebele has one, mend or delete it")
        given = {int(name.removeprefix("mc_answer")): value for name, value in row.items() if _is_choice(name)}
        choices = [given.get(number) or "" for number in range(1, max(4, *(n for n in given if given[n])) + 1)]
        answer = (whole_number(row["correct_answer_num"]) or 0) - 1
        of_link = whole_number(row["question_number"])
        of_link = row["question_number"] if of_link is None else of_link  # 1, 1.0 and "1" are the same one
        name = f"{check_id(row['link'], 'link', where)}#{check_id(of_link, 'question_number', where)}"
        _new(name, seen, where)
        for field in ("flores_passage", "question"):
            check_text(row[field], field, where)
        for number, choice in enumerate(choices, start=1):
            check_text(choice, f"mc_answer{number}", where)
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
            raise IsoglossError(f"{where}: {shown(number)} is no row number; mend or delete the row")
        subject = row["Subject"].strip()
        name = f"{subject}/{number}"
        _new(name, seen, where)
        choices = [row[letter] for letter in LETTERS] + ([row["E"]] if row.get("E", "").strip() else [])
        answer = LETTERS.find(row["Answer"].strip() or "?")
        yield _question(name, subject, None, row["Question"], choices, answer)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file by column, the unnamed one as `index`, each with its place."""
    csv.field_size_limit(LONGEST)
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = csv.reader(handle, strict=True)
        start = 1  # line on which a row begins
        try:
            header = ["index" if name in INDEX_COLUMNS else name for name in next(rows, [])]
            odd = [name for name in ("index", *MMMLU_COLUMNS) if header.count(name) != 1]
            if odd:
                what = "several columns" if odd[0] in header else "no column"
                raise IsoglossError(f"{path}, line 1: {what} {odd[0]!r}, of which MMMLU has one; take another revision")
            start = rows.line_num + 1
            for row in rows:
                if len(row) != len(header):
                    raise IsoglossError(
                        f"{path}, line {start}: {len(row)} columns, the header has {len(header)}; mend or delete it"
                    )
                yield f"{path}, line {start}", dict(zip(header, row, strict=True))
                start = rows.line_num + 1
        except UnicodeDecodeError as error:  # of a buffer, whose line is not known
            byte = f"byte {error.object[error.start]:#04x}"
            raise IsoglossError(f"{path}, after line {start}: not UTF-8 ({byte}); fetch the file again") from None
        except csv.Error as error:
            raise IsoglossError(f"{path}, line {start}: broken CSV ({error}); fetch the file again") from None


def _english_mmlu(data: str) -> Iterator[UpstreamQuestion]:
    from isogloss.sources.rows import read_rows  # Arrow, which nothing else here needs

    paths = sorted(Path(data).glob("all/test-*.parquet"))
    if not paths:
        raise IsoglossError(f"{data}: no all/test-*.parquet, which cais/mmlu has; give that as reference_source")
    number = 0
    for path in paths:
        for row, (question, subject, choices, answer) in read_rows(path, str(path), MMLU_COLUMNS):
            where = f"{path}, row {row}"
            if not isinstance(choices, list):
                raise IsoglossError(f"{where}: 'choices' is {shown(choices)}, no list; mend or delete the row")
            texts = [check_text("" if choice is None else choice, "choices", where) for choice in choices]
            subject = check_text(subject, "subject", where)
            correct = whole_number(answer)
            text = check_text(question, "question", where)
            yield _question(f"{subject}/{number}", subject, None, text, texts, -1 if correct is None else correct)
            number += 1


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


def _new(name: str, seen: set[str], where: str) -> None:
    if name in seen:
        raise IsoglossError(f"{where}: question {name[:200]} a second time; an id must be unique in its file")
    seen.add(name)
