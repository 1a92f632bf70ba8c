"""Transfer, latent language and steering by where the toy world's facts were taught: a truth known by construction."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.latent.answers import (
    by_task,
    log_ratios,
    proportion,
    read_layers,
    read_rankings,
    read_steered,
    shared_questions,
)
from isogloss.latent.ranks import Pairs, Ranked, rank
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.latent.steering import UNSTEERED
from isogloss.sources.world.facts import TEACHINGS
from isogloss.tables import read_table, write_table

_BOUNDED = ("accuracy", "consistency", "positive_transfer", "log_ratio", "steered_accuracy_change")
_SCHEMA = {
    **dict.fromkeys(["task", "lang", "taught"], pl.String),
    **{f"{name}{end}": pl.Float64 for name in _BOUNDED for end in ("", "_low", "_high")},
    "layer": pl.Int32,
    "gamma": pl.Float64,
    "n": pl.Int32,
    "n_steered": pl.Int32,
}


class TaskAnswers(NamedTuple):
    """A task's answers in every language, on the same questions."""

    task: str
    langs: list[str]
    questions: list[str]
    ranked: Ranked
    log_ratios: Float[np.ndarray, "langs questions"]  # averaged over probed layers


class Best(NamedTuple):
    """The setting in which the own vector gains most accuracy on average over languages, and what it changes."""

    layer: int
    gamma: float
    questions: list[str]
    changes: dict[str, Float[np.ndarray, " questions"]]  # by language: 1 right once steered, -1 wrong, 0 as before


class Draws(NamedTuple):
    """How intervals are made."""

    replicates: int
    confidence: float
    seed: int

    def of(self, where: str, questions: int) -> Resamples:
        """Draws of so many questions."""
        return Resamples(questions, replicates=self.replicates, seed=self.seed, task=where)


