"""The questions that a new study can ask in its languages: Belebele and Global MMLU, as lm-eval has them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from isogloss.config.latent import instruction_languages
from isogloss.config.questions import task_names
from isogloss.sources.task_registry import known_tasks

BELEBELE = {"id": "facebook/belebele", "revision": "75b399394a9803252cfec289d103de462763db7c"}
TASKS = {
    "belebele": {"lm_eval": "belebele_{flores}", "shots": 0, "questions": 200, "source": BELEBELE},
    "global-mmlu": {"lm_eval": "global_mmlu_full_{code}", "shots": 5, "questions": 200},
}


class Questions(NamedTuple):
    """The sections `benchmarks.tasks` and `latent.tasks` of a study, and what was not found."""

    benchmarks: dict[str, dict[str, Any]]
    latent: dict[str, dict[str, Any]]
    lacking: list[str]


def asked_questions(languages: Sequence[str], reference: str) -> Questions:
    """What lm-eval has in some of the languages; of paper B's, Belebele where it has the reference and another one."""
    benchmarks, lacking, have = {}, [], {}
    for task, keys in TASKS.items():
        names = task_names(keys["lm_eval"], languages)
        there = known_tasks(list(names.values()))
        have[task] = [lang for lang in languages if names.get(lang) in there]
        if have[task]:
            benchmarks[task] = keys
        if absent := [lang for lang in languages if lang not in have[task]]:
            what = "they are left out of it" if have[task] else "it is left out"
            lacking.append(f"benchmarks: {task} has no questions in {', '.join(absent)} in lm-eval; {what}")
    if reference not in have["belebele"] or len(have["belebele"]) < 2:
        lacking.append(f"paper B (latent): no parallel questions in {reference} and another language; name your own")
        return Questions(benchmarks, {}, lacking)
    keys: dict[str, Any] = {"prompt": "letters", "questions": 200, "source": BELEBELE}
    if reference not in instruction_languages():
        keys["prompt"] = "cloze"
        lacking.append(f"latent: resources/prompts.yaml has no instruction in {reference}: cloze instead")
    if len(have["belebele"]) < len(languages):
        keys["languages"] = have["belebele"]
    return Questions(benchmarks, {"belebele": keys}, lacking)
