"""Stage `steer`: one model, one task, some languages, steered towards the reference (paper B, sec. 4.4)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isogloss.config.latent import Steering
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.latent.encoded_questions import EncodedQuestion, encoded_questions
from isogloss.latent.prompts import load_template
from isogloss.latent.steered_answers import generated_answers, write_answers
from isogloss.latent.vectors import (
    OTHER,
    OWN,
    RANDOM,
    SHARED,
    States,
    Vectors,
    common_questions,
    random_vectors,
    read_states,
    shared_vectors,
    steering_vectors,
    write_vectors,
)
from isogloss.models.loading import context_length, load_causal_model, load_tokenizer
from isogloss.scoring.sweep import Addition, check_layers, steered_scores
from isogloss.sources.parallel_questions import read_questions

logger = logging.getLogger(__name__)

_ROWS = 2**18  # of a row group


class Variant(NamedTuple):
    """One way of steering: γ times a vector, added after a layer."""

    vector: str
    layer: int
    gamma: float


class _Sources(NamedTuple):
    """The states that a language's vectors are made of."""

    own: States
    reference: States
    control: States | None  # of the language whose vector is the control
    every: list[States]  # of all languages, if there is a shared vector

    @property
    def used(self) -> list[States]:
        """Each of them, the own ones first."""
        return [self.own, self.reference, *([self.control] if self.control else []), *self.every]


UNSTEERED = Variant("none", -1, 0.0)


def steer(
    *,
    lm: str,
    questions: str,
    reference: str,
    task: str,
    prompt: str,
    layout: str,
    instruction: str,
    states: Mapping[str, str],
    controls: Mapping[str, str],
    settings: Steering,
    layers: Sequence[int],
    steered: Mapping[str, str],
    vectors: Mapping[str, str],
    compute: Compute,
    seed: int,
    generated: Mapping[str, str],
    metadata: Mapping[str, Any],
) -> None:
    """Write each language's steering vectors, and a row per question, vector, layer and γ with the choices' scores.

    `layout` is that of the questions (`load_template`). `states`, `steered`, `vectors` and `generated` are files by
    language. Vectors are mean differences of the
    `reference`'s states and the language's over the held-out questions, which are left out here. Beside the own
    vector: a `random` direction as long, the vector of the language's control in `controls`, if it has one, and,
    if `shared`, the mean over all languages of `states` but the reference. Scores are in nats: the letters'
    log-probabilities or the choices' texts' mean per token, as `score` has them at the last layer. γ = 0 is one
    row a question, vector "none", layer -1. Prompts that do not fit the context are dropped as `score` drops them
    and counted in the metadata. With `settings.generation`, `generated` shows
    what the model says to the first questions, steered by the own vector.

    Raises `IsoglossError` for a layer that does not exist, states that are missing or of something else, a NaN,
    and as `read_questions`, `load_causal_model` and `steered_scores`.
    """
    torch.manual_seed(seed)
    generation = settings.generation
    wanted: set[int] = {*layers, *([generation.layer] if generation else [])}
    model = load_causal_model(lm, dtype=getattr(torch, compute.dtype))
    check_layers(model, sorted(wanted))
    tokenizer = load_tokenizer(lm)
    read = {lang: read_states(path, task=task, prompt=prompt, layers=sorted(wanted)) for lang, path in states.items()}
    _check_languages(read)
    of_reference = read_questions(questions, reference)
    for lang, path in steered.items():
        every = list(read.values()) if settings.shared else []
        sources = _Sources(read[lang], read[reference], read.get(controls.get(lang, "")), every)
        common = common_questions(sources.used)
        by_name = _vectors(sources, common, seed if settings.random else None)
        about = {**metadata, "task": task, "lang": lang, "reference": reference, "prompt": prompt, "questions": common}
        write_vectors(vectors[lang], by_name[OWN], about)
        template = load_template(layout, prompt, reference if instruction == "reference" else lang)
        own = of_reference if lang == reference else read_questions(questions, lang)
        encoded = encoded_questions(
            tokenizer, template, own, of_reference, lettered=prompt == "letters", held_out=False
        )
        gammas = [float(gamma) for gamma in settings.gammas if gamma != 0]
        variants = [Variant(name, layer, gamma) for name in by_name for layer in layers for gamma in gammas]
        keep = generation.questions if generation else 0
        few = _write_scores(path, model, encoded, variants, by_name, compute.token_budget, about, keep=keep)
        if generation:
            chosen = {"layer": generation.layer, "new_tokens": generation.new_tokens}
            answers = generated_answers(
                model,
                tokenizer,
                [question.prompt for question in few],
                [(question.own, question.counterpart) for question in few],
                by_name[OWN][generation.layer],
                gammas=generation.gammas,
                token_budget=compute.token_budget,
                **chosen,
            )
            write_answers(generated[lang], answers, {**about, **chosen})


def _check_languages(read: Mapping[str, States]) -> None:
    for lang, states in read.items():
        if states.lang != lang:
            raise IsoglossError(f"{states.path}: states of {states.lang}, not of {lang}; name the right file")


def _vectors(sources: _Sources, questions: Sequence[str], seed: int | None) -> dict[str, Vectors]:
    """The vectors by name; the random one with `seed`, if there is one."""
    own, reference = sources.own, sources.reference
    vectors = {OWN: steering_vectors(own, reference, questions)}
    if seed is not None:
        vectors[RANDOM] = random_vectors(vectors[OWN], seed=seed, task=own.task, lang=own.lang)
    if sources.control:
        vectors[OTHER] = steering_vectors(sources.control, reference, questions)
    if others := [states for states in sources.every if states.lang != reference.lang]:
        vectors[SHARED] = shared_vectors([steering_vectors(states, reference, questions) for states in others])
    return vectors


def _ranked(question: EncodedQuestion) -> list[list[int]]:
    """The letters, or, of a prompt without them, the choices' texts."""
    return [[token] for token in question.letters] or question.native


def _write_scores(
    path: str,
    model: nn.Module,
    questions: Iterator[EncodedQuestion],
    variants: Sequence[Variant],
    vectors: Mapping[str, Vectors],
    token_budget: int,
    metadata: Mapping[str, Any],
    *,
    keep: int,
) -> list[EncodedQuestion]:
    """Write the scores of the questions that fit the model's context; returns the first `keep` of these."""
    from isogloss.tables import TableWriter

    context = context_length(model)
    additions = [Addition(layer, gamma * vectors[name][layer]) for name, layer, gamma in variants]
    rows = [UNSTEERED, *variants]
    kept: list[EncodedQuestion] = []
    count = too_long = 0
    with TableWriter(path, _schema(), metadata) as writer:
        while chunk := list(islice(questions, max(1, _ROWS // len(rows)))):
            fitting = [question for question in chunk if question.length <= context]
            too_long += len(chunk) - len(fitting)
            count += len(fitting)
            kept += fitting[: keep - len(kept)]
            prompts, continuations = [question.prompt for question in fitting], list(map(_ranked, fitting))
            scores = steered_scores(model, prompts, continuations, additions, token_budget=token_budget)
            _check(fitting, rows, scores, metadata)
            writer.write(_table(fitting, rows, scores))
        writer.annotate({"too_long": too_long})
        where = f"{metadata['task']}, {metadata['lang']}"
        if not count:
            raise IsoglossError(f"{where}: no prompt that is not held out fits the model's context of {context} tokens")
    if too_long:
        logger.warning("%s: %d of %d prompts dropped, longer than the context", where, too_long, count + too_long)
    return kept


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
