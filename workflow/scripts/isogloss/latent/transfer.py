"""Accuracy, consistency and transfer between all pairs of languages (paper B, sec. 2.1; Table 1, Fig. 1)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from isogloss.config.measures import Statistics
from isogloss.latent.answers import by_task, proportion, read_rankings, shared_questions, tied
from isogloss.latent.chance import by_chance
from isogloss.latent.pairs import ABOVE_CHANCE, PairMeans, each_pair
from isogloss.latent.ranks import Measures, Pairs, rank
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.tables import write_table
from isogloss.tables.latent import TRANSFER

logger = logging.getLogger(__name__)

_ANSWERS = {
    "task": pl.String,
    "lang": pl.String,
    **dict.fromkeys(["accuracy", "accuracy_low", "accuracy_high"], pl.Float64),
    "n": pl.Int32,
    "chance": pl.Float64,
    "ties": pl.Float64,
}
_PAIRS = {
    **dict.fromkeys(["task", "lang_a", "lang_b"], pl.String),
    **{f"{name}{end}": pl.Float64 for name in Measures._fields for end in ("", "_low", "_high")},
    "n": pl.Int32,
    **{f"{name}_chance": pl.Float64 for name in Measures._fields},
    **{f"{ABOVE_CHANCE}{end}": pl.Float64 for end in ("", "_low", "_high")},
}


def transfer(
    *,
    scores: Sequence[str],
    tasks: Sequence[str],
    langs: Sequence[str],
    prompts: Mapping[str, str],
    reference: str,
    answers: str,
    transfer: str,
    transfer_summary: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write each language's accuracy, Eq. 1 to 3 for every ordered pair of languages, and their means (Eq. 4 to 6).

    `scores` are the score tables, with the task and language of each; `prompts` says by task whether the letters
    or the choices' texts are ranked. Held-out questions count: they are only held out of steering. Intervals of
    accuracy are Wilson's; the others are percentiles of a bootstrap over questions, the same for all languages of
    a task. Undefined is null: positive transfer from a language with no right answer, negative transfer
    from one with no wrong answer, an interval that such a resample is part of. `transfer_summary` takes the means
    over the pairs that are defined and the standard deviation of accuracy over languages (of a sample, n - 1).

    `chance` is what guessing gets: 1 / number of choices; `ties` the share of the questions whose best choice is no
    better than another. `transfer_above_chance` is positive transfer with the second language's accuracy taken out:
    (tr+ - acc) / (1 - acc), null where all is right (`pairs.each_pair`). The columns `{measure}_chance` are what two
    languages with these accuracies and habits reach if they have nothing to do with one another (`chance.by_chance`).

    Raises `IsoglossError` if a task's languages share no question, or disagree about an answer.
    """
    bootstrap, confidence = statistics.bootstrap, statistics.confidence
    accuracies: list[pl.DataFrame] = []
    pairs: list[pl.DataFrame] = []
    summary: list[dict[str, Any]] = []
    left_out: dict[str, int] = {}
    for task, tables in by_task(scores, tasks, langs):
        shared = shared_questions(list(tables.values()), task)
        left_out[task] = shared.left_out
        if reference not in tables:
            logger.warning("%s: the reference language %s is not among the languages", task, reference)
        rankings = read_rankings(tables, prompts[task], shared)
        ranked = rank(rankings, shared.answer)
        measured = Pairs(ranked, Resamples(len(shared.questions), replicates=bootstrap, seed=seed, task=task))
        key, n, chance = {"task": task}, {"n": len(shared.questions)}, {"chance": 1 / ranked.ranks.shape[-1]}
        accuracies += [
            pl.DataFrame(
                [{**key, "lang": lang, **proportion("accuracy", right, confidence), **n, **chance, "ties": ties}],
                schema=_ANSWERS,
            )
            for lang, right, ties in zip(tables, ranked.right, tied(rankings).mean(axis=1).tolist(), strict=True)
        ]
        frames, means = _every_pair(measured, by_chance(ranked, shared.answer), list(tables), confidence)
        pairs += [
            frame.with_columns(pl.lit(task).alias("task"), pl.lit(n["n"], pl.Int32).alias("n")).select(*_PAIRS)
            for frame in frames
        ]
        summary.append({**key, **_accuracy(measured.accuracy, confidence), **means, "n_languages": len(tables), **n})
    metadata = {**metadata, "questions_left_out": left_out}
    write_table(answers, pl.concat(accuracies), metadata)
    write_table(transfer, pl.concat([pl.DataFrame(schema=_PAIRS), *pairs]), metadata, TRANSFER)
    counts = {"n_languages": pl.Int32, "n": pl.Int32}
    write_table(transfer_summary, pl.DataFrame(summary, schema_overrides=counts).fill_nan(None), metadata)


def _every_pair(
    measured: Pairs, expected: Measures, langs: Sequence[str], confidence: float
) -> tuple[list[pl.DataFrame], dict[str, float]]:
    """The rows of each language with all others, and the means over all ordered pairs that are defined."""
    frames: list[pl.DataFrame] = []
    means = PairMeans(measured.accuracy.shape[1])
    for number, (lang, draws) in enumerate(zip(langs, each_pair(measured), strict=True)):
        means.add(draws)
        columns: dict[str, Any] = {"lang_b": [other for other in langs if other != lang]}
        for name, values in draws.items():
            columns |= with_intervals(name, values, confidence)
        for name, by_others in expected._asdict().items():
            columns[f"{name}_chance"] = np.delete(by_others[number], number)
        if len(langs) > 1:
            frames.append(
                pl.DataFrame(columns).fill_nan(None).insert_column(0, pl.Series("lang_a", [lang] * (len(langs) - 1)))
            )
    return frames, means.columns(expected, confidence)


def _accuracy(accuracy: Float[np.ndarray, "langs draws"], confidence: float) -> dict[str, float]:
    mean = _single(with_intervals("accuracy", accuracy.mean(axis=0, keepdims=True), confidence))
    spread = float(accuracy[:, 0].std(ddof=1)) if len(accuracy) > 1 else np.nan
    return {"accuracy": mean.pop("accuracy"), "accuracy_sd": spread, **mean}


def _single(columns: Mapping[str, Float[np.ndarray, " 1"]]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in columns.items()}
