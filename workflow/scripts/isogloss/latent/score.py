"""Stage `latent_score`: one model, one task, some languages; every probed layer's view of the answers."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from isogloss.config.latent import Latent
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.latent.encoded_questions import EncodedQuestion, encoded_questions
from isogloss.latent.prompts import load_template
from isogloss.latent.vectors import write_vectors
from isogloss.models.loading import context_length, load_causal_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.scoring.continuations import Scored, score_continuations
from isogloss.scoring.lens import Lens, lens_of
from isogloss.sources.parallel_questions import read_questions

logger = logging.getLogger(__name__)

_CHUNK = 512  # questions that are held tokenised, and written as one row group


def score(
    *,
    lm: str,
    questions: str,
    reference: str,
    task: str,
    prompt: str,
    layout: str,
    spaces: Mapping[str, str],
    settings: Latent,
    layers: Sequence[int],
    state_layers: Sequence[int],
    scores: Mapping[str, str],
    states: Mapping[str, str],
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, a row per question and probed layer, and the states that steering vectors are made of.

    `layout` is that of the questions (`load_template`); `spaces` has by language what stands before an answer
    (`word_spacing`), the `reference` among them. `layers` are probed, the last one always; `final_norm` and `softcap`
    are the lens' (`lens_of`). `scores` and `states` are files by language. A row has the log-probabilities of the
    letters at the prompt's last token and, per choice, the mean log-probability per token of its text in the language
    and in `reference` (paper B, eq. 7, length-normalised), all in nats and normalised over the whole vocabulary; tokens
    and characters of each text, without what stands before it. States are the residuals at the last prompt token after
    `state_layers`, of the held-out questions. Prompts that do not fit the model's context are dropped and counted in
    the metadata.

    Raises `IsoglossError` for a layer that does not exist, if no prompt fits, for a NaN, and as
    `read_questions`, `load_causal_model` and `lens_of`.
    """
    torch.manual_seed(seed)
    of_reference = read_questions(questions, reference)
    tokenizer = load_tokenizer(lm)
    model = load_causal_model(lm, dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    instruction = settings.instruction
    metadata = {**metadata, **kernels_of(model)}
    lens = lens_of(model, final_norm=settings.final_norm, softcap=settings.softcap)
    probed = _probed(layers, state_layers, len(lens.decoder.layers))
    for lang, path in scores.items():
        own = of_reference if lang == reference else read_questions(questions, lang)
        template = load_template(layout, prompt, reference if instruction == "reference" else lang)
        before = (spaces[lang], spaces[reference])
        lettered = prompt == "letters"
        encoded = encoded_questions(tokenizer, template, own, of_reference, spaces=before, lettered=lettered)
        about: dict[str, Any] = {"task": task, "lang": lang, "prompt": prompt}
        held_out, too_long = _score_language(
            lens, encoded, len(own), path, probed, state_layers, compute.token_budget, {**metadata, **about}
        )
        about |= {"instruction": instruction, "too_long": too_long, "questions": [name for name, _ in held_out]}
        write_vectors(states[lang], _states_by_layer(held_out, state_layers, lens.decoder.d_model), about)


def _score_language(
    lens: Lens,
    questions: Iterator[EncodedQuestion],
    number: int,
    path: str,
    probed: Sequence[int],
    state_layers: Sequence[int],
    token_budget: int,
    metadata: Mapping[str, Any],
) -> tuple[list[tuple[str, Float[Tensor, "state_layers d_model"]]], int]:
    """Write one language's scores; returns the states of held-out questions, and how many prompts were too long."""
    from isogloss.tables import TableWriter

    task, lang = metadata["task"], metadata["lang"]
    context = context_length(lens.model)
    too_long = 0
    held_out: list[tuple[str, Float[Tensor, "state_layers d_model"]]] = []
    with TableWriter(path, _schema(), metadata) as writer:
        while chunk := list(islice(questions, _CHUNK)):
            fitting = [question for question in chunk if question.length <= context]
            too_long += len(chunk) - len(fitting)
            scored = score_continuations(
                lens,
                [question.prompt for question in fitting],
                list(map(_continuations, fitting)),
                layers=probed,
                state_layers=state_layers,
                with_states=[question.own.held_out for question in fitting],
                token_budget=token_budget,
            )
            _check(fitting, scored, probed, state_layers, task, lang)
            writer.write(_table(fitting, scored, probed))
            held_out += [
                (question.own.question, scores.states)
                for question, scores in zip(fitting, scored, strict=True)
                if scores.states is not None
            ]
        if too_long == number:
            raise IsoglossError(
                f"none of {number} {lang} prompts of {task} fits the model's context of {context} tokens"
            )
        writer.annotate({"too_long": too_long})
    if too_long:
        logger.warning("%s, %s: %d of %d prompts dropped, longer than the context", task, lang, too_long, number)
    return held_out, too_long


def _probed(layers: Sequence[int], state_layers: Sequence[int], depth: int) -> list[int]:
    for layer in [*layers, *state_layers]:
        if not 0 <= layer < depth:
            raise IsoglossError(f"no layer {layer}; the model has layers 0 to {depth - 1}: see latent.steering")
    return sorted({*layers, depth - 1})


def _continuations(question: EncodedQuestion) -> list[list[int]]:
    """Native texts, reference texts if they are others, letters, bare letters."""
    reference = [] if question.reference is question.native else question.reference
    return [*question.native, *reference, *([token] for token in [*question.letters, *question.bare])]


def _table(questions: Sequence[EncodedQuestion], scored: Sequence[Scored], layers: Sequence[int]) -> Any:
    import pyarrow as pa

    pairs = zip(questions, scored, strict=True)
    rows = [row for question, scores in pairs for row in _rows(question, scores, layers)]
    return pa.Table.from_pylist(rows, _schema())


def _rows(question: EncodedQuestion, scores: Scored, layers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each probed layer."""
    native_tokens, reference_tokens = (list(map(len, texts)) for texts in (question.native, question.reference))
    characters = [list(map(len, of.choices)) for of in (question.own, question.counterpart)]
    for layer, values in zip(layers, scores.log_likelihoods.tolist(), strict=True):
        native = [value / tokens for value, tokens in zip(values, native_tokens, strict=False)]
        rest = values[len(native) :]
        reference = native
        if question.reference is not question.native:
            reference = [value / tokens for value, tokens in zip(rest, reference_tokens, strict=False)]
            rest = rest[len(reference) :]
        letters = len(question.letters)
        yield {
            "question": question.own.question,
            "held_out": question.own.held_out,
            "layer": layer,
            "answer": question.own.answer,
            "letters": rest[:letters] or None,
            "letters_bare": rest[letters:] or None,
            "native": native,
            "reference": reference,
            "native_tokens": native_tokens,
            "reference_tokens": reference_tokens,
            "native_characters": characters[0],
            "reference_characters": characters[1],
        }


def _check(
    questions: Sequence[EncodedQuestion],
    scored: Sequence[Scored],
    layers: Sequence[int],
    state_layers: Sequence[int],
    task: str,
    lang: str,
) -> None:
    """Raise `IsoglossError` where a number is none."""
    for question, scores in zip(questions, scored, strict=True):
        broken = ~scores.log_likelihoods.isfinite().all(dim=1)
        bad = [layer for layer, is_bad in zip(layers, broken.tolist(), strict=True) if is_bad]
        if scores.states is not None:
            unsound = ~scores.states.isfinite().all(dim=1)
            bad += [layer for layer, is_bad in zip(state_layers, unsound.tolist(), strict=True) if is_bad]
        if bad:
            raise IsoglossError(
                f"layer {min(bad)}, language {lang}, question {question.own.question} of {task}: NaN or infinity in the"
                " residual stream; use compute.dtype float32 or check the model's weights"
            )


def _schema() -> Any:
    import pyarrow as pa

    numbers, counts = pa.list_(pa.float64()), pa.list_(pa.int32())
    return pa.schema(
        {
            "question": pa.string(),
            "held_out": pa.bool_(),
            "layer": pa.int32(),
            "answer": pa.int32(),
            "letters": numbers,
            "letters_bare": numbers,
            "native": numbers,
            "reference": numbers,
            "native_tokens": counts,
            "reference_tokens": counts,
            "native_characters": counts,
            "reference_characters": counts,
        }
    )


def _states_by_layer(
    held_out: Sequence[tuple[str, Float[Tensor, "state_layers d_model"]]], layers: Sequence[int], d_model: int
) -> dict[int, Float[Tensor, "questions d_model"]]:
    states = [of_question for _, of_question in held_out]
    stacked = torch.stack(states, dim=1) if states else torch.zeros(len(layers), 0, d_model)
    return dict(zip(layers, stacked, strict=True))
