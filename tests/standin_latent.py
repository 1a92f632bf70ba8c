"""Parallel four-choice questions in exactly the upstream formats, with whatever is to be wrong with them.

A defect is given by language and number of the question: `missing`, `other_answer`, `empty_choice`, `five_choices`,
`no_answer`, `empty_text`, `repeated` (the row stands twice) or `broken` (half a line).
"""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from isogloss.languages import language_table

Defects = Mapping[str, Mapping[int, str]]

MMMLU_REGIONS = {
    **{"ar": "XY", "bn": "BD", "de": "DE", "es": "LA", "fr": "FR", "hi": "IN", "id": "ID", "it": "IT"},
    **{"ja": "JP", "ko": "KR", "pt": "BR", "sw": "KE", "yo": "NG", "zh": "CN"},
}
SUBJECTS = ("abstract_algebra", "anatomy", "astronomy", "business_ethics")
LETTERS = "ABCD"
NOUNS = {
    "Latn": ["house", "river", "stone", "bread", "horse"],
    "Arab": ["بيت", "نهر", "حجر", "خبز", "حصان"],
    "Cyrl": ["дом", "река", "камень", "хлеб", "конь"],
    "Deva": ["घर", "नदी", "पत्थर", "रोटी", "घोड़ा"],
    "Hans": ["房子", "河流", "石头", "面包", "马"],
}


class Put(NamedTuple):
    """A question as it is told in one language."""

    passage: str
    text: str
    choices: list[str]
    answer: int


