"""Which questions and examples the benchmark stage asks, in which words, and which it refuses."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from benchmark_data import (
    ASKED_FILE,
    COINS,
    LANGUAGES,
    Rows,
    _quiet,  # noqa: F401
    make_data,
    rows,
    run,
    write,
)
from isogloss.benchmarks.tasks import okapi_task, task_config
from isogloss.errors import IsoglossError
from isogloss.sources.okapi import first_by_hash
from isogloss.tables import table_metadata


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_data(tmp_path_factory.mktemp("world"))


def test_ids_are_those_of_all_languages_in_order(lm_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    for task in data:  # Hindi lacks the second question of the file, Chinese has one more and another order
        asked = ASKED_FILE[task]
        write(Path(data[task]), "hi", asked, rows(task, "hi", asked, 12)[:1] + rows(task, "hi", asked, 12)[2:])
        more = rows(task, "zh", "other", 1)
        if task == "hellaswag":
            more[0]["ind"] = 99
        write(Path(data[task]), "zh", asked, more + rows(task, "zh", asked, 12)[::-1])
    tables = {lang: run(lm_folder, data, tmp_path / f"{lang}.parquet", lang=lang) for lang in LANGUAGES}
    for task in data:
        asked = ASKED_FILE[task]
        expected = [f"currency/{asked}{n:02d}" for n in range(12) if n != 7]
        for table in tables.values():
            part = table.filter(table["task"] == task)
            assert part["question"].to_list() == expected
            assert part["answer"].to_list() == tables["en"].filter(tables["en"]["task"] == task)["answer"].to_list()
    assert tables["en"]["task"].unique(maintain_order=True).to_list() == ["arc", "hellaswag", "mmlu"]
    dropped = table_metadata(tmp_path / "en.parquet")["dropped"]
    assert dropped == {"arc": {"test": 2, "train": 0}, "hellaswag": {"val": 2}, "mmlu": {"test": 2, "train": 0}}
    few = run(lm_folder, data, tmp_path / "few.parquet", lang="zh", questions={"arc": 3, "hellaswag": None, "mmlu": 4})
    for task, count in (("arc", 3), ("mmlu", 4)):
        shared = [f"currency/test{n:02d}" for n in range(12) if n != 7]
        first = sorted(shared, key=lambda name: hashlib.blake2b(name.encode()).hexdigest())[:count]
        assert few.filter(few["task"] == task)["question"].to_list() == sorted(first)
    assert few.filter(few["task"] == "hellaswag").height == 11


def upstream(task: str, lang: str, numbers: list[int]) -> Rows:
    """Rows with the fields and ids of alexandrainst's data; HellaSwag's source_id is shared by many questions."""
    source = rows(task, lang, "test", 12)
    made: Rows = []
    for number in numbers:
        row = source[number % 12]
        if task == "arc":
            row = {**row, "id": f"ARC-Challenge/test/Mercury_{7029645 + number}"}
        elif task == "mmlu":
            row = {**row, "id": f"{('abstract_algebra', 'virology')[number % 2]}/test/{number}"}
        else:
            row = {
                **row,
                "id": f"hellaswag/validation/{number}",
                "ind": 24 + 7 * number,
                "source_id": "wikihow~10920" if lang == "en" else f"wikihow~{number // 3}",
                "split": "val",
                "split_type": "zeroshot",
                "label": row["label"],
            }
        made.append(row)
    return made


def test_languages_with_fewer_or_other_questions_of_the_upstream_data_share_the_rest(
    lm_folder: Path, tmp_path: Path
) -> None:
    kept = {"en": list(range(12)), "hi": [0, 1, 2, 4, 5, 6, 7, 8, 9, 10], "zh": [11, 10, 9, 8, 7, 6, 5, 4, 3, 0, 12]}
    data = {task: str(tmp_path / f"m_{task}") for task in ASKED_FILE}
    for task, asked in ASKED_FILE.items():
        for lang, numbers in kept.items():
            write(Path(data[task]), lang, asked, upstream(task, lang, numbers))
            if task != "hellaswag":
                write(Path(data[task]), lang, "train", rows(task, lang, "train", 5))
    shared = [0, 4, 5, 6, 7, 8, 9, 10]
    lost = 13 - len(shared)
    tables = {lang: run(lm_folder, data, tmp_path / f"{lang}.parquet", lang=lang) for lang in LANGUAGES}
    few = {
        lang: run(lm_folder, data, tmp_path / "few.parquet", lang=lang, questions=dict.fromkeys(data, 3))
        for lang in LANGUAGES
    }
    for lang, table in tables.items():
        for task in data:
            names = table.filter(table["task"] == task)["question"].to_list()
            assert names == sorted(row["id"] for row in upstream(task, "en", shared))
            asked = few[lang].filter(few[lang]["task"] == task)["question"].to_list()
            assert asked == few["en"].filter(few["en"]["task"] == task)["question"].to_list()
        dropped = table_metadata(tmp_path / f"{lang}.parquet")["dropped"]
        assert dropped == {
            "arc": {"test": lost, "train": 0},
            "hellaswag": {"val": lost},
            "mmlu": {"test": lost, "train": 0},
        }


def test_endings_given_in_two_languages_are_read_in_their_files_own(tmp_path: Path) -> None:
    folder = Path(make_data(tmp_path)["hellaswag"])
    both = upstream("hellaswag", "zh", [0, 1, 2])
    plain = [row["endings"] for row in both]
    english = upstream("hellaswag", "en", [1])[0]["endings"]
    both[1]["endings"] = [{"zh": zh, "en": en} for zh, en in zip(both[1]["endings"], english, strict=True)]
    write(folder, "zh", "val", both)
    write(folder, "en", "val", upstream("hellaswag", "en", [0, 1, 2]))
    made = okapi_task("hellaswag", folder, "zh", ["en", "zh"], shots=0, seed=0)
    assert list(made.parts[0].task.dataset["val"]["endings"]) == plain
    del both[1]["endings"][2]["zh"]
    write(folder, "zh", "val", both)
    with pytest.raises(IsoglossError, match=r"zh/val.jsonl, line 2: choice C is empty"):
        okapi_task("hellaswag", folder, "zh", ["en", "zh"], shots=0, seed=0)


def test_questions_that_lm_eval_alters_are_counted(lm_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    for task in ("arc", "hellaswag"):
        written = rows(task, "hi", ASKED_FILE[task], 12)
        for row in written:
            coins = [coin.replace(" [नोट]", " ") for coin in COINS["hi"]]
            if task == "arc":
                row.update(
                    {f"option_{x}": coin for x, coin in zip("abcd", coins, strict=False)}, option_e="", answer="A"
                )
            else:
                row.update(endings=coins[:4], ctx_b="")
        if task == "arc":
            written[1]["instruction"] += " [Aa]"
            written[4]["option_c"] = "[H+] आयन"
            written[6]["instruction"] = "  " + written[6]["instruction"] + " "
            written[7]["option_b"] = "दो  शब्द"
            written[9]["option_b"] = "क [title] ख"
        else:
            written[2]["ctx_a"] += " [header]"
            written[8]["endings"][3] += " [step] अब"
        write(Path(data[task]), "hi", ASKED_FILE[task], written)
    ids = {task: okapi_task(task, data[task], "hi", LANGUAGES, shots=1, seed=0) for task in data}
    assert ids["mmlu"].altered == frozenset()
    for task, numbers in (("arc", [1, 4, 7, 9]), ("hellaswag", [2, 8])):
        questions = rows(task, "hi", ASKED_FILE[task], 12)
        assert ids[task].altered == {
            questions[number].get("id") or questions[number]["source_id"] for number in numbers
        }
    run(lm_folder, data, tmp_path / "hi.parquet")
    assert table_metadata(tmp_path / "hi.parquet")["altered"] == {"arc": 4, "hellaswag": 2, "mmlu": 0}
    few = run(lm_folder, data, tmp_path / "few.parquet", questions={"arc": 5, "hellaswag": 5, "mmlu": 5})
    counted = table_metadata(tmp_path / "few.parquet")["altered"]
    for task in data:
        assert counted[task] == len(set(few.filter(few["task"] == task)["question"]) & ids[task].altered)


def test_few_questions_are_of_every_kind_and_the_same_in_any_order() -> None:
    kinds = {"continent": 80, "currency": 64, "language": 77, "script": 101}
    ids = [f"{kind}/{n}" for kind, count in kinds.items() for n in range(count)]
    chosen = [ids[at] for at in first_by_hash(ids, 100)]
    assert chosen == [name for name in ids if name in set(chosen)]
    for kind, count in kinds.items():
        assert sum(name.startswith(kind) for name in chosen) == pytest.approx(100 * count / 322, abs=12)
    backwards = ids[::-1]
    assert {backwards[at] for at in first_by_hash(backwards, 100)} == set(chosen)
    assert {ids[at] for at in first_by_hash(ids, 40)} < set(chosen)
    assert first_by_hash(ids, None) == list(range(322))


@pytest.mark.parametrize("task", ["arc", "hellaswag", "mmlu"])
def test_examples_are_the_same_in_every_language_and_never_the_question(task: str, data: dict[str, str]) -> None:
    shown = {}
    for lang in LANGUAGES:
        made = okapi_task(task, data[task], lang, LANGUAGES, shots=3, seed=5).parts[0].task
        made.build_all_requests(limit=None)
        contexts = dict.fromkeys(instance.args[0] for instance in made.instances)
        shown[lang] = [re.findall(r"(?:train|test|val)\d\d", context) for context in contexts]
    assert shown["en"] == shown["hi"] == shown["zh"]
    assert len(shown["en"]) == 12
    for *examples, question in shown["en"]:
        assert len(examples) == 3
        assert question not in examples
    if task == "mmlu":
        assert {example for *examples, _ in shown["en"] for example in examples} == {"train00", "train01", "train02"}
    else:
        assert len({tuple(examples) for *examples, _ in shown["en"]}) > 1


@pytest.mark.parametrize(("task", "lang"), [("hellaswag", "zh"), ("hellaswag", "en"), ("arc", "en")])
def test_languages_that_lm_eval_lacks_get_a_siblings_definition(task: str, lang: str) -> None:
    config, origin = task_config(task, lang)
    sibling, _ = task_config(task, "hi")
    assert origin == f"{task}_es"
    assert (config.pop("task"), config.pop("dataset_name")) == (f"{task}_{lang}", lang)
    assert (sibling.pop("task"), sibling.pop("dataset_name")) == (f"{task}_hi", "hi")
    assert config == sibling


def test_every_language_has_lm_evals_own_definition_where_it_exists() -> None:
    own = {
        task: {lang for lang in ("en", "zh", "ml", "hi") if task_config(task, lang)[1].endswith(f"_{lang}")}
        for task in ASKED_FILE
    }
    assert own == {"arc": {"zh", "ml", "hi"}, "hellaswag": {"ml", "hi"}, "mmlu": {"en", "zh", "ml", "hi"}}


def test_choice_that_stock_processing_empties_is_dropped_everywhere(lm_folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "world")
    broken = rows("arc", "hi", "test", 12)
    broken[0]["option_b"] = "[x]"
    write(Path(data["arc"]), "hi", "test", broken)
    table = run(lm_folder, {"arc": data["arc"]}, tmp_path / "o.parquet", lang="en")
    assert table.height == 11
    assert "currency/test00" not in table["question"].to_list()
    assert table_metadata(tmp_path / "o.parquet")["dropped"]["arc"]["test"] == 1


BAD_LINES = [
    ("arc", {"option_b": ""}, r"hi/test.jsonl, line 3: choice B is empty"),
    ("arc", {"option_b": " "}, r"line 3: choice B is empty"),
    ("arc", {"answer": "E"}, r"line 3: answer 'E' is none of the 3 choices"),
    ("arc", {"answer": "AB"}, r"line 3: answer 'AB' is none"),
    ("arc", {"option_b": "", "option_c": "", "option_d": ""}, r"line 3: 1 choice\(s\)"),
    ("arc", {"instruction": None}, r"line 3: 'instruction' is None, not a text"),
    ("arc", {"id": None}, r"line 3: no 'id'"),
    ("mmlu", {"option_d": ""}, r"line 3: choice D is empty"),
    ("mmlu", {"option_d": 5}, r"line 3: 'choice D' is 5, not a text"),
    ("mmlu", {"id": "currency/test00"}, r"line 3: id 'currency/test00' a second time"),
    ("hellaswag", {"endings": ["a", "b", "", "d"]}, r"hi/val.jsonl, line 3: choice C is empty"),
    ("hellaswag", {"label": ""}, r"line 3: answer '' is none of the 4 choices"),
    ("hellaswag", {"endings": "abcd"}, r"line 3: 0 choice\(s\)"),
]


@pytest.mark.parametrize(("task", "change", "message"), BAD_LINES)
def test_bad_questions_are_named_by_file_and_line(
    task: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = Path(make_data(tmp_path)[task])
    broken = rows(task, "hi", ASKED_FILE[task], 12)
    broken[2].update(change)
    write(folder, "hi", ASKED_FILE[task], broken)
    with pytest.raises(IsoglossError, match=message) as error:
        okapi_task(task, folder, "en", LANGUAGES, shots=2, seed=0)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    def refused(task: str, **changes: Any) -> str:
        settings: dict[str, Any] = {"lang": "en", "languages": LANGUAGES, "shots": 2, "seed": 0, **changes}
        with pytest.raises(IsoglossError) as error:
            okapi_task(task, tmp_path / f"m_{task}", **settings)
        return str(error.value)

    make_data(tmp_path)
    assert "ru/test.jsonl: no such file" in refused("arc", languages=[*LANGUAGES, "ru"])
    assert "ru is not among the languages" in refused("arc", lang="ru")
    assert "6 shots, but train.jsonl has 5" in refused("arc", shots=6)
    assert "12 shots, but val.jsonl has 11" in refused("hellaswag", shots=12)
    write(tmp_path / "m_hellaswag", "hi", "train", rows("hellaswag", "hi", "train", 5))
    assert "en, zh without train.jsonl" in refused("hellaswag")
    write(tmp_path / "m_mmlu", "zh", "train", '{"id": "a"}\n{"id": \n')
    assert "zh/train.jsonl, line 1: 'instruction'" in refused("mmlu")
    write(tmp_path / "m_mmlu", "zh", "train", '{"id": \n')
    assert "zh/train.jsonl, line 1: not valid JSON" in refused("mmlu")
    write(tmp_path / "m_mmlu", "zh", "train", "[1]\n")
    assert "zh/train.jsonl, line 1: not a JSON object" in refused("mmlu")
    write(tmp_path / "m_arc", "zh", "test", rows("arc", "zh", "foreign", 3))
    assert "no test question of arc has the same id in all of en, hi, zh" in refused("arc")
