"""lm-eval's tasks on local questions: Okapi's, and any other by its name.

Any other task is asked as it stands (`sources.lm_eval_tasks`): all its questions that have an answer among their
choices, whatever other languages have.
Okapi's are read from lm-eval's own YAML files and asked on the questions that all languages have.

Prompt, choices, few-shot format and metrics are lm-eval's in every language: where it has no task for
a language (HellaSwag in Chinese, ARC and HellaSwag in Okapi's English), a sibling's definition stands
in, which differs in nothing but its name and data. So every language goes through the same code, English
too, and English numbers are not those of lm-eval's original English tasks, which differ:

- ARC: `arc_challenge` changes no text. Okapi's ARC goes through the text processing meant for HellaSwag
  (lm-eval issue 2000), which removes `[bracketed]` text, genotypes and formulas say, makes `[title]` a
  full stop and two spaces one. It is kept, so that numbers compare with published ones, and the
  questions that it changes are counted (`OkapiTask.altered`).
- HellaSwag: the same processing in both, where brackets are rests of mark-up. `hellaswag` shows examples
  from train; Okapi's has no train split, so examples are other questions of val.
- MMLU: `mmlu` is 57 tasks, each with a line that names its subject and with examples of that subject
  from dev. `m_mmlu_{lang}` is one task without that line, and its examples are the first ones of train,
  whatever their subject. Accuracy is over all questions in both.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from isogloss.errors import IsoglossError
from isogloss.sources.lm_eval_tasks import Part, listed, local_parts, without_defects
from isogloss.sources.okapi import FIELDS, Questions, common_questions, has_split

logger = logging.getLogger(__name__)

OKAPI = Path(lm_eval.__file__).parent / "tasks" / "okapi"
SIBLING = "es"
FILES = {
    "arc": "arc_multilingual/arc_{lang}.yaml",
    "hellaswag": "hellaswag_multilingual/hellaswag_{lang}.yaml",
    "mmlu": "mmlu_multilingual/m_mmlu_{lang}.yaml",
}


class BenchmarkTask(NamedTuple):
    """A task ready to be asked."""

    parts: list[Part]  # one, or those of a group
    dropped: dict[str, int]  # by split, Okapi's ids that at least one language lacks, others' that cannot be asked
    altered: frozenset[str]  # ids of questions whose prompt or choices lm-eval's text processing changes
    derived_from: str  # lm-eval's task whose definition is used
    parallel: bool  # whether every language has the same questions, by their ids


def task_config(task: str, lang: str) -> tuple[dict[str, Any], str]:
    """lm-eval's definition of `task` (arc, hellaswag or mmlu) in `lang`, and the name of the one it is taken from."""
    path = OKAPI / FILES[task].format(lang=lang)
    if not path.is_file():
        path = OKAPI / FILES[task].format(lang=SIBLING)
    config = load_yaml(path)
    origin = config["task"]
    config.pop("tag", None)
    config.update(task=Path(FILES[task].format(lang=lang)).stem, dataset_name=lang)
    return config, origin


def okapi_task(
    task: str, folder: str | Path, lang: str, languages: Sequence[str], *, shots: int, seed: int
) -> BenchmarkTask:
    """The task on the questions in `folder` that all `languages` have, with `shots` examples in the prompt.

    Examples come from the train split; where there is none (HellaSwag upstream) from the split that
    is asked, never the tested question itself. MMLU shows the first ones of the file, ARC and
    HellaSwag draw for each question with `seed` (lm-eval's samplers). As every language has the same
    ids in the same order, examples have the same ids in every language.

    Raises `IsoglossError` as `common_questions`, and if there are fewer examples than shots.
    """
    config, origin = task_config(task, lang)
    asked = config.get("test_split") or config["validation_split"]
    if task == "hellaswag" and has_split(folder, "train", languages):
        config["training_split"] = "train"
    shown = config.get("fewshot_split") or config.get("training_split") or asked

    process = config.get("process_docs")

    def emptied(row: dict[str, Any]) -> bool:
        return process is not None and not all(choice.strip() for choice in process(_Rows([row]))[0]["choices"])

    splits = {
        split: common_questions(folder, task, split, lang, languages, emptied=emptied)
        for split in dict.fromkeys([asked, shown])
    }
    available = len(splits[shown].ids) - (task == "hellaswag")  # its sampler draws one more, to leave the question out
    if shots > available:
        raise IsoglossError(
            f"{folder}: {shots} shots, but {shown}.jsonl has {available} examples that all languages share; lower shots"
        )
    tables = datasets.DatasetDict({split: datasets.Dataset.from_list(part.rows) for split, part in splits.items()})
    config.update(custom_dataset=lambda **_: tables, num_fewshot=shots)
    made = ConfigurableTask(config=config)
    made.set_fewshot_seed(seed)
    dropped = {split: part.dropped for split, part in splits.items()}
    part = Part(made, splits[asked].ids)
    return BenchmarkTask([part], dropped, _altered(task, splits[asked], process), origin, parallel=True)


def lm_eval_task(name: str, folder: str | Path, lang: str, *, shots: int, seed: int) -> BenchmarkTask:
    """The task or group that `folder` holds for `lang` (`sources.lm_eval_data`), called `name` in the study.

    Questions that cannot be asked (`without_defects`) are left out and counted; other languages may have them, so that
    questions are no longer the same.

    Raises `IsoglossError` as `local_parts` and `without_defects`, and if no question is left.
    """
    content = listed(folder)
    parts: list[Part] = []
    dropped: Counter[str] = Counter()
    for part in local_parts(folder, lang, name, shots=shots, seed=seed):
        kept, counts = without_defects(part, f"{folder}: {lang}", shots=shots)
        parts.append(kept)
        dropped += counts
    reasons = Counter(reason for part in parts for reason in part.left_out.values())
    total = sum(len(part.questions) for part in parts)
    if reasons:
        named = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        if reasons.total() == total:
            raise IsoglossError(
                f"{folder}: none of the {total} questions of {name} in {lang} can be asked ({named}); their split"
                f" ({', '.join(dropped)}) may be published without answers: take a source that has them"
            )
        logger.warning("%s in %s: %d of %d questions left out: %s", name, lang, reasons.total(), total, named)
    origin = content.languages[lang]["name"]
    return BenchmarkTask(parts, dict(dropped), frozenset(), origin, content.parallel and not reasons)


def _altered(task: str, questions: Questions, process: Callable[[Any], Any] | None) -> frozenset[str]:
    """Ids of the questions that `process` does more to than strip spaces at the ends of a text."""
    if process is None:
        return frozenset()
    read = (_as_read(task, row) for row in questions.rows)
    done = ((row["query"], row["choices"]) for row in process(_Rows(questions.rows)))
    return frozenset(name for name, before, after in zip(questions.ids, read, done, strict=True) if before != after)


def _as_read(task: str, row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Prompt and choices in the task's format, the texts as they are in the file."""
    if task == "arc":
        options = [row[field] for field in FIELDS["arc"] if field.startswith("option_")]
        return f"Question: {row['instruction'].strip()}\nAnswer:", [option.strip() for option in options if option]
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return context.strip(), [ending.strip() for ending in row["endings"]]


class _Rows(list):
    """Rows with the one method of `datasets.Dataset` that a task's `process_docs` uses."""

    def map(self, function: Any) -> list[dict[str, Any]]:
        return [function(row) for row in self]
