"""Accuracy of every adapter, task and language, and what an adapter changed, question by question."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError, made_again
from isogloss.sources.world.facts import TEACHINGS
from isogloss.stats import Paired, adjust, family_size, mcnemar, paired_difference_interval, proportion_interval
from isogloss.tables import read_table, table_metadata, write_table
from isogloss.tables.disparity import ACCURACY

logger = logging.getLogger(__name__)

_FLOATS = ("stderr", "ci_low", "ci_high", "difference", "difference_ci_low", "difference_ci_high", "p", "p_adjusted")


def measure_accuracy(
    *,
    answers: Sequence[str],
    adapters: Sequence[str],
    langs: Sequence[str],
    accuracy: str,
    metrics: Mapping[str, str],
    statistics: Statistics,
    metadata: Mapping[str, Any],
    left_out: Mapping[str, Sequence[str]] | None = None,
    facts: str | None = None,
) -> None:
    """Write the accuracy table (paper A, sec. 2.3; Tables 2 to 4 and 9; Figs. 2 and 6).

    `answers` are the benchmark tables, with the adapter and language of each; `metrics` names each
    task's metric, acc or acc_norm. Rows are by adapter (the base first), task (as in `metrics`) and language
    (in the order in which they come in `langs`). Standard errors are lm-eval's, sqrt(p (1 - p) / (n - 1));
    intervals are Wilson's; chance is what drawing lots gets, the mean of 1 / number of choices. For
    adapters, difference is the accuracy less that of the base on the same questions, with Newcombe's
    interval for paired proportions, the p-value of McNemar's exact test, and that corrected over all
    adapters, tasks and languages (`family_size` tests); null for the base.

    `left_out` are the study's languages that a task lacks, by task. The metadata have them, and by task whether all
    languages were asked the same questions (`parallel`): if not, they are compared as samples of their own.

    With `facts` (fact and taught; a question's id is its fact's id), questions about facts that were taught
    in no language are left out: they are the control of `measure_by_teaching`.

    Raises `IsoglossError` if a question stands twice, an adapter and the base were not asked the same
    questions, or a task has no metric.
    """
    confidence = statistics.confidence
    about = _about_tasks(answers, {task: list(langs) for task, langs in (left_out or {}).items() if langs})
    every = _answers(answers, adapters, langs, metrics)
    kept = _about_taught(every, facts) if facts else every
    base = {key[1:]: answered for key, answered in kept.items() if key[0] == "base"}
    rows: list[dict[str, Any]] = []
    for (adapter, task, lang), answered in kept.items():
        row = {"adapter": adapter, "task": task, "lang": lang, "metric": metrics[task]}
        row |= _proportion(answered, confidence)
        if adapter != "base":
            if (task, lang) not in base:
                raise IsoglossError(f"adapter {adapter}, task {task}, {lang}: the base was not asked; benchmark it too")
            row |= _change(answered, base[task, lang], f"adapter {adapter}, task {task}, {lang}", confidence)
        rows.append(row)
    corrected = adjust([row.get("p") for row in rows], statistics.correction)
    table = pl.DataFrame(
        [
            row | {"p_adjusted": p, "family_size": family_size(corrected)}
            for row, p in zip(rows, corrected, strict=True)
        ],
        schema={
            **dict.fromkeys(["adapter", "task", "lang", "metric"], pl.String),
            **dict.fromkeys(["accuracy", *_FLOATS], pl.Float64),
            "n": pl.Int32,
            "chance": pl.Float64,
            "family_size": pl.Int32,
        },
    )
    write_table(accuracy, table, {**metadata, **about}, ACCURACY)


def _about_tasks(answers: Sequence[str], left_out: dict[str, list[str]]) -> dict[str, Any]:
    """What the metadata say of the tasks: which languages a task lacks, and whether its questions are parallel."""
    parallel: dict[str, bool] = {}
    for path in answers:
        for task, same in table_metadata(path).get("parallel", {}).items():
            parallel[task] = same and parallel.get(task, True)
    for task, langs in left_out.items():
        logger.warning("%s: not in %s, %d of the study's languages", task, ", ".join(langs), len(langs))
    if unlike := [task for task, same in parallel.items() if not same]:
        logger.warning("%s: other questions in other languages, so their accuracies are unpaired", ", ".join(unlike))
    return {"left_out": left_out, "parallel": parallel}


def measure_by_teaching(
    *,
    answers: Sequence[str],
    adapters: Sequence[str],
    langs: Sequence[str],
    facts: str,
    accuracy_by_teaching: str,
    metrics: Mapping[str, str],
    about_facts: Sequence[str],
    confidence: float,
    metadata: Mapping[str, Any],
) -> None:
    """Write the accuracy on `facts` taught in every language, in the reference only, and in none.

    The last is what guessing gets, with all that other facts tell, and the null for the second outside the
    reference. Arguments and errors as `measure_accuracy`; only tasks `about_facts` count, and a question of theirs that
    is about no fact raises `IsoglossError`.
    """
    every = _answers(answers, adapters, langs, metrics)
    every = {key: asked for key, asked in every.items() if key[1] in about_facts}
    write_table(accuracy_by_teaching, _by_teaching(every, facts, metrics, confidence), metadata)


class Answer(NamedTuple):
    """How one question was answered."""

    right: bool
    choices: int  # offered


Key = tuple[str, str, str]  # adapter, task, language
Answers = dict[str, Answer]  # by question


def _answers(
    paths: Sequence[str], adapters: Sequence[str], langs: Sequence[str], metrics: Mapping[str, str]
) -> dict[Key, Answers]:
    """The answers by adapter (the base first), task (as in `metrics`) and language (as they come in `langs`)."""
    answered: dict[Key, Answers] = {}
    for path, adapter, lang in zip(paths, adapters, langs, strict=True):
        frame = read_table(path, ["task", "question", "log_likelihoods", *sorted(set(metrics.values()))])
        for (task,), rows in frame.group_by("task", maintain_order=True):
            if task not in metrics:
                raise IsoglossError(f"{path}: task {task} has no metric; name it in benchmarks.tasks")
            if rows["question"].is_duplicated().any():
                doubled = rows.filter(rows["question"].is_duplicated())["question"][0]
                raise IsoglossError(f"{path}: task {task} asks question {doubled} twice; {made_again(path)}")
            if (adapter, task, lang) in answered:
                raise IsoglossError(
                    f"{path}: task {task} of {adapter} in {lang} stands in another table too; delete one"
                )
            given = map(Answer, rows[metrics[str(task)]], rows["log_likelihoods"].list.len())
            answered[adapter, str(task), lang] = dict(zip(rows["question"], given, strict=True))
    orders = [list(dict.fromkeys(names)) for names in (["base", *adapters], metrics, langs)]

    def rank(key: Key) -> list[int]:
        return [order.index(name) for order, name in zip(orders, key, strict=True)]

    return {key: answered[key] for key in sorted(answered, key=rank)}


def _about_taught(answered: Mapping[Key, Answers], facts: str) -> dict[Key, Answers]:
    """The answers to questions about facts that some language was taught."""
    known = read_table(facts, ["fact", "taught"])
    untaught = set(known.filter(pl.col("taught") == "none")["fact"])
    kept = {
        key: {question: answer for question, answer in answers.items() if question not in untaught}
        for key, answers in answered.items()
    }
    return {key: answers for key, answers in kept.items() if answers}


def _proportion(answers: Answers, confidence: float) -> dict[str, Any]:
    n, correct = len(answers), sum(answer.right for answer in answers.values())
    interval = proportion_interval(correct, n, confidence)
    share = correct / n
    return {
        "accuracy": share,
        "stderr": (share * (1 - share) / (n - 1)) ** 0.5 if n > 1 else None,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n": n,
        "chance": sum(1 / answer.choices for answer in answers.values()) / n,
    }


def _change(adapted: Answers, base: Answers, where: str, confidence: float) -> dict[str, Any]:
    one_sided = adapted.keys() ^ base.keys()
    if one_sided:
        raise IsoglossError(
            f"{where}: {len(one_sided)} question(s) were asked of only one of adapter and base,"
            f" {min(one_sided)} for one; benchmark both on the same questions"
        )
    pairs = [(adapted[question].right, base[question].right) for question in base]
    counts = Paired(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))
    interval = paired_difference_interval(counts, confidence)
    return {
        "difference": (counts.first_only - counts.second_only) / len(pairs),
        "difference_ci_low": interval.low,
        "difference_ci_high": interval.high,
        "p": mcnemar(counts),
    }


def _by_teaching(
    answered: Mapping[Key, Answers], facts: str, metrics: Mapping[str, str], confidence: float
) -> pl.DataFrame:
    known = read_table(facts, ["fact", "taught"])
    taught = dict(zip(known["fact"], known["taught"], strict=True))
    rows: list[dict[str, Any]] = []
    for (adapter, task, lang), answers in answered.items():
        foreign = answers.keys() - taught.keys()
        if foreign:
            raise IsoglossError(
                f"task {task}, {lang}: question {min(foreign)} is about no fact of {facts}; rebuild both"
            )
        for teaching in TEACHINGS:
            some = {question: answer for question, answer in answers.items() if taught[question] == teaching}
            if not some:
                continue
            proportion = _proportion(some, confidence)
            del proportion["stderr"]
            key = {"adapter": adapter, "task": task, "lang": lang, "taught": teaching, "metric": metrics[task]}
            rows.append(key | proportion)
    return pl.DataFrame(rows, schema_overrides={"n": pl.Int32})
