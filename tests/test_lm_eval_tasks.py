"""lm-eval's tasks by name: documents fetched from upstream formats, asked offline, held against stock lm-eval."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import standin_tasks
from config_sections import grouped
from isogloss.benchmarks.run import benchmark
from isogloss.benchmarks.tasks import lm_eval_task
from isogloss.config.measures import Compute
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.latent.prompts import load_template, render
from isogloss.sources.lm_eval_data import _index, _tasks, fetch_tasks
from isogloss.sources.lm_eval_tasks import listed, local_parts
from isogloss.sources.okapi import first_by_hash
from isogloss.sources.parallel_questions import parallel_questions, read_questions
from isogloss.sources.task_registry import task_files
from isogloss.tables import read_table, table_metadata
from standins import tiny_gemma2

FLORES = {"en": "eng_Latn", "hi": "hin_Deva"}
SUBJECTS = ("anatomy", "virology")


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with room for TruthfulQA's six examples."""
    folder = tiny_gemma2(tmp_path_factory.mktemp("lm"), layers=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    yield
    logging.getLogger("lm_eval").setLevel(logging.NOTSET)


def fetched(folder: Path, data: Path, names: Mapping[str, str], id_column: str | None = None) -> Path:
    fetch_tasks(names=names, source=Source(folder=str(data)), id_column=id_column, output=str(folder))
    return folder


def asked(
    lm: Path, folder: Path, lang: str, *, shots: int = 0, questions: int | None = None, name: str = "mine"
) -> Any:
    output = folder.parent / f"{folder.name}-{lang}.parquet"
    settings: dict[str, Any] = {
        "lm": str(lm), "adapter": None, "data": {name: str(folder)}, "outputs": {lang: str(output)},
        "languages": {name: list(listed(folder).languages)}, "shots": {name: shots}, "questions": {name: questions},
        "seed": 7, "token_budget": 4096, "metadata": {},
    }  # fmt: skip
    benchmark(**grouped(settings, compute=Compute))
    return read_table(output), table_metadata(output)


def stock(lm: Path, task: str, data: Path, cache: Path, *, shots: int = 0) -> Any:
    """Stock lm-eval on its own definition of the task, with nothing but the place of the data set exchanged."""
    config = load_yaml(task_files()[task])
    config.pop("tag", None)
    config.update(dataset_path=str(data), dataset_kwargs={"cache_dir": str(cache)})
    model = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(lm, dtype=torch.float32).eval(),
        tokenizer=AutoTokenizer.from_pretrained(lm),
        batch_size=4,
    )
    result: Any = lm_eval.simple_evaluate(
        model,
        tasks=[config],
        num_fewshot=shots,
        bootstrap_iters=0,
        fewshot_random_seed=7,
        task_manager=TaskManager(include_defaults=False),
    )
    return result["results"][task], result["samples"][task]


CASES = {  # the set's name by language, what writes it, shots, lm-eval's task in one language
    "belebele": ({lang: f"belebele_{code}" for lang, code in FLORES.items()}, "hi", 2),
    "global_mmlu_full": ({lang: f"global_mmlu_full_{lang}_anatomy" for lang in ("en", "sw")}, "sw", 2),
    "xcopa": ({lang: f"xcopa_{lang}" for lang in ("id", "zh")}, "id", 2),
    "xstorycloze": ({lang: f"xstorycloze_{lang}" for lang in ("en", "ru")}, "ru", 1),
    "truthfulqa_mc1": ({"en": "truthfulqa_mc1"}, "en", 0),
}


def write(case: str, folder: Path) -> Path:
    if case == "belebele":
        return standin_tasks.belebele(folder, FLORES)
    if case == "global_mmlu_full":
        return standin_tasks.global_mmlu(folder, ["en", "sw"], SUBJECTS, count=4)
    if case == "xcopa":
        return standin_tasks.xcopa(folder, ["id", "zh"])
    if case == "xstorycloze":
        return standin_tasks.xstorycloze(folder, ["en", "ru"])
    return standin_tasks.truthfulqa(folder)


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_stock_lm_eval(case: str, lm: Path, tmp_path: Path):
    names, lang, shots = CASES[case]
    data = write(case, tmp_path / "data")
    folder = fetched(tmp_path / "fetched", data, names)
    table, about = asked(lm, folder, lang, shots=shots)
    if case == "xstorycloze":  # stock lm-eval finds splits by a card only
        splits = [{"split": split, "path": f"ru/{split}/*.parquet"} for split in ("train", "eval")]
        standin_tasks.write_card(data, {"ru": splits})
    results, samples = stock(lm, names[lang], data, tmp_path / "cache", shots=shots)
    assert len(samples) == len(table) >= 4
    for sample, row in zip(samples, table.to_dicts(), strict=True):  # ids are in the order of the documents
        expected = [value for value, _ in sample["filtered_resps"]]
        assert row["log_likelihoods"] == pytest.approx(expected, abs=1e-4)
        assert row["acc"] == sample["acc"]
        gold = sample["target"]
        assert row["answer"] == ("ABCD".index(gold) if gold in ("A", "B", "C", "D") else int(gold))
    assert table["acc"].mean() == pytest.approx(results["acc,none"])
    if "acc_norm,none" in results:
        assert table["acc_norm"].mean() == pytest.approx(results["acc_norm,none"])
    assert about["parallel"] == {"mine": case != "truthfulqa_mc1"}
    assert about["derived_from"] == {"mine": names[lang]}