def put(lang: str, number: int, defect: str | None = None) -> Put:
    """Question `number` in `lang`; its four choices differ, its answer is the same in every language."""
    nouns = NOUNS.get(language_table()[lang].script, NOUNS["Latn"])
    turned = [nouns[(number + step) % 5] for step in range(5)]
    choices = [f"{noun} {lang} {number * 5 + step}" for step, noun in enumerate(turned)]
    answer = (7 * number + number // 4) % 4
    text = f"{turned[0]} {number}, {lang}: {turned[4]}?"
    if defect == "other_answer":
        answer = (answer + 1) % 4
    elif defect == "no_answer":
        answer = 7
    elif defect == "empty_choice":
        choices[2] = " "
    elif defect == "empty_text":
        text = ""
    passage = f"{' '.join(turned)}. {lang} {number // 2}.\n{turned[1]} {turned[2]}."
    return Put(passage, text, choices if defect == "five_choices" else choices[:4], answer)


def _lines(path: Path, rows: Sequence[tuple[dict[str, Any], str | None]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for row, defect in rows:
        line = json.dumps(row, ensure_ascii=False)
        lines += {"missing": [], "repeated": [line, line], "broken": [line[: len(line) // 2]]}.get(str(defect), [line])
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_belebele(folder: Path, languages: Sequence[str], count: int, defects: Defects | None = None) -> Path:
    """facebook/belebele: data/{flores}.jsonl, two questions a passage, every language in an order of its own."""
    for lang in languages:
        flores = language_table()[lang].flores
        numbers = random.Random(lang).sample(range(count), count)
        rows: list[tuple[dict[str, Any], str | None]] = []
        for number in numbers:
            defect = (defects or {}).get(lang, {}).get(number)
            question = put(lang, number, defect)
            row = {
                "link": f"https://en.wikinews.org/wiki/Article_{number // 2}",
                "question_number": number % 2 + 1,
                "flores_passage": question.passage,
                "question": question.text,
                **{f"mc_answer{position}": choice for position, choice in enumerate(question.choices, start=1)},
                "correct_answer_num": str(question.answer + 1),
                "dialect": flores,
                "ds": "2023-05-03",
            }
            rows.append((row, defect))
        _lines(folder / "data" / f"{flores}.jsonl", rows)
    return folder


def subject_of(number: int, count: int) -> str:
    """The subject of a question of MMMLU; subjects follow one another in blocks, as upstream."""
    return SUBJECTS[number * len(SUBJECTS) // count]


def write_mmmlu(folder: Path, languages: Sequence[str], count: int, defects: Defects | None = None) -> Path:
    """openai/MMMLU: test/mmlu_XX-YY.csv with an unnamed index; `renumbered` counts on without the missing ones."""
    for lang in languages:
        path = folder / "test" / f"mmlu_{lang.upper()}-{MMMLU_REGIONS[lang]}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            of_lang = (defects or {}).get(lang, {})
            fifth = ["E"] if "five_choices" in of_lang.values() else []
            writer.writerow(["", "Question", *LETTERS, *fifth, "Answer", "Subject"])
            for number in range(count):
                defect = of_lang.get(number)
                question = put(lang, number, defect)
                text = (
                    f'{question.text}\n"{number}", {question.text}'
                    if number % 3 == 0 and question.text
                    else question.text
                )
                choices = [*question.choices, *("" for _ in range(4 + len(fifth) - len(question.choices)))]
                letter = "ABCDEFGH"[question.answer]
                row = [number, text, *choices, letter, subject_of(number, count)]
                if defect == "broken":
                    row = row[:4]
                for _ in range({"missing": 0, "repeated": 2}.get(str(defect), 1)):
                    writer.writerow(row)
    return folder


def write_english_mmlu(folder: Path, count: int, defects: Mapping[int, str] | None = None) -> Path:
    """cais/mmlu: all/test-00000-of-00001.parquet."""
    questions = [put("en", number, (defects or {}).get(number)) for number in range(count)]
    table = pa.table(
        {
            "question": [question.text for question in questions],
            "subject": [subject_of(number, count) for number in range(count)],
            "choices": [question.choices for question in questions],
            "answer": pa.array([question.answer for question in questions], pa.int64()),
        }
    )
    (folder / "all").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "all" / "test-00000-of-00001.parquet")
    return folder


def write_hellaswag(folder: Path, languages: Sequence[str], count: int, defects: Defects | None = None) -> Path:
    """alexandrainst/m_hellaswag: data/{lang}/val.jsonl; sources are of several questions, WikiHow's have mark-up."""
    for lang in languages:
        rows: list[tuple[dict[str, Any], str | None]] = []
        for number in range(count):
            defect = (defects or {}).get(lang, {}).get(number)
            question = put(lang, number, defect)
            wikihow = number % 2 == 1
            first = f"[header] {question.text} [title] {question.text}" if wikihow and question.text else question.text
            second = "" if wikihow else f"{question.choices[0].split()[0]} [step]  {lang}"
            row = {
                "ind": number * 3,
                "activity_label": f"{lang} label {number}",
                "ctx_a": first,
                "ctx_b": second,
                "ctx": f"{first} {second}".strip(),
                "endings": question.choices,
                "source_id": f"wikihow~{number // 2}" if wikihow else f"activitynet~v_{number // 4}",
                "split": "val",
                "split_type": "indomain",
                "label": str(question.answer),
            }
            rows.append((row, defect))
        _lines(folder / "data" / lang / "val.jsonl", rows)
    return folder


def write_sources(root: Path, languages: Sequence[str], count: int) -> dict[str, Path]:
    """All four data sets in folders of `root`, by what the rules call them; MMMLU in those of its languages."""
    return {
        "belebele": write_belebele(root / "belebele", languages, count),
        "mmmlu": write_mmmlu(root / "mmmlu", [lang for lang in languages if lang in MMMLU_REGIONS], count),
        "mmmlu-reference": write_english_mmlu(root / "mmmlu-reference", count),
        "hellaswag": write_hellaswag(root / "hellaswag", languages, count),
    }


def teach_letters(folder: Path) -> Path:
    """Give the byte-level BPE in a stand-in's folder single tokens for " A" to " D", in place of its last merges."""
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    vocabulary, merges = described["model"]["vocab"], described["model"]["merges"]
    for letter in LETTERS:
        merged = "".join(merges.pop(-len(LETTERS)))
        vocabulary[f"Ġ{letter}"] = vocabulary.pop(merged)
        merges.append(["Ġ", letter])
    path.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    return folder
