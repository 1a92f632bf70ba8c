"""Small data sets of lm-eval's tasks, in the format that each has on the Hub: tables, and the card's configurations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

Rows = list[dict[str, Any]]
THINGS = {
    "en": ["euro", "Swiss franc", "rupee", "yen"],
    "es": ["euro", "franco suizo", "rupia", "yen"],
    "hi": ["यूरो", "फ़्रैंक", "रुपया", "येन"],
    "sw": ["yuro", "faranga", "rupia", "yeni"],
    "id": ["euro", "franc Swiss", "rupee", "yen"],
    "ru": ["евро", "франк", "рупия", "иена"],
    "zh": ["欧元", "法郎", "卢比", "日元"],
}


def write_card(folder: Path, configs: Mapping[str, Any]) -> None:
    """README.md as the Hub has it: configurations in the head, `data_files` of each."""
    head = {"license": "cc", "configs": [{"config_name": name, "data_files": files} for name, files in configs.items()]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n# A data set\n", encoding="utf-8")


def write_rows(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def things(lang: str, number: int, count: int = 4) -> list[str]:
    """Choices, turned round by `number`."""
    names = THINGS[lang]
    return (names[number % 4 :] + names[: number % 4])[:count]


def belebele(folder: Path, languages: Mapping[str, str], count: int = 6) -> Path:
    """facebook/belebele: data/FLORES.jsonl, a configuration a language, a split called test."""
    write_card(folder, {code: [{"split": "test", "path": f"data/{code}.jsonl"}] for code in languages.values()})
    for lang, code in languages.items():
        rows = [
            {
                "link": f"https://en.wikinews.org/wiki/{number // 2}",
                "question_number": number % 2 + 1,
                "flores_passage": f"{THINGS[lang][0]} {number}.",
                "question": f" {THINGS[lang][1]} {number}? ",
                **{f"mc_answer{at + 1}": text for at, text in enumerate(things(lang, number))},
                "correct_answer_num": str(number * 3 % 4 + 1),
                "dialect": code,
                "ds": "2023-05-03",
            }
            for number in range(count)
        ]
        write_rows(folder / "data" / f"{code}.jsonl", rows)
    return folder


def global_mmlu(folder: Path, languages: Sequence[str], subjects: Sequence[str], count: int = 2) -> Path:
    """CohereForAI/Global-MMLU: LANG/SPLIT-00000-of-00001.parquet, all subjects in one table, splits test and dev."""
    splits = ("test", "dev")
    write_card(
        folder, {lang: [{"split": split, "path": f"{lang}/{split}-*"} for split in splits] for lang in languages}
    )
    for lang in languages:
        for split in splits:
            rows = [
                {
                    "sample_id": f"{subject}/{split}/{number}",
                    "subject": subject,
                    "subject_category": "STEM",
                    "question": f"{THINGS[lang][0]} {subject} {split} {number}? ",
                    **dict(zip(("option_a", "option_b", "option_c", "option_d"), things(lang, number), strict=True)),
                    "answer": "ABCD"[(number + len(subject)) % 4],
                }
                for subject in subjects
                for number in range(count)
            ]
            write_rows(folder / lang / f"{split}-00000-of-00001.parquet", rows)
    return folder


def xcopa(folder: Path, languages: Sequence[str], count: int = 6) -> Path:
    """cambridgeltl/xcopa: LANG/SPLIT-00000-of-00001.parquet, splits validation and test, ids the numbers in `idx`."""
    splits = ("validation", "test")
    write_card(
        folder, {lang: [{"split": split, "path": f"{lang}/{split}-*"} for split in splits] for lang in languages}
    )
    for lang in languages:
        for split in splits:
            rows = [
                {
                    "premise": f"{THINGS[lang][0].capitalize()} {split} {number}.",
                    "choice1": f"{things(lang, number)[0].capitalize()}.",
                    "choice2": f"{things(lang, number)[1].capitalize()} x.",
                    "question": ("cause", "effect")[number % 2],
                    "label": number // 2 % 2,
                    "idx": number,
                    "changed": False,
                }
                for number in range(count)
            ]
            write_rows(folder / lang / f"{split}-00000-of-00001.parquet", rows)
    return folder


def xstorycloze(folder: Path, languages: Sequence[str], count: int = 6) -> Path:
    """juletxara/xstory_cloze as the Hub's converted branch has it: LANG/SPLIT/0000.parquet and no card."""
    for lang in languages:
        for split in ("train", "eval"):
            rows = [
                {
                    "story_id": f"{split}-{number}",
                    **{f"input_sentence_{at}": f"{THINGS[lang][at % 4]} {number}." for at in range(1, 5)},
                    "sentence_quiz1": f"{things(lang, number)[0]}.",
                    "sentence_quiz2": f"{things(lang, number)[1]} {split}.",
                    "answer_right_ending": number % 2 + 1,
                }
                for number in range(count)
            ]
            write_rows(folder / lang / split / "0000.parquet", rows)
    return folder


def truthfulqa(folder: Path, count: int = 5) -> Path:
    """truthfulqa/truthful_qa: multiple_choice/validation-*.parquet, nested choices of several numbers, no ids."""
    write_card(
        folder, {"multiple_choice": [{"split": "validation", "path": "multiple_choice/validation-*"}], "generation": []}
    )
    rows = [
        {
            "question": f"What is {number}?",
            **{
                f"mc{kind}_targets": {
                    "choices": things("en", number, 2 + number % 3),
                    "labels": [1, *[0] * (1 + number % 3)],
                }
                for kind in (1, 2)
            },
        }
        for number in range(count)
    ]
    write_rows(folder / "multiple_choice" / "validation-00000-of-00001.parquet", rows)
    return folder