def test_a_folder_of_ones_own_needs_no_card(lm: Path, tmp_path: Path):
    """Without README.md a file that is called as the configuration is its test split."""
    names = {lang: f"belebele_{code}" for lang, code in FLORES.items()}
    data = standin_tasks.belebele(tmp_path / "data", FLORES)
    with_card = fetched(tmp_path / "with", data, names)
    (data / "README.md").unlink()
    without = fetched(tmp_path / "without", data, names)
    assert read_table(without / "hi/0/test.parquet").equals(read_table(with_card / "hi/0/test.parquet"))


def test_a_group_is_all_questions_of_its_tasks_and_its_sample_the_first_by_hash(lm: Path, tmp_path: Path):
    names = {lang: f"global_mmlu_full_{lang}" for lang in ("en", "sw")}
    every = [task.name.removeprefix("global_mmlu_full_sw_") for task in _tasks(_index(), names["sw"])]
    assert len(set(every)) == 57
    data = standin_tasks.global_mmlu(tmp_path / "data", ["en", "sw"], every, count=1)
    folder = fetched(tmp_path / "fetched", data, names)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")) == [
        f"{lang}/0/{split}.parquet" for lang in ("en", "sw") for split in ("dev", "test")
    ]  # once, however many tasks
    table, about = asked(lm, folder, "sw", shots=1)
    assert table["question"].to_list() == sorted(f"{subject}/test/0" for subject in every)
    assert about["parallel"] == {"mine": True}
    _, samples = stock(lm, "global_mmlu_full_sw_virology", data, tmp_path / "cache", shots=1)
    row = table.filter(table["question"] == "virology/test/0").row(0, named=True)
    assert row["log_likelihoods"] == pytest.approx([value for value, _ in samples[0]["filtered_resps"]], abs=1e-4)
    few = {lang: asked(lm, folder, lang, questions=5)[0]["question"].to_list() for lang in names}
    ids = [key for part in local_parts(folder, "en", "", shots=0, seed=0) for key in part.questions]
    assert few["en"] == few["sw"] == sorted(ids[at] for at in first_by_hash(ids, 5))


def test_tasks_of_groups_are_those_that_lm_eval_itself_finds():
    manager = TaskManager()
    for name in ("belebele", "xcopa", "include_base_44_hindi", "global_mmlu_full_hi", "multimedqa"):
        entry = manager._index[name]
        assert entry.kind.name in ("GROUP", "TAG")
        mine = [task.name for task in _tasks(_index(), name)]
        listed_members = entry.cfg["task"] if entry.cfg else sorted(entry.tags)
        if all(isinstance(member, str) and manager._index[member].kind.name == "TASK" for member in listed_members):
            assert mine == listed_members
        assert all(manager._index[task].kind.name == "TASK" for task in mine)
        assert len(mine) == len(set(mine)) > 1


