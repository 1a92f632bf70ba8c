"""What steering changes in questions that did not choose its layer and multiplier, beside its controls there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from isogloss.config.measures import Statistics
from isogloss.latent.answers import Shared, by_task, read_steered, shared_questions
from isogloss.latent.halves import Setting, by_half, choose
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.latent.steering import OWN, UNSTEERED, changes_of
from isogloss.stats import student_interval
from isogloss.tables import read_table, write_table
from isogloss.tables.latent import STEERING_JUDGED

DIRECTIONS = "directions"
"""What the random directions together are called in the column `vector`."""

Changes = Mapping[Setting, Float[np.ndarray, "langs questions"]]
_COUNTS = ("layer_first", "layer_second", "n_directions", "n_as_large", "n_settings", "n_languages", "n")
_TEXTS = ("task", "vector", "lang", "reason")
_SCHEMA = {
    name: pl.String if name in _TEXTS else pl.Int32 if name in _COUNTS else pl.Float64 for name in STEERING_JUDGED
}


class _Task:
    """A task's changes, by vector and setting, in all of its languages on the same questions."""

    def __init__(
        self, task: str, tables: Mapping[str, str], choice: pl.DataFrame, statistics: Statistics, seed: int
    ) -> None:
        self.task, self.langs, self._statistics, self._seed = task, list(tables), statistics, seed
        half = dict(choice.select("question", "half").iter_rows())
        self.changes, self.questions = changes_in(tables, set(half), task)
        self.half: Int[np.ndarray, " questions"] = np.array([half[question] for question in self.questions])

    def rows(self, vector: str, parts: Mapping[str, Float[np.ndarray, "langs questions"]]) -> list[dict[str, Any]]:
        """A row a language and one of their mean (lang null), with the mean of each of `parts` and its interval.

        Of a language: bootstrap over questions; of the mean: Student's over languages.
        """
        columns: dict[str, Any] = {}
        of_mean: dict[str, float | None] = {}
        for name, changes in parts.items():
            replicates, confidence = self._statistics.bootstrap, self._statistics.confidence
            resamples = Resamples(changes.shape[1], replicates=replicates, seed=self._seed, task=self.task)
            columns |= with_intervals(name, resamples.means(changes), confidence)
            means = changes.mean(axis=1)
            mean, spread = float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else None
            low, high = student_interval(mean, spread, len(means), confidence)
            of_mean |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        key = {"task": self.task, "vector": vector, "n": next(iter(parts.values())).shape[1]}
        reason = "one language: no interval over languages" if len(self.langs) == 1 else None
        rows = [key | {"lang": None, "n_languages": len(self.langs), "reason": reason} | of_mean]
        for number, lang in enumerate(self.langs):
            rows.append(key | {"lang": lang} | {name: float(values[number]) for name, values in columns.items()})
        return rows


