"""What steering towards the reference changes, by vector, layer and multiplier (paper B, sec. 4.3; Figs. 4 to 11)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from isogloss.config.measures import Statistics
from isogloss.latent.answers import Shared, by_task, read_ranking, read_steered, shared_questions
from isogloss.latent.halves import Setting, choose, halves, in_order
from isogloss.latent.ranks import Pairs, rank
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.stats import student_interval
from isogloss.tables import write_table
from isogloss.tables.latent import STEERING

logger = logging.getLogger(__name__)

MEASURES = ("accuracy", "consistency", "positive_transfer")
UNSTEERED, OWN = "none", "own"
_SETTING = {"vector": pl.String, "layer": pl.Int32, "gamma": pl.Float64}
_SCHEMA = {
    "task": pl.String,
    "lang": pl.String,
    **_SETTING,
    **{f"{name}{end}": pl.Float64 for name in MEASURES for end in ("", "_change", "_change_low", "_change_high")},
    "n": pl.Int32,
}
_CHOICE = {
    "task": pl.String,
    "question": pl.String,
    "half": pl.Int32,
    "layer": pl.Int32,
    "gamma": pl.Float64,
    "tried": pl.Boolean,
}


class Steered(NamedTuple):
    """One language's answers in every setting, held against the reference as it answers unsteered."""

    settings: pl.DataFrame  # vector, layer, gamma
    right: Bool[np.ndarray, "settings questions"]
    measured: dict[str, Float[np.ndarray, "settings draws"]]  # by measure
    unsteered: int  # the setting without a vector