def test_choices_with_contexts_of_their_own(lm: Path, tmp_path: Path):
    """XWinograd asks the same ending after one sentence a choice."""
    data = tmp_path / "data"
    standin_tasks.write_card(data, {"ru": [{"split": "test", "path": "ru.jsonl"}]})
    rows = [
        {"sentence": f"евро _ франк {number}", "option1": "иена", "option2": "рупия да", "answer": str(number % 2 + 1)}
        for number in range(4)
    ]
    standin_tasks.write_rows(data / "ru.jsonl", rows)
    folder = fetched(tmp_path / "fetched", data, {"ru": "xwinograd_ru"})
    table, about = asked(lm, folder, "ru")
    results, samples = stock(lm, "xwinograd_ru", data, tmp_path / "cache")
    for sample, row in zip(samples, table.to_dicts(), strict=True):
        expected = [value for value, _ in sample["filtered_resps"]]
        assert row["log_likelihoods"] == pytest.approx(expected, abs=1e-4)
        assert (row["acc"], row["answer"]) == (sample["acc"], int(sample["doc"]["answer"]) - 1)
    assert table["acc"].mean() == pytest.approx(results["acc,none"])
    assert about["parallel"] == {"mine": False}
    with pytest.raises(IsoglossError, match=r"xwinograd_ru: each choice has a context of its own, .*another task"):
        lined_up(tmp_path / "q.parquet", folder, ["ru"], reference="ru")


def lined_up(output: Path, folder: Path, langs: list[str], **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "task": "mine", "layout": "lm_eval", "data": str(folder), "reference_data": None, "reference": "en",
        "languages": dict.fromkeys(langs, ""), "questions": None, "held_out": 2, "seed": 0, "metadata": {},
    }  # fmt: skip
    parallel_questions(**settings | {"output": str(output)} | changes)
    return output


def test_parallel_questions_are_lm_evals_prompt_and_choices(tmp_path: Path):
    names = {lang: f"xstorycloze_{lang}" for lang in ("en", "ru")}
    folder = fetched(tmp_path / "fetched", standin_tasks.xstorycloze(tmp_path / "data", ["en", "ru"]), names)
    path = lined_up(tmp_path / "q.parquet", folder, ["en", "ru"])
    (part,) = local_parts(folder, "ru", "", shots=0, seed=0)
    documents: Any = part.task.eval_docs
    for question, document in zip(read_questions(str(path), "ru"), documents, strict=True):
        assert question.question == document["story_id"]
        assert render(load_template("lm_eval", "cloze", "ru"), question) == part.task.doc_to_text(document)
        assert question.choices == part.task.doc_to_choice(document)
        assert question.answer == document["answer_right_ending"] - 1
    lettered = render(load_template("lm_eval", "letters", "en"), read_questions(str(path), "en")[0])
    assert lettered.splitlines()[2:] == ["A: euro.", "B: Swiss franc eval.", "Answer:"]


def test_ids_are_asked_for_where_there_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = tmp_path / "data"
    for number, lang in enumerate(("en", "es")):
        rows = [
            {"question": f"{lang} {row}?", "own": f"q{row - number * 6}", "mc1_targets": {"choices": ["a", "b", "c"]}}
            for row in range(6)
        ]
        standin_tasks.write_rows(data / lang / "validation" / "0000.parquet", rows)
    names = {lang: f"truthfulqa-multi_mc1_{lang}" for lang in ("en", "es")}
    folder = fetched(tmp_path / "none", data, names)
    assert "questions without ids, so languages are not compared question by question" in caplog.text
    with pytest.raises(IsoglossError, match=r"no column tells its questions apart in every language; set id_column"):
        lined_up(tmp_path / "q.parquet", folder, ["en", "es"])
    by_row = fetched(tmp_path / "row", data, names, "row")
    assert [
        question.question
        for question in read_questions(str(lined_up(tmp_path / "q.parquet", by_row, ["en", "es"])), "es")
    ] == [str(row) for row in range(6)]
    unlike = fetched(tmp_path / "own", data, names, "own")
    assert "0 of 12 ids in all languages, so their questions differ" in caplog.text
    with pytest.raises(IsoglossError, match=r"es has no question\(s\) in common with en .* the same ids"):
        lined_up(tmp_path / "q.parquet", unlike, ["en", "es"])
    with pytest.raises(IsoglossError, match=r"no column 'key'; there are question, own, mc1_targets"):
        fetched(tmp_path / "key", data, names, "key")
    with pytest.raises(IsoglossError, match=r"mc1_targets has neither texts nor numbers, so it is no id; take another"):
        fetched(tmp_path / "targets", data, names, "mc1_targets")