def by_teaching(
    *,
    scores: Sequence[str],
    tasks: Sequence[str],
    langs: Sequence[str],
    reference: str,
    prompts: Mapping[str, str],
    steered: Sequence[str],
    steered_tasks: Sequence[str],
    steered_langs: Sequence[str],
    facts: str,
    aggregation: Literal["sum", "mean"],
    output: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write what is measured of questions whose facts were taught in every language, in the reference only, in none.

    `facts` has columns fact and taught; a question's id is its fact's id. Per task, language and teaching: accuracy
    (Wilson's interval); consistency with and positive transfer from the reference; log ratio averaged over probed
    layers, in nats; and by how much the own steering vector changes accuracy. Their intervals bootstrap the questions
    of that teaching. The vector is applied at the `layer` and `gamma` of the largest gain on average over languages,
    chosen on all steered questions, these among them: such a gain errs on the high side. `n` counts questions,
    `n_steered` those of them that were steered. What is held against the reference is null for the reference itself.

    Raises `IsoglossError` if the reference is missing, a question is about no fact, or as `transfer.transfer`.
    """
    known = read_table(facts, ["fact", "taught"])
    taught = dict(zip(known["fact"], known["taught"], strict=True))
    steered_tables = dict(by_task(steered, steered_tasks, steered_langs))
    draws = Draws(statistics.bootstrap, statistics.confidence, seed)
    rows: list[dict[str, Any]] = []
    for task, tables in by_task(scores, tasks, langs):
        if reference not in tables:
            raise IsoglossError(
                f"task {task}: the reference language {reference} has no scores; add it to its languages"
            )
        answers = _answers(task, tables, prompts[task], aggregation)
        foreign = [question for question in answers.questions if question not in taught]
        if foreign:
            raise IsoglossError(f"task {task}: question {foreign[0]} is about no fact of {facts}; rebuild both")
        best = _best(steered_tables[task], task) if task in steered_tables else None
        for teaching in TEACHINGS:
            chosen = {question for question in answers.questions if taught[question] == teaching}
            if chosen:
                measured = _measure(answers, chosen, reference, f"{task}/{teaching}", draws)
                gains = _gains(best, chosen, f"{task}/{teaching}/steered", draws)
                rows += [row | {"taught": teaching} | gains.get(row["lang"], {}) for row in measured]
    languages = {lang: number for number, lang in enumerate(dict.fromkeys(langs))}
    rows.sort(key=lambda row: (tasks.index(row["task"]), languages[row["lang"]], TEACHINGS.index(row["taught"])))
    write_table(output, pl.DataFrame(rows, schema=_SCHEMA).fill_nan(None), {**metadata, "log_ratio": aggregation})


def _answers(task: str, tables: Mapping[str, str], prompt: str, aggregation: Literal["sum", "mean"]) -> TaskAnswers:
    shared = shared_questions(list(tables.values()), task)
    layers = (read_layers(path, shared) for path in tables.values())
    ratios = [log_ratios(read.native, read.reference, aggregation).mean(axis=0) for read in layers]
    ranked = rank(read_rankings(tables, prompt, shared), shared.answer)
    return TaskAnswers(task, list(tables), shared.questions, ranked, np.stack(ratios))


def _measure(answers: TaskAnswers, chosen: set[str], reference: str, where: str, draws: Draws) -> list[dict[str, Any]]:
    """A row for each language, measured on the `chosen` questions."""
    mask = np.array([question in chosen for question in answers.questions])
    part = Ranked(*(array[:, mask] for array in answers.ranked))
    resamples = draws.of(where, int(mask.sum()))
    held = Pairs(part, resamples).of(answers.langs.index(reference))
    columns: dict[str, np.ndarray] = {}
    for name, values in (
        ("consistency", held.consistency),
        ("positive_transfer", held.positive_transfer),
        ("log_ratio", resamples.means(np.ascontiguousarray(answers.log_ratios[:, mask]))),
    ):
        columns |= with_intervals(name, values, draws.confidence)
    rows: list[dict[str, Any]] = []
    for number, lang in enumerate(answers.langs):
        row: dict[str, Any] = {"task": answers.task, "lang": lang, "n": int(mask.sum())}
        row |= proportion("accuracy", part.right[number], draws.confidence)
        if lang != reference:
            row |= {name: float(values[number]) for name, values in columns.items()}
        rows.append(row)
    return rows


def _gains(best: Best | None, chosen: set[str], where: str, draws: Draws) -> dict[str, dict[str, Any]]:
    """What the best setting changes in each steered language, on those of the `chosen` questions that were steered."""
    if best is None:
        return {}
    mask = np.array([question in chosen for question in best.questions])
    setting = {"layer": best.layer, "gamma": best.gamma, "n_steered": int(mask.sum())}
    if not mask.any():
        return dict.fromkeys(best.changes, setting)
    changes = np.stack([change[mask] for change in best.changes.values()])
    columns = with_intervals(
        "steered_accuracy_change", draws.of(where, int(mask.sum())).means(changes), draws.confidence
    )
    return {
        lang: setting | {name: float(values[number]) for name, values in columns.items()}
        for number, lang in enumerate(best.changes)
    }


def _best(tables: Mapping[str, str], task: str) -> Best | None:
    """The own vector's setting of the largest mean gain over languages, the first of equals; None without one."""
    shared = shared_questions(list(tables.values()), f"{task}, steered")
    changes: dict[tuple[int, float], dict[str, np.ndarray]] = {}
    for lang, path in tables.items():
        settings, scores = read_steered(path, shared)
        right = (scores.argmax(axis=-1) == shared.answer).astype(np.float64)
        unsteered = right[settings["vector"].to_list().index(UNSTEERED)]
        for right_steered, (vector, layer, gamma) in zip(right, settings.iter_rows(), strict=True):
            if vector == "own":
                changes.setdefault((layer, gamma), {})[lang] = right_steered - unsteered
    everywhere = [setting for setting in sorted(changes) if len(changes[setting]) == len(tables)]
    if not everywhere:
        return None
    layer, gamma = max(everywhere, key=lambda setting: sum(change.sum() for change in changes[setting].values()))
    return Best(layer, gamma, shared.questions, changes[layer, gamma])
