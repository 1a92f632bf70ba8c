"""Question sets of a study file: by free names, in the languages that lm-eval has, with mistakes named before a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from isogloss.config import Study, load_study
from isogloss.config.questions import Tasks, task_names
from isogloss.errors import IsoglossError
from isogloss.sources import task_registry
from isogloss.sources.task_registry import known_tasks, nearest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what was looked up is kept in the study's folder


def study(section: str, **sets: Mapping[str, Any]) -> Study:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))
    config[section]["tasks"] |= sets
    return load_study(config, tasks=Tasks(known_tasks, nearest))


def test_a_task_has_the_languages_that_lm_eval_has_it_in():
    made = study(
        "benchmarks",
        a={"shots": 0, "lm_eval": "belebele_{flores}"},
        b={"shots": 0, "lm_eval": "xcopa_{code}"},
        c={"shots": 0, "lm_eval": {"en": "truthfulqa_mc1", "hi": "truthfulqa_hi_mc1"}},
        d={"shots": 0, "lm_eval": "include_base_44_{name}", "languages": ["ru"]},
    )
    every = made.languages.all
    assert [made.benchmark_languages(task) for task in ("arc", "a")] == [every, every]
    assert [made.benchmark_languages(task) for task in "bcd"] == [["zh", "it", "id"], ["en", "hi"], ["ru"]]
    assert task_names("include_base_44_{name}", ["ru", "hi"]) == {
        "ru": "include_base_44_russian",
        "hi": "include_base_44_hindi",
    }


def test_what_was_looked_up_is_kept_for_the_jobs(monkeypatch: pytest.MonkeyPatch):
    names = ["xcopa_id", "xcopa_en", "mgsm_direct_en"]
    first = known_tasks(names)
    assert first == {
        "xcopa_id": "",
        "mgsm_direct_en": "has no choices to score (output_type generate_until)",
    }

    def unread() -> dict[str, Path]:
        raise AssertionError("read lm-eval's files again")

    monkeypatch.setattr(task_registry, "task_files", unread)
    assert known_tasks(names) == first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"lm_eval": "mgsm_direct_{code}"},
            r"mine\.lm_eval: mgsm_direct_en has no choices to score .*; take",
        ),
        ({"lm_eval": "xcopa_{code}", "languages": ["en", "zh"]}, r"no xcopa_en \(en\), but .*; set languages: \[zh\]"),
        (
            {"lm_eval": "belebelle_{flores}"},
            r"no belebelle_eng_Latn \(en, zh, .*\), but belebele_eng_Latn, .*",
        ),
        ({"lm_eval": {"en": "arc_chalenge"}}, r"no arc_chalenge \(en\), but arc_challenge, .*; correct the name"),
        ({"lm_eval": "truthfulqa_mc1"}, r"'truthfulqa_mc1' is one task for every language; put \{code\}"),
        ({"lm_eval": "x_{lang}"}, r"\{lang\} in 'x_\{lang\}'; allowed: \{code\}, \{flores\}, \{name\}"),
        ({"lm_eval": {"xx": "a"}}, r"mine\.lm_eval: unknown language 'xx'"),
        ({}, r"mine\.lm_eval: arc, hellaswag, mmlu are Okapi's, any other task is lm-eval's; give lm-eval's name"),
        ({"lm_eval": "xcopa_{code}", "languages": ["sw"]}, r"mine\.languages: sw not among the languages of the study"),
    ],
)
def test_each_mistake_is_a_line_before_anything_runs(given: dict[str, Any], message: str):
    with pytest.raises(IsoglossError, match=message) as error:
        study("benchmarks", mine={"shots": 0, **given})
    assert len(str(error.value).splitlines()) == 2


def test_parallel_sets_have_free_names_several_of_the_same_data():
    source = {"folder": "questions"}
    made = study(
        "latent",
        letters={"data": "belebele", "languages": ["en", "hi"], "source": source},
        cloze={"data": "belebele", "prompt": "cloze", "languages": ["en", "hi"], "source": source},
        belebele={"source": source},
        story={"lm_eval": "xstorycloze_{code}", "prompt": "cloze"},
    )
    data = {name: task.data for name, task in made.latent.tasks.items()}
    assert data == {
        **{"hellaswag": "hellaswag", "letters": "belebele", "cloze": "belebele", "belebele": "belebele"},
        "story": "lm_eval",
    }
    assert made.latent_languages("story") == ["en", "zh", "ru", "es", "id", "ca", "hi"]
    for given, message in (
        ({}, r"mine: what it is is not said; give data \(belebele, mmmlu, hellaswag, lm_eval\) or lm_eval"),
        ({"data": "lm_eval"}, r"lm-eval's name of the task belongs to data: lm_eval"),
        ({"data": "belebele", "id_column": "id"}, r"id_column: is of data: lm_eval"),
        ({"lm_eval": "xcopa_{code}"}, r"latent\.tasks\.mine\.languages: without the reference en; add it"),
        ({"data": "belebele"}, r"latent\.tasks\.mine\.source: none, which models\.skewed needs"),
    ):
        with pytest.raises(IsoglossError, match=message):
            study("latent", mine=given)


def test_a_question_set_of_lm_eval_is_named_in_no_file_of_the_project():
    """A new set touches no file: lm-eval's names stand in study files, and in what writes such files, alone."""
    files = [path for path in (REPOSITORY / "workflow").rglob("*.py") if path.parent.name != "new_study"]
    files += (REPOSITORY / "workflow" / "rules").glob("*.smk")
    texts = "".join(path.read_text(encoding="utf-8") for path in files).lower()
    for name in ("xcopa", "xnli", "include_base", "global_mmlu", "paws", "truthfulqa"):
        assert name not in texts
