"""Questions of the three tasks in the upstream files' schema, and the benchmark stage on them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config_sections import grouped
from isogloss.benchmarks.run import benchmark
from isogloss.config.measures import Compute
from isogloss.tables import read_table

LANGUAGES = ["en", "hi", "zh"]
ASK = {"en": "What is the currency of {}?", "hi": "{} की मुद्रा?", "zh": "{}的货币?"}
STATE = {"en": "The currency of {} is", "hi": "{} की मुद्रा", "zh": "{}的货币是"}
COINS = {
    "en": ["euro", "Swiss  franc", "rupee", "US dollar [note]", "yen"],
    "hi": ["यूरो", "फ़्रैंक", "रुपया", "डॉलर [नोट]", "येन"],
    "zh": ["欧元", "法郎", "卢比", "美元 [注]", "日元"],
}
ASKED_FILE = {"arc": "test", "hellaswag": "val", "mmlu": "test"}
Rows = list[dict[str, Any]]


def rows(task: str, lang: str, split: str, count: int) -> Rows:
    """Questions in the upstream schema; ids are not in file order, ARC has three to five options."""
    made: Rows = []
    for index in range(count):
        place = f"{split}{index:02d}"
        key = f"currency/{split}{index * 7 % count:02d}"
        coins = COINS[lang][index % 5 :] + COINS[lang][: index % 5]
        letters = {f"option_{letter}": coin for letter, coin in zip("abcd", coins, strict=False)}
        answer = "ABCD"[index * 3 % 4]
        if task == "hellaswag":
            context = STATE[lang].format(place)
            made.append(
                {
                    "ind": index,
                    "activity_label": "Money",
                    "ctx_a": context,
                    "ctx_b": "" if index % 2 else "[step] today",
                    "ctx": context,
                    "endings": coins[:4],
                    "source_id": key,
                    "split": split,
                    "split_type": "indomain",
                    "label": str(index * 3 % 4),
                }
            )
        elif task == "mmlu":
            made.append({"id": key, "instruction": ASK[lang].format(place) + " ", **letters, "answer": answer})
        else:
            fifth = coins[4] if index % 4 == 1 else ""
            if index % 4 == 2:
                letters["option_d"], answer = "", "B"
            made.append(
                {"id": key, "instruction": ASK[lang].format(place), **letters, "option_e": fifth, "answer": answer}
            )
    return made


def write(folder: Path, lang: str, split: str, content: Rows | str) -> None:
    path = folder / "data" / lang / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in content)
    path.write_text(text, encoding="utf-8")


def make_data(root: Path, count: int = 12, languages: list[str] = LANGUAGES) -> dict[str, str]:
    """Folders of the three tasks; HellaSwag without a train split, as upstream."""
    for task, asked in ASKED_FILE.items():
        for lang in languages:
            write(root / f"m_{task}", lang, asked, rows(task, lang, asked, count))
            if task != "hellaswag":
                write(root / f"m_{task}", lang, "train", rows(task, lang, "train", 5))
    return {task: str(root / f"m_{task}") for task in ASKED_FILE}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    logging.getLogger("lm_eval").setLevel(logging.NOTSET)


def run(lm: Path, data: dict[str, str], output: Path, lang: str = "hi", **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "adapter": None,
        "languages": dict.fromkeys(data, LANGUAGES),
        "shots": dict.fromkeys(data, 2),
        "questions": dict.fromkeys(data),
        "seed": 7,
        "token_budget": 4096,
        "metadata": {"study": "test"},
    }
    benchmark(lm=str(lm), data=data, outputs={lang: str(output)}, **grouped({**settings, **changes}, compute=Compute))
    return read_table(output)
