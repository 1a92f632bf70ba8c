"""The score tables of a task, on the questions that all its languages share."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from isogloss.errors import IsoglossError, made_again
from isogloss.stats import or_none, proportion_interval
from isogloss.tables import open_table, read_table

logger = logging.getLogger(__name__)

RANKED_BY = {
    "letters": "letters",
    "cloze": "native",
}  # column of the score tables that a prompt's choices are ranked by


class Shared(NamedTuple):
    """The questions that all languages of a task have, in the order of the first."""

    questions: list[str]
    answer: Int[np.ndarray, " questions"]
    left_out: int  # questions that some language lacks


class Lengths(NamedTuple):
    """How long the choices' texts are."""

    native: Float[np.ndarray, "questions choices"]
    reference: Float[np.ndarray, "questions choices"]


class Layers(NamedTuple):
    """One language's scores at each probed layer: mean log-probability per token of the choices' texts, in nats."""

    layers: list[int]
    native: Float[np.ndarray, "layers questions choices"]
    reference: Float[np.ndarray, "layers questions choices"]
    letters: Float[np.ndarray, "layers questions choices"] | None  # of the letters' tokens; None without letters
    tokens: Lengths
    characters: Lengths


def by_task(paths: Sequence[str], tasks: Sequence[str], langs: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each task with the tables of its languages, by language, in the order given."""
    for task in dict.fromkeys(tasks):
        yield task, {lang: path for path, other, lang in zip(paths, tasks, langs, strict=True) if other == task}


def shared_questions(tables: Sequence[str], where: str, *, held_out: bool = True) -> Shared:
    """The questions that stand in each of `tables` (score or steered tables); others are counted and warned of.

    With `held_out` False those that vectors were made of do not count. `where` names what is read in messages.
    Raises `IsoglossError` if no question is left, or the answer to one differs.
    """
    keys = [_answer_key(path, held_out) for path in tables]
    everywhere = set.intersection(*(set(key) for key in keys))
    left_out = len(set().union(*keys)) - len(everywhere)
    if not everywhere:
        raise IsoglossError(
            f"{where}: no question stands in all of {len(tables)} tables, {tables[0]} the first; score the same"
            " questions in every language or leave a language out"
        )
    if left_out:
        logger.warning("%s: %d question(s) do not stand in all %d tables: left out", where, left_out, len(tables))
    questions = [question for question in keys[0] if question in everywhere]
    for path, key in zip(tables, keys, strict=True):
        odd = [question for question in questions if key[question] != keys[0][question]]
        if odd:
            raise IsoglossError(
                f"{where}: the answer to question {odd[0]} is choice {key[odd[0]]} in {path} but"
                f" {keys[0][odd[0]]} in {tables[0]} ({len(odd)} such); delete both and run snakemake again"
            )
    return Shared(questions, np.array([keys[0][question] for question in questions]), left_out)


def _answer_key(path: str, held_out: bool) -> dict[str, int]:
    columns = ["question", "answer"]
    if not held_out and "held_out" in open_table(path).schema_arrow.names:
        frame = read_table(path, [*columns, "held_out"]).filter(~pl.col("held_out")).select(columns)
    else:
        frame = read_table(path, columns)
    frame = frame.unique(maintain_order=True)
    if frame["question"].is_duplicated().any():
        doubled = frame.filter(frame["question"].is_duplicated())["question"][0]
        raise IsoglossError(f"{path}: question {doubled} has two answers; {made_again(path)}")
    return dict(zip(frame["question"], frame["answer"], strict=True))


def read_layers(path: str, shared: Shared) -> Layers:
    """The scores of the shared questions at every probed layer, ascending.

    Raises `IsoglossError` if a layer lacks a question or a score is no number.
    """
    texts = ["native", "reference"]
    counts = [f"{text}_{unit}" for unit in ("tokens", "characters") for text in texts]
    frame = _aligned(read_table(path, ["question", "layer", "letters", *texts, *counts]), ["layer"], shared, path)
    layers = frame["layer"].unique(maintain_order=True).to_list()
    first = frame.filter(pl.col("layer") == layers[0]).with_columns(pl.col(counts).cast(pl.List(pl.Float64)))
    lengths = [_matrix(first[count], path) for count in counts]
    lettered = frame["letters"].null_count() == 0
    native, reference, letters = (
        _matrix(frame[column], path).reshape(len(layers), len(shared.questions), -1)
        for column in ("native", "reference", "letters" if lettered else "native")
    )
    lettered_scores = letters if lettered else None
    return Layers(layers, native, reference, lettered_scores, Lengths(*lengths[:2]), Lengths(*lengths[2:]))


def read_ranked_layers(
    path: str, prompt: str, shared: Shared
) -> tuple[list[int], Float[np.ndarray, "layers questions choices"]]:
    """The probed layers, and what `read_ranking` would give had the model ended at each. Errors as there."""
    read = read_layers(path, shared)
    scores = read.letters if prompt == "letters" else read.native
    if scores is None:
        raise IsoglossError(_no_letters(path, prompt))
    return read.layers, scores


def read_ranking(path: str, prompt: str, shared: Shared) -> Float[np.ndarray, "questions choices"]:
    """What the choices of the shared questions are ranked by: the model's own output, at the last layer.

    Log-probability of the letters (`prompt` "letters") or mean log-probability per token of the choices' native
    texts ("cloze"), in nats. Raises `IsoglossError` as `read_layers`, and where letters were not scored.
    """
    column = RANKED_BY[prompt]
    frame = read_table(path, ["question", "layer", column])
    frame = _aligned(frame.filter(pl.col("layer") == pl.col("layer").max()), ["layer"], shared, path)
    if frame[column].null_count():
        raise IsoglossError(_no_letters(path, column))
    return _matrix(frame[column], path)


def _no_letters(path: str, column: str) -> str:
    return f"{path}: no {column} were scored; set the task's prompt to cloze or score it again"


def read_rankings(
    tables: Mapping[str, str], prompt: str, shared: Shared
) -> Float[np.ndarray, "langs questions choices"]:
    """`read_ranking` of each language's table. Raises `IsoglossError` too if their numbers of choices differ."""
    scores = {lang: read_ranking(path, prompt, shared) for lang, path in tables.items()}
    widths = {each.shape[1] for each in scores.values()}
    if len(widths) > 1:
        raise IsoglossError(f"{next(iter(tables.values()))}: choices number {sorted(widths)} by language; score again")
    return np.stack(list(scores.values()))


def read_steered(path: str, shared: Shared) -> tuple[pl.DataFrame, Float[np.ndarray, "settings questions choices"]]:
    """The settings of a steered table (vector, layer, gamma; sorted) and what the choices are ranked by in each.

    Raises `IsoglossError` if a setting lacks a question, or if the unsteered one (vector "none") is not there once.
    """
    keys = ["vector", "layer", "gamma"]
    frame = _aligned(read_table(path, ["question", *keys, "scores"]), keys, shared, path)
    settings = frame.select(keys).unique(maintain_order=True)
    if (settings["vector"] == "none").sum() != 1:
        raise IsoglossError(f"{path}: the unsteered answers are not there once; {made_again(path)}")
    return settings, _matrix(frame["scores"], path).reshape(len(settings), len(shared.questions), -1)


def _aligned(frame: pl.DataFrame, keys: list[str], shared: Shared, path: str) -> pl.DataFrame:
    """The rows sorted by `keys`, and within each of these the shared questions, each once and in order."""
    order = pl.DataFrame({"question": shared.questions, "number": range(len(shared.questions))})
    kept = frame.join(order, on="question").sort(*keys, "number")
    groups = kept.select(keys).n_unique()
    if len(kept) != groups * len(order) or kept.select(*keys, "number").n_unique() != len(kept):
        raise IsoglossError(f"{path}: a question is missing or twice at some {', '.join(keys)}; {made_again(path)}")
    return kept


def _matrix(lists: pl.Series, path: str) -> Float[np.ndarray, "rows choices"]:
    widths = lists.list.len().unique().to_list()
    values = lists.explode().to_numpy()
    if len(widths) != 1 or values.dtype != np.float64 or np.isnan(values).any():
        raise IsoglossError(
            f"{path}: {lists.name} are not one number a choice for every question (numbers of choices: {widths});"
            f" {made_again(path)}"
        )
    return values.reshape(len(lists), -1)


def log_ratios(
    native: Float[np.ndarray, "layers questions choices"],
    reference: Float[np.ndarray, "layers questions choices"],
    aggregation: str,
) -> Float[np.ndarray, "layers questions"]:
    """Log of how much likelier the native texts of the choices are than the reference language's (sec. 4.2), in nats.

    Of length-normalised probabilities: "sum" is the log of the ratio of their sums over the choices, "mean" the
    mean over the choices of the log of their ratios.
    """
    if aggregation == "mean":
        return (native - reference).mean(axis=-1)
    return np.logaddexp.reduce(native, axis=-1) - np.logaddexp.reduce(reference, axis=-1)


VARIANTS = ("log_ratio", "log_ratio_total", "log_ratio_character")
"""The log ratio by token (paper B), of whole texts, by character: columns of the table `latent`."""


def log_ratios_by_length(read: Layers, aggregation: str) -> dict[str, Float[np.ndarray, "layers questions"]]:
    """`log_ratios` three ways, by name (`VARIANTS`): per token, of the whole texts, per character; in nats of each.

    Length-normalised by tokens, a text that the tokenizer cuts into more and easier tokens is favoured; whole, a short
    one is; by characters, one in a script that says more with each.
    """
    total = [scores * length for scores, length in zip((read.native, read.reference), read.tokens, strict=True)]
    by_character = [scores / length for scores, length in zip(total, read.characters, strict=True)]
    sides = ((read.native, read.reference), total, by_character)
    return {
        name: log_ratios(native, reference, aggregation)
        for name, (native, reference) in zip(VARIANTS, sides, strict=True)
    }


def tied(scores: Float[np.ndarray, "*series questions choices"]) -> Bool[np.ndarray, "*series questions"]:
    """Whether a question's best choice is no better than another: which of them is the answer is a matter of order."""
    return (scores == scores.max(axis=-1, keepdims=True)).sum(axis=-1) > 1


def proportion(name: str, right: Any, confidence: float) -> dict[str, float | None]:
    """Columns `name`, `name_low` and `name_high`: a share of the questions with Wilson's interval."""
    interval = proportion_interval(int(np.sum(right)), len(right), confidence)
    share = or_none(float(np.mean(right))) if len(right) else None
    return {name: share, f"{name}_low": interval.low, f"{name}_high": interval.high}