def test_three_percent_of_ids_in_common_are_refused(tmp_path: Path):
    data = standin_tasks.belebele(tmp_path / "data", FLORES, count=100)
    lines = [json.loads(line) for line in (data / "data/hin_Deva.jsonl").read_text().splitlines()]
    standin_tasks.write_rows(
        data / "data/hin_Deva.jsonl", [row | ({} if n < 3 else {"link": f"x{n}"}) for n, row in enumerate(lines)]
    )
    arguments = {"layout": "belebele", "languages": FLORES}
    with pytest.raises(IsoglossError, match=r"hi has 3 question\(s\) in common with en .*, of 100 and 100"):
        lined_up(tmp_path / "q.parquet", data, [], **arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mgsm_direct_en",
            r"lm-eval's task mgsm_direct_en has no choices to score \(output_type generate_until\); take",
        ),
        ("truthfulqa_mc2", r"truthfulqa_mc2 scores its answers by a function of its own, and has no accuracy; take"),
        ("squadv2", r"squadv2 is written in Python, with data of its own; take a task of multiple choices"),
        ("belebele_hin_Devaa", r"has no task or group belebele_hin_Devaa, but belebele_hin_Deva, .*; correct lm_eval"),
        (
            "xcopa_id",
            r"no files of the configuration 'id', which xcopa_id needs; it has eng_Latn, hin_Deva; give another",
        ),
        ("belebele_spa_Latn", r"configuration 'spa_Latn', which belebele_spa_Latn needs; it has eng_Latn, hin_Deva"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(name: str, message: str, tmp_path: Path):
    data = standin_tasks.belebele(tmp_path / "data", FLORES)
    with pytest.raises(IsoglossError, match=message) as error:
        fetched(tmp_path / "fetched", data, {"en": name})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "fetched").exists()


def test_data_behind_a_script_in_other_splits_or_cut_off_are_one_line(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "xcopa.py").write_text("raise SystemExit('run')")
    with pytest.raises(IsoglossError, match=r"data of xcopa_id are behind a script, xcopa\.py, which is not run; give"):
        fetched(tmp_path / "fetched", data, {"id": "xcopa_id"})
    standin_tasks.write_card(data, {"id": [{"split": "dev", "path": "id.jsonl"}]})
    standin_tasks.write_rows(data / "id.jsonl", [{"premise": "a"}])
    with pytest.raises(IsoglossError, match=r"no split 'test', which xcopa_id asks; there are dev"):
        fetched(tmp_path / "fetched", data, {"id": "xcopa_id"})
    (data / "id.jsonl").write_text('{"premise": ')
    with pytest.raises(IsoglossError, match=r"id\.jsonl, which xcopa_id needs, cannot be read \(.*\); fetch it again"):
        fetched(tmp_path / "fetched", data, {"id": "xcopa_id"})


