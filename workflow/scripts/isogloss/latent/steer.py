"""Stage `steer`: one model, one task, some languages, steered towards the reference (paper B, sec. 4.4)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from isogloss.config.latent import Steering
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.latent.encoded_questions import encoded_questions
from isogloss.latent.prompts import load_template
from isogloss.latent.steered_answers import generated_answers, write_answers
from isogloss.latent.steered_scores import Sweep, Variant, write_scores
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
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.scoring.sweep import check_layers, steering_lens
from isogloss.sources.parallel_questions import read_questions


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


def steer(
    *,
    lm: str,
    questions: str,
    reference: str,
    task: str,
    prompt: str,
    layout: str,
    instruction: str,
    spaces: Mapping[str, str],
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

    `layout` and `spaces` are as in `score`. `states`, `steered`, `vectors` and `generated` are files by
    language. Vectors are mean differences of the
    `reference`'s states and the language's over the held-out questions, which are left out here. Beside the own
    vector: a `random` direction as long, the vector of the language's control in `controls`, if it has one, and,
    if `shared`, the mean over all languages of `states` but the reference. Scores are in nats: the letters'
    log-probabilities or the choices' texts' mean per token, as `score` has them at the last layer. γ = 0 is one
    row a question, vector "none", layer -1. Prompts that do not fit the context are dropped as `score` drops them
    and counted in the metadata. With `settings.generation`, `generated` shows
    what the model says to the first questions, steered by the own vector.

    Raises `IsoglossError` for a layer that does not exist, states that are missing or of something else, a NaN,
    and as `read_questions`, `load_causal_model` and `steering_lens`.
    """
    torch.manual_seed(seed)
    generation = settings.generation
    wanted: set[int] = {*layers, *([generation.layer] if generation else [])}
    model = load_causal_model(lm, dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
    check_layers(model, sorted(wanted))
    lens = steering_lens(model)
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
        before, lettered = (spaces[lang], spaces[reference]), prompt == "letters"
        encoded = encoded_questions(
            tokenizer, template, own, of_reference, spaces=before, lettered=lettered, held_out=False
        )
        gammas = [float(gamma) for gamma in settings.gammas if gamma != 0]
        variants = [Variant(name, layer, gamma) for name in by_name for layer in layers for gamma in gammas]
        keep = generation.questions if generation else 0
        sweep = Sweep(encoded, variants, by_name)
        few = write_scores(path, lens, [sweep], compute.token_budget, about, keep=keep)
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
