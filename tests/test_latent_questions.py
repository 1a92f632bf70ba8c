"""Parallel questions from stand-ins in the upstream formats: aligned by key, dropped for a reason, never in silence."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import run
from typing import Any

import polars as pl
import pytest
from lm_eval.tasks.okapi.hellaswag_multilingual.utils import process_docs

from isogloss.config.toy import World
from isogloss.errors import IsoglossError
from isogloss.languages import language_table
from isogloss.latent.prompts import load_template, render
from isogloss.sources.okapi import first_by_hash
from isogloss.sources.parallel_questions import ParallelQuestion, parallel_questions, read_questions
from isogloss.sources.question_sets import read_upstream
from isogloss.sources.world.world import build_world
from isogloss.tables import read_table, table_metadata
from standin_latent import Defects, put, subject_of, write_belebele, write_english_mmlu, write_hellaswag, write_mmmlu

LANGUAGES = ["en", "es", "zh", "hi"]
COUNT = 24


def flores(languages: Sequence[str]) -> dict[str, str]:
    return {lang: language_table()[lang].flores for lang in languages}


def write(
    task: str, root: Path, languages: Sequence[str] = LANGUAGES, defects: Defects | None = None
) -> dict[str, Any]:
    """A stand-in of `task`, as arguments."""
    defects, english = defects or {}, None
    if task == "belebele":
        data = write_belebele(root, languages, COUNT, defects)
    elif task == "hellaswag":
        data = write_hellaswag(root, languages, COUNT, defects)
    else:
        english = str(write_english_mmlu(root / "english", COUNT, defects.get("en")))
        data = write_mmmlu(root / "mmmlu", [lang for lang in languages if lang != "en"], COUNT, defects)
    return {"task": task, "layout": task, "data": str(data), "reference_data": english}


@pytest.fixture
def aligned(tmp_path: Path) -> Callable[..., Path]:
    """Writes a stand-in and lines it up; the table."""

    def make(task: str, defects: Defects | None = None, **changed: Any) -> Path:
        output = tmp_path / f"{task}.parquet"
        arguments: dict[str, Any] = {
            **write(task, tmp_path / task, defects=defects),
            **{"languages": LANGUAGES, "reference": "en", "questions": None, "held_out": 5, "seed": 0},
            **{"output": str(output), "metadata": {}},
        }
        arguments |= changed
        parallel_questions(**(arguments | {"languages": flores(arguments["languages"])}))
        return output

    return make


def key(task: str, number: int) -> str:
    """The id of question `number` of a stand-in."""
    return {
        "belebele": f"https://en.wikinews.org/wiki/Article_{number // 2}#{number % 2 + 1}",
        "mmmlu": f"{subject_of(number, COUNT)}/{number}",
        "hellaswag": str(number * 3),
    }[task]


@pytest.mark.parametrize("task", ["belebele", "mmmlu", "hellaswag"])
def test_every_language_has_the_same_questions_in_the_same_order_and_its_own_texts(task: str, aligned: Any):
    path = aligned(task)
    numbers = {key(task, number): number for number in range(COUNT)}
    by_lang = {lang: read_questions(str(path), lang) for lang in LANGUAGES}
    common = [(asked.question, asked.answer, asked.held_out) for asked in by_lang["en"]]
    assert {question for question, _, _ in common} == set(numbers)
    for lang, questions in by_lang.items():
        assert [(asked.question, asked.answer, asked.held_out) for asked in questions] == common
        for question in questions:
            wanted = put(lang, numbers[question.question])
            assert (question.answer, question.choices) == (wanted.answer, wanted.choices)
            assert wanted.text in question.text
            assert question.passage == (wanted.passage if task == "belebele" else None) or task == "hellaswag"
    assert table_metadata(path)["dropped"] == {}


def test_the_order_is_that_of_the_references_file(aligned: Any, tmp_path: Path):
    path = aligned("belebele")
    lines = (tmp_path / "belebele/data/eng_Latn.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    wanted = [f"{row['link']}#{row['question_number']}" for row in rows]
    assert [question.question for question in read_questions(str(path), "hi")] == wanted
    assert [row["link"] for row in rows] != sorted(row["link"] for row in rows)


@pytest.mark.parametrize("task", ["belebele", "mmmlu", "hellaswag"])
def test_a_question_lacking_or_answered_otherwise_in_one_language_is_dropped_in_all_and_counted(
    task: str, aligned: Any, caplog: pytest.LogCaptureFixture
):
    defects = {"es": {3: "missing", 4: "other_answer"}, "zh": {3: "missing", 7: "missing"}, "hi": {9: "other_answer"}}
    if task != "mmmlu":
        defects["en"] = {11: "missing"}
    with caplog.at_level(logging.WARNING):
        path = aligned(task, defects)
    gone = {3, 4, 7, 9} | ({11} if task != "mmmlu" else set())
    for lang in LANGUAGES:
        questions = [row.question for row in read_questions(str(path), lang)]
        assert set(questions) == {key(task, number) for number in set(range(COUNT)) - gone}
    assert table_metadata(path)["dropped"] == {"answer_differs": 2, "lacking": len(gone) - 2}
    assert f"{len(gone)} of {COUNT} questions dropped in every language: " in caplog.text


@pytest.mark.parametrize("task", ["belebele", "mmmlu"])
def test_a_question_that_cannot_be_asked_in_one_language_is_dropped_for_what_is_wrong(task: str, aligned: Any):
    defects = {
        "es": {1: "empty_choice", 2: "five_choices"},
        "zh": {1: "empty_choice", 5: "no_answer"},
        "hi": {8: "empty_text"},
    }
    path = aligned(task, defects | {"en": {12: "empty_choice", 13: "five_choices"}})
    assert {row.question for row in read_questions(str(path), "en")} == {
        key(task, number) for number in set(range(COUNT)) - {1, 2, 5, 8, 12, 13}
    }
    counts = {"empty_choice": 2, "not_four_choices": 2, "no_answer": 1, "empty_text": 1}
    assert table_metadata(path)["dropped"] == counts


def test_hellaswags_five_endings_are_dropped_and_an_empty_one_is_a_clear_line(aligned: Any):
    path = aligned("hellaswag", {"es": {1: "five_choices"}})
    assert table_metadata(path)["dropped"] == {"not_four_choices": 1}
    with pytest.raises(IsoglossError, match=r"es/val\.jsonl, line 3: choice C is empty; mend or delete the line"):
        aligned("hellaswag", {"es": {2: "empty_choice"}})


@pytest.mark.parametrize("task", ["belebele", "mmmlu", "hellaswag"])
def test_a_repeated_question_and_a_broken_row_are_one_line_that_names_file_and_line(task: str, aligned: Any):
    file = {"belebele": r"spa_Latn\.jsonl", "mmmlu": r"mmlu_ES-LA\.csv", "hellaswag": r"es/val\.jsonl"}[task]
    with pytest.raises(IsoglossError, match=rf"{file}, line \d+: .* a second time; an id must be unique in its file"):
        aligned(task, {"es": {4: "repeated"}})
    broken = r"4 columns, the header has 8; mend or delete" if task == "mmmlu" else "not valid JSON"
    with pytest.raises(IsoglossError, match=rf"{file}, line \d+: {broken}") as caught:
        aligned(task, {"es": {4: "broken"}})
    assert "\n" not in str(caught.value)


def test_the_line_of_a_broken_csv_row_counts_line_breaks_within_rows(aligned: Any, tmp_path: Path):
    with pytest.raises(IsoglossError, match=r"line (\d+)") as caught:
        aligned("mmmlu", {"es": {4: "broken"}})
    line = int(str(caught.value).split("line ")[1].split(":")[0])
    text = (tmp_path / "mmmlu/mmmlu/test/mmlu_ES-LA.csv").read_text(encoding="utf-8").splitlines()
    assert text[line - 1].startswith("4,")


def test_an_unclosed_quote_and_foreign_bytes_are_one_line(aligned: Any, tmp_path: Path):
    arguments = write("mmmlu", tmp_path / "mmmlu")
    path = tmp_path / "mmmlu/mmmlu/test/mmlu_ZH-CN.csv"
    whole = path.read_bytes()
    path.write_bytes(whole + b'24,"never closed\n')
    with pytest.raises(IsoglossError, match=r"mmlu_ZH-CN\.csv, line \d+: broken CSV \(unexpected end of data\)"):
        list(read_upstream("mmmlu", arguments["data"], arguments["reference_data"], "zh", "zho_Hans"))
    path.write_bytes(whole + b"\xff\xfe\n")
    with pytest.raises(IsoglossError, match=r"mmlu_ZH-CN\.csv, after line \d+: not UTF-8 \(byte 0xff\)"):
        list(read_upstream("mmmlu", arguments["data"], arguments["reference_data"], "zh", "zho_Hans"))


def test_a_language_whose_rows_are_numbered_anew_after_a_gap_is_found_out(aligned: Any, tmp_path: Path):
    arguments = write("mmmlu", tmp_path / "other")
    path = tmp_path / "other/mmmlu/test/mmlu_ES-LA.csv"
    lines = [line for line in path.read_bytes().decode().split("\r\n") if line]
    kept = [line.split(",", 1)[1] for number, line in enumerate(lines[1:]) if number != 1]
    path.write_text(
        "\r\n".join([lines[0], *(f"{number},{line}" for number, line in enumerate(kept))]), encoding="utf-8"
    )
    with pytest.raises(IsoglossError, match=r"of mmmlu have another answer in es than in the reference"):
        aligned("mmmlu", data=arguments["data"], reference_data=arguments["reference_data"])


def test_a_subject_that_is_out_of_step_is_left_out_whole(aligned: Any, caplog: pytest.LogCaptureFixture):
    first = [number for number in range(COUNT) if subject_of(number, COUNT) == "anatomy"]
    with caplog.at_level(logging.WARNING):
        path = aligned("mmmlu", {"hi": dict.fromkeys(first[:4], "other_answer")})
    assert table_metadata(path)["dropped"] == {"out_of_step": len(first)}
    assert "mmmlu in hi: answers mostly differ in anatomy; left out" in caplog.text
    assert not any(question.question.startswith("anatomy") for question in read_questions(str(path), "en"))


def test_a_language_with_no_question_left_is_named(aligned: Any, tmp_path: Path):
    with pytest.raises(
        IsoglossError, match=r"belebele in zh has no question\(s\) in common with en .*, of 0 and 24; give"
    ):
        aligned("belebele", {"zh": dict.fromkeys(range(COUNT), "missing")})
    with pytest.raises(IsoglossError, match=r"npi_Deva\.jsonl: no such file; belebele needs it in every language"):
        aligned("belebele", languages=["en", "ne"])
    with pytest.raises(IsoglossError, match=r"needs one test/mmlu_DE-\*\.csv, there is mmlu_ES-LA\.csv, "):
        aligned("mmmlu", languages=["en", "de"])
    with pytest.raises(IsoglossError, match=r"needs one test/mmlu_EN-\*\.csv, .*English is in cais/mmlu"):
        aligned("mmmlu", reference_data=None)
    with pytest.raises(IsoglossError, match=r"the reference de is not among its languages, en, es, zh, hi"):
        aligned("hellaswag", reference="de")
    thirds = {
        lang: dict.fromkeys([n for n in range(COUNT) if n % 3 != remainder], "missing")
        for remainder, lang in enumerate(("es", "zh"))
    }
    with pytest.raises(
        IsoglossError, match=r"0 questions of belebele in all of en, es, zh, hi, of which latent.held_out takes 5"
    ):
        aligned("belebele", thirds)
    assert not (tmp_path / "belebele.parquet").exists()


def test_the_sample_is_the_first_by_hash_and_what_is_held_out_depends_on_the_seed_alone(aligned: Any):
    every = [question.question for question in read_questions(str(aligned("belebele", held_out=0)), "en")]
    few = read_questions(str(aligned("belebele", questions=12, held_out=4)), "en")
    assert [question.question for question in few] == [every[index] for index in first_by_hash(every, 12)]
    marked = {question.question for question in few if question.held_out}
    assert len(marked) == 4
    again = read_questions(str(aligned("belebele", questions=12, held_out=4)), "hi")
    assert {question.question for question in again if question.held_out} == marked
    other = read_questions(str(aligned("belebele", questions=12, held_out=4, seed=1)), "en")
    assert {question.question for question in other if question.held_out} != marked
    with pytest.raises(IsoglossError, match=r"12 questions of belebele .* of which latent.held_out takes 12"):
        aligned("belebele", questions=12, held_out=12)


def test_a_language_is_read_without_the_others(aligned: Any, monkeypatch: pytest.MonkeyPatch):
    import isogloss.sources.parallel_questions as module

    monkeypatch.setattr(module, "_ROWS", 10)
    path = str(aligned("belebele"))
    frame = read_table(path)
    assert frame["lang"].unique(maintain_order=True).to_list() == LANGUAGES
    wanted = frame.filter(pl.col("lang") == "zh").drop("lang")
    assert [question._asdict() for question in read_questions(path, "zh")] == wanted.to_dicts()
    with pytest.raises(IsoglossError, match=r"no questions in de, only in en, es, zh, hi"):
        read_questions(path, "de")


def test_a_cloze_of_hellaswag_is_lm_evals_prompt_and_its_letters_ask_the_context_alone(tmp_path: Path):
    arguments = write("hellaswag", tmp_path)
    for lang in LANGUAGES:
        lines = (tmp_path / "data" / lang / "val.jsonl").read_text(encoding="utf-8").splitlines()

        class Rows(list):
            def map(self, function: Any) -> list[Any]:
                return [function(row) for row in self]

        documents: Any = process_docs(Rows(json.loads(line) for line in lines))  # pyright: ignore[reportArgumentType]
        questions = list(read_upstream("hellaswag", arguments["data"], None, lang, language_table()[lang].flores))
        for document, question in zip(documents, questions, strict=True):
            asked = ParallelQuestion(
                question.question, question.passage, question.text, question.choices, question.answer, False
            )
            assert render(load_template("hellaswag", "cloze", "en"), asked) == document["query"].strip()
            assert question.choices == [choice.strip() for choice in document["choices"]]
            assert question.answer == document["gold"]
            assert str(question.passage) not in question.text


def test_questions_of_the_toy_world_are_called_by_their_facts(tmp_path: Path):
    build_world(
        folder=str(tmp_path / "world"),
        world=World(
            languages=["en", "es"],
            territories=40,
            english_only=0.25,
            untaught=0.125,
            repeats={"statement": 1},
            bilingual=0.0,
        ),
        reference="en",
        seed=0,
        metadata={},
    )
    output = tmp_path / "hellaswag.parquet"
    parallel_questions(
        task="hellaswag",
        layout="hellaswag",
        data=str(tmp_path / "world/benchmarks/m_hellaswag"),
        reference_data=None,
        languages=flores(["en", "es"]),
        reference="en",
        questions=None,
        held_out=4,
        seed=0,
        output=str(output),
        metadata={},
    )
    facts = read_table(tmp_path / "world/facts.parquet").filter(pl.col("split") == "test")
    questions = read_questions(str(output), "es")
    assert {question.question for question in questions} == set(facts["fact"])
    assert all(len(question.choices) == 4 for question in questions)


def test_reading_questions_and_prompts_imports_no_table_library():
    code = (
        "import sys, isogloss.latent.prompts; print([m for m in ('polars', 'pyarrow', 'sae_lens') if m in sys.modules])"
    )
    folder = Path(__file__).parents[1] / "workflow" / "scripts"
    done = run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(folder)}, check=True
    )
    assert done.stdout.strip() == "[]"