@pytest.mark.parametrize(
    "content", ["null", "3", '["a"]', '[{"premise": "a"}, null]', '{"premise": "a"}\n3', "[" * 9999]
)
def test_json_of_which_rows_are_no_objects_is_one_line(tmp_path: Path, content: str):
    """Some of these end the process within the library that reads data sets."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/id.json").write_text(content)
    with pytest.raises(IsoglossError, match=r"id\.json, which xcopa_id needs, cannot be read \(.*\); fetch it again"):
        fetched(tmp_path / "fetched", tmp_path / "data", {"id": "xcopa_id"})


def test_a_card_with_a_configuration_twice_is_one_line(tmp_path: Path):
    data = standin_tasks.belebele(tmp_path / "data", FLORES)
    files = [f"- {{config_name: hin_Deva, data_files: data/{code}.jsonl}}" for code in FLORES.values()]
    (data / "README.md").write_text("\n".join(["---", "configs:", *files, "---", ""]))
    with pytest.raises(IsoglossError, match=r"README\.md has the configuration 'hin_Deva', which .* more than once"):
        fetched(tmp_path / "fetched", data, {"hi": "belebele_hin_Deva"})


def test_documents_of_another_data_set_and_too_many_shots_are_one_line(tmp_path: Path):
    data = tmp_path / "data"
    standin_tasks.write_card(data, {"id": [{"split": "test", "path": "id.jsonl"}]})
    standin_tasks.write_rows(data / "id.jsonl", [{"question": "a", "idx": 1}])
    folder = fetched(tmp_path / "fetched", data, {"id": "xcopa_id"})
    with pytest.raises(IsoglossError, match=r"documents do not fit lm-eval's task xcopa_id \(KeyError: 'a'\)|KeyError"):
        local_parts(folder, "id", "mine", shots=0, seed=0)
    folder = fetched(tmp_path / "whole", standin_tasks.xcopa(tmp_path / "x", ["id"]), {"id": "xcopa_id"})
    with pytest.raises(IsoglossError, match=r"xcopa_id: 7 shots, but there are 6 examples; lower shots"):
        local_parts(folder, "id", "mine", shots=7, seed=0)
    folder = fetched(tmp_path / "truth", standin_tasks.truthfulqa(tmp_path / "t"), {"en": "truthfulqa_mc1"})
    with pytest.raises(IsoglossError, match=r"truthfulqa_mc1: lm-eval asks it without examples .*; set shots: 0"):
        local_parts(folder, "en", "mine", shots=1, seed=0)


def xcopa_with(folder: Path, split: str, row: int | None, **changes: Any) -> Path:
    """XCOPA in id and sw, one row of a split in sw changed (None: all of its rows)."""
    standin_tasks.xcopa(folder, ["id", "sw"])
    path = folder / f"sw/{split}-00000-of-00001.parquet"
    rows = read_table(path).to_dicts()
    standin_tasks.write_rows(path, [one | (changes if row in (None, at) else {}) for at, one in enumerate(rows)])
    return fetched(folder.parent / "fetched", folder, {lang: f"xcopa_{lang}" for lang in ("id", "sw")})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"label": -1}, "no_answer"), ({"label": 2}, "no_answer"), ({"choice2": "  "}, "empty_choice")],
)
def test_questions_that_nobody_can_get_right_are_left_out_and_counted(
    changes: dict[str, Any], reason: str, lm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = xcopa_with(tmp_path / "data", "test", 2, **changes)
    table, about = asked(lm, folder, "sw")
    assert table["question"].to_list() == ["0", "1", "3", "4", "5"]
    assert about["dropped"] == {"mine": {"test": 1}}
    assert about["parallel"] == {"mine": False}  # id has it
    assert f"mine in sw: 1 of 6 questions left out: 1 {reason}" in caplog.text
    whole, whole_about = asked(lm, folder, "id", questions=5)
    few, _ = asked(lm, folder, "sw", questions=4)
    assert (whole_about["dropped"], whole_about["parallel"]) == ({"mine": {}}, {"mine": True})
    assert "2" in whole["question"].to_list()
    assert few.equals(table.filter(table["question"].is_in(few["question"].to_list())))
    assert few.height == 4


def test_a_split_without_answers_is_one_line(tmp_path: Path):
    folder = xcopa_with(tmp_path / "data", "test", None, label=-1)
    with pytest.raises(
        IsoglossError, match=r"none of the 6 questions of mine in sw can be asked \(6 no_answer\); .*test"
    ):
        lm_eval_task("mine", folder, "sw", shots=0, seed=0)


def test_examples_without_answers_are_not_shown(lm: Path, tmp_path: Path):
    """The last choice would stand as the answer of a label of -1."""
    folder = xcopa_with(tmp_path / "data", "validation", 2, label=-1)
    made = lm_eval_task("mine", folder, "sw", shots=5, seed=0)
    assert (made.dropped, made.parallel) == ({"validation": 1}, True)
    assert [one["idx"] for one in made.parts[0].task.sampler.df] == [0, 1, 3, 4, 5]
    with pytest.raises(IsoglossError, match=r"xcopa_sw: 6 shots, but 5 examples have an answer; lower shots"):
        lm_eval_task("mine", folder, "sw", shots=6, seed=0)


@pytest.mark.parametrize(
    ("split", "changes", "reason"),
    [
        ("test", {"label": None}, "answer None is neither"),
        ("test", {"premise": None}, "object has no attribute"),
        ("test", {"choice1": None}, "not subscriptable"),
        ("validation", {"label": None}, "answer None is neither"),
    ],
)
def test_a_row_that_does_not_fit_is_named_wherever_it_stands(
    split: str, changes: dict[str, Any], reason: str, tmp_path: Path
):
    folder = xcopa_with(tmp_path / "data", split, 4, **changes)
    with pytest.raises(IsoglossError, match=rf"sw, {split}, row 5: .* lm-eval's task xcopa_sw \(.*({reason})") as error:
        lm_eval_task("mine", folder, "sw", shots=1, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("correct_answer_num", "5"), ("correct_answer_num", "1 "), ("question", None)]
)
def test_an_answer_that_the_definition_does_not_know_is_named_by_its_row(field: str, value: Any, tmp_path: Path):
    data = standin_tasks.belebele(tmp_path / "data", FLORES)
    path = data / "data/hin_Deva.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2][field] = value
    standin_tasks.write_rows(path, rows)
    folder = fetched(tmp_path / "fetched", data, {lang: f"belebele_{code}" for lang, code in FLORES.items()})
    with pytest.raises(IsoglossError, match=r"hi, test, row 3: the documents do not fit .* belebele_hin_Deva"):
        lm_eval_task("mine", folder, "hi", shots=0, seed=0)
