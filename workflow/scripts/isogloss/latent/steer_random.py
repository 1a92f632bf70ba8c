"""Stage `steer_random`: random directions where own vectors are judged, on questions that did not choose where."""

from collections.abc import Mapping
from typing import Any

import torch

from isogloss.config.measures import Compute
from isogloss.latent.encoded_questions import encoded_questions
from isogloss.latent.halves import Setting
from isogloss.latent.prompts import load_template
from isogloss.latent.steered_scores import Sweep, Variant, write_scores
from isogloss.latent.vectors import Vectors, random_vectors, read_vectors
from isogloss.models.loading import load_causal_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.scoring.sweep import steering_lens
from isogloss.sources.parallel_questions import read_questions
from isogloss.tables import read_table


def steer_random(
    *,
    lm: str,
    questions: str,
    reference: str,
    task: str,
    prompt: str,
    layout: str,
    instruction: str,
    spaces: Mapping[str, str],
    vectors: Mapping[str, str],
    choice: str,
    directions: int,
    steered: Mapping[str, str],
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, a row per question and random direction with the choices' scores, as `steer.steer` does.

    `choice` is the table of `steering.steering`: by task and question the layer and γ that the other half of the
    questions chose for the own vectors, and whether directions are tried on it. `vectors` are the own ones by
    language: each of the `directions` is as long as that of its layer, drawn for the language by `seed`, and called
    random-1 and so on. The unsteered rows are there too. A task of which nothing was chosen has an empty table.

    Raises `IsoglossError` as `steer.steer`, and for vectors that are missing.
    """
    torch.manual_seed(seed)
    rows = read_table(choice).filter(task=task, tried=True)
    chosen: dict[Setting, set[str]] = {}
    for question, layer, gamma in rows.select("question", "layer", "gamma").iter_rows():
        chosen.setdefault(Setting(layer, gamma), set()).add(question)
    model = load_causal_model(lm, dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    tokenizer = load_tokenizer(lm)
    metadata = {**metadata, **kernels_of(model)}
    lens = steering_lens(model)
    of_reference = read_questions(questions, reference)
    for lang, path in steered.items():
        own = of_reference if lang == reference else read_questions(questions, lang)
        template = load_template(layout, prompt, reference if instruction == "reference" else lang)
        drawn = _directions(read_vectors(vectors[lang]), directions, seed, task, lang) if chosen else {}

        before = (spaces[lang], spaces[reference])
        sweeps: list[Sweep] = []
        for setting, ids in chosen.items():
            parts = [[question for question in all_of if question.question in ids] for all_of in (own, of_reference)]
            lettered = prompt == "letters"
            encoded = encoded_questions(tokenizer, template, *parts, spaces=before, lettered=lettered, held_out=False)
            sweeps.append(Sweep(encoded, [Variant(name, *setting) for name in drawn], drawn))
        about = {**metadata, "task": task, "lang": lang, "reference": reference, "prompt": prompt}
        write_scores(path, lens, sweeps, compute.token_budget, about)


def _directions(own: Vectors, number: int, seed: int, task: str, lang: str) -> dict[str, Vectors]:
    return {
        f"random-{one}": random_vectors(own, seed=seed, task=task, lang=f"{lang}/{one}") for one in range(1, 1 + number)
    }