def steering_judged(
    *,
    steered: Sequence[str],
    tasks: Sequence[str],
    langs: Sequence[str],
    random: Sequence[str],
    random_tasks: Sequence[str],
    random_langs: Sequence[str],
    choice: str,
    output: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by task, vector and language (null: their mean), what steering changes in accuracy where nothing chose it.

    `steered` are the sweeps' tables, `random` those of `steer_random.steer_random` (none: no directions), `choice` that
    of `steering.steering`. Each half of the questions chooses a vector's layer and γ by the largest mean gain over
    languages (`layer_first`, `gamma_first`: half 0; `_second`: half 1). `change_chosen` is the change of each question
    in the setting that its own half chose, `change_judged` in that of the other half: the gain that is not flattered by
    the choice. `at_own` is the vector's change in the settings that the own vectors chose, judged likewise, and
    `own_less` that of the own vectors there less this one, question by question.

    Vector "directions": the random directions together. There `own_less` is on the questions on which they were tried,
    `n_as_large` of `n_directions` gain as much as the own vector or more, and `p` is (1 + n_as_large) /
    (1 + n_directions). `reason` says why a value is null.

    Raises `IsoglossError` as `steering.steering`.
    """
    chosen = read_table(choice)
    drawn = dict(by_task(random, random_tasks, random_langs))
    rows: list[dict[str, Any]] = []
    for task, tables in by_task(steered, tasks, langs):
        of_task = chosen.filter(task=task)
        if not of_task.height:
            reason = "no own vector, or fewer than two questions: nothing to choose"
            rows.append({"task": task, "vector": OWN, "reason": reason})
            continue
        part = _Task(task, tables, of_task, statistics, seed)
        own = choose(part.changes[OWN], part.half)
        assert own is not None
        judged_own = by_half(part.changes[OWN], part.half, (own[1], own[0]))
        for vector in sorted(part.changes, key=lambda vector: vector != OWN):
            rows += _of_vector(part, vector, part.changes[vector], own, judged_own)
        if task in drawn:
            rows += _of_directions(part, drawn[task], set(of_task.filter("tried")["question"]), judged_own)
    write_table(output, pl.DataFrame(rows, schema=_SCHEMA), metadata, STEERING_JUDGED)


def _of_vector(
    part: _Task,
    vector: str,
    changes: Changes,
    own: tuple[Setting, Setting],
    judged_own: Float[np.ndarray, "langs questions"],
) -> list[dict[str, Any]]:
    settings = choose(changes, part.half)
    assert settings is not None
    parts = {"change_judged": by_half(changes, part.half, (settings[1], settings[0]))}
    if vector != OWN and set(own) <= set(changes):
        parts["at_own"] = by_half(changes, part.half, (own[1], own[0]))
        parts["own_less"] = judged_own - parts["at_own"]
    flattered = by_half(changes, part.half, settings).mean(axis=1)
    where: dict[str, float] = {}
    for end, setting in zip(("first", "second"), settings, strict=True):
        where |= {f"layer_{end}": setting.layer, f"gamma_{end}": setting.gamma}
    rows = part.rows(vector, parts)
    for row, value in zip(rows, [flattered.mean(), *flattered], strict=True):
        row |= where | {"change_chosen": float(value), "n_settings": len(changes)}
    return rows


def _of_directions(
    part: _Task, tables: Mapping[str, str], tried: set[str], judged_own: Float[np.ndarray, "langs questions"]
) -> list[dict[str, Any]]:
    """The mean of all random directions, and how many gain as much as the own vectors on the same questions."""
    at = {question: number for number, question in enumerate(part.questions)}
    parts: list[Float[np.ndarray, "directions langs questions"]] = []
    own: list[np.ndarray] = []
    for side in (0, 1):  # each half is judged in one setting
        asked = {question for question in tried if question in at and part.half[at[question]] == side}
        if asked:
            changes, questions = changes_in(tables, asked, part.task)
            parts.append(np.stack([of_setting for each in changes.values() for of_setting in each.values()]))
            own.append(judged_own[:, [at[question] for question in questions]])
    directions, judged = np.concatenate(parts, axis=2), np.concatenate(own, axis=1)
    rows = part.rows(DIRECTIONS, {"at_own": directions.mean(axis=0), "own_less": judged - directions.mean(axis=0)})
    of_each, of_own = directions.mean(axis=2), judged.mean(axis=1)
    as_large = [(of_each.mean(axis=1) >= of_own.mean() - 1e-12).sum(), *(of_each >= of_own - 1e-12).sum(axis=0)]
    for row, count in zip(rows, as_large, strict=True):
        row |= {
            "n_directions": len(directions),
            "n_as_large": int(count),
            "p": (1 + int(count)) / (1 + len(directions)),
        }
    return rows


def changes_in(
    tables: Mapping[str, str], questions: set[str], task: str
) -> tuple[dict[str, dict[Setting, Float[np.ndarray, "langs questions"]]], list[str]]:
    """What each vector changes in each setting, languages stacked, and the given questions in the tables' order."""
    shared = shared_questions(list(tables.values()), f"{task}, steered", held_out=False)
    kept = [number for number, question in enumerate(shared.questions) if question in questions]
    part = Shared([shared.questions[number] for number in kept], shared.answer[kept], shared.left_out)
    stacked: dict[str, dict[Setting, list[np.ndarray]]] = {}
    for path in tables.values():
        settings, scores = read_steered(path, part)
        right = scores.argmax(axis=-1) == part.answer
        for vector in settings["vector"].unique(maintain_order=True):
            if vector != UNSTEERED:
                for setting, change in changes_of(settings, right, vector).items():
                    stacked.setdefault(vector, {}).setdefault(setting, []).append(change)
    return {
        vector: {setting: np.stack(rows) for setting, rows in of.items() if len(rows) == len(tables)}
        for vector, of in stacked.items()
    }, part.questions
