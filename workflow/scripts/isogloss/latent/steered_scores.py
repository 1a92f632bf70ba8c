"""The table of what a steered model makes of the choices: written question by question, read by the studies."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from isogloss.errors import IsoglossError
from isogloss.latent.encoded_questions import EncodedQuestion
from isogloss.latent.vectors import Vectors
from isogloss.models.loading import context_length
from isogloss.scoring.lens import Lens
from isogloss.scoring.sweep import Addition, steered_scores

logger = logging.getLogger(__name__)

_ROWS = 2**18  # of a row group


class Variant(NamedTuple):
    """One way of steering: γ times a vector, added after a layer."""

    vector: str
    layer: int
    gamma: float


UNSTEERED = Variant("none", -1, 0.0)


class Sweep(NamedTuple):
    """Questions, and the ways of steering that each is asked in."""

    questions: Iterator[EncodedQuestion]
    variants: Sequence[Variant]
    vectors: Mapping[str, Vectors]  # by name


def write_scores(
    path: str,
    lens: Lens,
    sweeps: Sequence[Sweep],
    token_budget: int,
    metadata: Mapping[str, Any],
    *,
    keep: int = 0,
) -> list[EncodedQuestion]:
    """Write the scores of the questions that fit the context of a `steering_lens`'s model; returns the first `keep`.

    Raises `IsoglossError` for a NaN, and if questions were given and none fits.
    """
    from isogloss.tables import TableWriter

    context = context_length(lens.model)
    kept: list[EncodedQuestion] = []
    count = too_long = 0
    with TableWriter(path, _schema(), metadata) as writer:
        for questions, variants, vectors in sweeps:
            additions = [Addition(layer, gamma * vectors[name][layer]) for name, layer, gamma in variants]
            rows = [UNSTEERED, *variants]
            while chunk := list(islice(questions, max(1, _ROWS // len(rows)))):
                fitting = [question for question in chunk if question.length <= context]
                too_long += len(chunk) - len(fitting)
                count += len(fitting)
                kept += fitting[: keep - len(kept)]
                prompts, continuations = [question.prompt for question in fitting], list(map(_ranked, fitting))
                scores = steered_scores(lens, prompts, continuations, additions, token_budget=token_budget)
                _check(fitting, rows, scores, metadata)
                writer.write(_table(fitting, rows, scores))
        writer.annotate({"too_long": too_long})
        where = f"{metadata['task']}, {metadata['lang']}"
        if sweeps and not count:
            raise IsoglossError(f"{where}: no prompt that is not held out fits the model's context of {context} tokens")
    if too_long:
        logger.warning("%s: %d of %d prompts dropped, longer than the context", where, too_long, count + too_long)
    return kept


def _ranked(question: EncodedQuestion) -> list[list[int]]:
    """The letters, or, of a prompt without them, the choices' texts."""
    return [[token] for token in question.letters] or question.native


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        {
            "question": pa.string(),
            "answer": pa.int32(),
            "vector": pa.string(),
            "layer": pa.int32(),
            "gamma": pa.float64(),
            "scores": pa.list_(pa.float64()),
        }
    )


def _table(
    questions: Sequence[EncodedQuestion],
    rows: Sequence[Variant],
    scores: Float[Tensor, "questions configurations choices"],
) -> Any:
    import pyarrow as pa

    return pa.table(
        {
            "question": pa.array([question.own.question for question in questions for _ in rows], pa.string()),
            "answer": pa.array([question.own.answer for question in questions for _ in rows], pa.int32()),
            "vector": pa.array([row.vector for row in rows] * len(questions), pa.string()),
            "layer": pa.array([row.layer for row in rows] * len(questions), pa.int32()),
            "gamma": pa.array([row.gamma for row in rows] * len(questions), pa.float64()),
            "scores": pa.array(scores.flatten(0, 1).tolist(), pa.list_(pa.float64())),
        }
    )


def _check(
    questions: Sequence[EncodedQuestion],
    rows: Sequence[Variant],
    scores: Float[Tensor, "questions configurations choices"],
    metadata: Mapping[str, Any],
) -> None:
    """Raise `IsoglossError` where a number is none."""
    bad = (~scores.isfinite().all(dim=2)).nonzero()
    if len(bad):
        number, row = bad[0].tolist()
        variant = rows[row]
        raise IsoglossError(
            f"task {metadata['task']}, language {metadata['lang']}, question {questions[number].own.question},"
            f" vector {variant.vector}, layer {variant.layer}, gamma {variant.gamma:g}: NaN or infinity in the scores;"
            " lower gamma, or use compute.dtype float32"
        )