def steering(
    *,
    steered: Sequence[str],
    tasks: Sequence[str],
    langs: Sequence[str],
    scores: Sequence[str],
    reference_scores: Mapping[str, str],
    prompts: Mapping[str, str],
    steering: str,
    steering_summary: str,
    choice: str,
    tried: int | None,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write accuracy, consistency with the reference and positive transfer from it in every setting, and the changes.

    `steered` are the steered tables of languages other than the reference, with the task and language of each and the
    `scores` of the same; `reference_scores` is the reference's score table by task. Consistency and transfer are with
    the reference as it answers unsteered. Changes are from the language unsteered (vector "none"), whose rows stand in
    `steering` with a change of 0; intervals are percentiles of a paired bootstrap over questions. `steering_summary`
    has the mean change over languages with a t interval over languages (the paper's shaded areas), null for a single
    language. `choice` has a row a task and question: the `half` that it is in (`halves.halves`), the `layer` and
    `gamma` at which the own vector gained most accuracy in the other half, and whether random directions are `tried` on
    it: on the first `tried` by their ids' hash, on all if None. Null where undefined, as in `transfer.transfer`.

    Raises `IsoglossError` if a setting lacks a question, or the tables share none.
    """
    bootstrap, confidence = statistics.bootstrap, statistics.confidence
    frames: list[pl.DataFrame] = []
    choices: list[pl.DataFrame] = [pl.DataFrame(schema=_CHOICE)]
    own_scores = dict(by_task(scores, tasks, langs))
    for task, tables in by_task(steered, tasks, langs):
        shared = shared_questions([reference_scores[task], *tables.values()], f"{task}, steered", held_out=False)
        resamples = Resamples(len(shared.questions), replicates=bootstrap, seed=seed, task=task)
        of_reference = read_ranking(reference_scores[task], prompts[task], shared)
        changes: dict[Setting, list[np.ndarray]] = {}
        for lang, path in tables.items():
            own = read_ranking(own_scores[task][lang], prompts[task], shared)
            measured = measure_steered(path, shared, own, of_reference, resamples)
            frames.append(_rows(measured, task, lang, len(shared.questions), confidence))
            for setting, change in changes_of(measured.settings, measured.right, OWN).items():
                changes.setdefault(setting, []).append(change)
        choices.append(_choice(changes, shared.questions, len(tables), tried, seed, task))
    table = pl.concat(frames)
    write_table(steering, table, metadata, STEERING)
    write_table(steering_summary, _over_languages(table, confidence), metadata)
    write_table(choice, pl.concat(choices), metadata)


def changes_of(
    settings: pl.DataFrame, right: Bool[np.ndarray, "settings questions"], vector: str
) -> dict[Setting, Float[np.ndarray, " questions"]]:
    """What a vector changes in each of its settings: 1 right once steered, -1 wrong, 0 as before."""
    unsteered = right[settings["vector"].to_list().index(UNSTEERED)].astype(np.float64)
    rows = zip(settings.iter_rows(), right, strict=True)
    return {Setting(layer, gamma): one - unsteered for (name, layer, gamma), one in rows if name == vector}


def _choice(
    changes: Mapping[Setting, list[np.ndarray]],
    questions: Sequence[str],
    languages: int,
    tried: int | None,
    seed: int,
    task: str,
) -> pl.DataFrame:
    """A row a question; none where nothing can be chosen."""
    half = halves(questions, seed=seed, task=task)
    everywhere = {setting: np.stack(rows) for setting, rows in changes.items() if len(rows) == languages}
    chosen = choose(everywhere, half)
    if chosen is None:
        return pl.DataFrame(schema=_CHOICE)
    first = set(in_order(questions, seed=seed, task=task)[:tried])
    rows = [
        {"task": task, "question": question, "half": int(side), **chosen[1 - side]._asdict(), "tried": number in first}
        for number, (question, side) in enumerate(zip(questions, half, strict=True))
    ]
    return pl.DataFrame(rows, schema=_CHOICE)


def measure_steered(
    path: str,
    shared: Shared,
    own: Float[np.ndarray, "questions choices"],
    reference: Float[np.ndarray, "questions choices"],
    resamples: Resamples,
) -> Steered:
    """Read a language's steered table and measure each setting in every draw of the questions.

    `own` and `reference` are what the choices are ranked by, unsteered, in the language and in the reference. Warns
    where the table's unsteered answers are not those of `own`. Errors as `answers.read_steered`.
    """
    settings, scores = read_steered(path, shared)
    unsteered = settings["vector"].to_list().index(UNSTEERED)
    differing = int((scores[unsteered].argmax(axis=-1) != own.argmax(axis=-1)).sum())
    if differing:
        logger.warning(
            "%s: %d of %d unsteered answers differ from the score table's (rounding, or other settings)",
            path, differing, len(own),
        )  # fmt: skip
    ranked = rank(np.concatenate([reference[None], scores]), shared.answer)
    pairs = Pairs(ranked, resamples)
    held = pairs.of(0)
    measured = {
        "accuracy": pairs.accuracy[1:],
        "consistency": held.consistency[1:],
        "positive_transfer": held.positive_transfer[1:],
    }
    return Steered(settings, ranked.right[1:], measured, unsteered)


def _rows(steered: Steered, task: str, lang: str, n: int, confidence: float) -> pl.DataFrame:
    columns: dict[str, Any] = {}
    for name, draws in steered.measured.items():
        columns[name] = draws[:, 0]
        columns |= with_intervals(f"{name}_change", draws - draws[steered.unsteered], confidence)
    key = steered.settings.select(pl.lit(task).alias("task"), pl.lit(lang).alias("lang"), pl.all())
    frame = pl.concat([key, pl.DataFrame(columns).fill_nan(None)], how="horizontal")
    return frame.with_columns(n=n).select(*_SCHEMA).cast(_SCHEMA)  # type: ignore[arg-type]


def _over_languages(table: pl.DataFrame, confidence: float) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    key = ["task", *_SETTING]
    changes = [f"{name}_change" for name in MEASURES]
    of_vectors = table.filter(pl.col("vector") != UNSTEERED)
    for group, of_setting in of_vectors.group_by(key, maintain_order=True):
        row: dict[str, Any] = dict(zip(key, group, strict=True))
        for name in changes:
            values = of_setting[name].drop_nulls()
            row[name] = values.mean()
            interval = student_interval(row[name], values.std(), len(values), confidence)  # pyright: ignore[reportArgumentType]
            row[f"{name}_low"], row[f"{name}_high"] = interval
        rows.append(row | {"n_languages": len(of_setting)})
    numbers = [f"{name}{end}" for name in changes for end in ("", "_low", "_high")]
    schema = {"task": pl.String, **_SETTING, **dict.fromkeys(numbers, pl.Float64), "n_languages": pl.Int32}
    return pl.DataFrame(rows, schema=schema)
