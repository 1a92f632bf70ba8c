"""Steering vectors from the states of held-out questions, and their controls (paper B, sec. 2.3)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from isogloss.errors import IsoglossError, made_again

OWN, RANDOM, OTHER, SHARED = "own", "random", "other", "shared"
Vectors = dict[int, Float[Tensor, " d_model"]]  # by layer


class States(NamedTuple):
    """The residual stream at the last prompt token of held-out questions in one language."""

    path: str
    task: str
    lang: str
    prompt: str
    questions: list[str]  # ids
    layers: dict[int, Float[Tensor, "questions d_model"]]


def read_states(path: str, *, task: str, prompt: str, layers: Sequence[int]) -> States:
    """The states in a file of the stage `latent_score`, after each of `layers`.

    Raises `IsoglossError` for a file that is missing, damaged, of another task or prompt, lacks a layer or
    has a NaN.
    """
    if not Path(path).is_file():
        raise IsoglossError(f"{path}: no such states; {made_again(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            there = set(file.keys())
            lacking = [layer for layer in layers if f"layer_{layer}" not in there]
            by_layer = {layer: file.get_tensor(f"layer_{layer}") for layer in layers if layer not in lacking}
    except (SafetensorError, OSError) as error:
        raise IsoglossError(f"{path}: damaged safetensors file ({error}); {made_again(path)}") from error
    recorded = (about.get("task"), about.get("prompt"))
    if recorded != (task, prompt):
        raise IsoglossError(
            f"{path}: these are the states of task {recorded[0]}, prompt {recorded[1]}, not of {task},"
            f" {prompt}; name the right file"
        )
    if lacking:
        raise IsoglossError(
            f"{path}: no states of layer {lacking[0]}; {made_again(path)}, with the layer in latent.steering.layers"
        )
    for layer, states in by_layer.items():
        if not states.isfinite().all():
            raise IsoglossError(f"{path}: NaN or infinity in the states of layer {layer}; run its scoring again")
    return States(path, task, about["lang"], prompt, json.loads(about["questions"]), by_layer)


def read_vectors(path: str) -> Vectors:
    """The vectors that `write_vectors` saved, one a layer. Raises `IsoglossError` for a missing or damaged file."""
    if not Path(path).is_file():
        raise IsoglossError(f"{path}: no such vectors; {made_again(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            return {int(name.removeprefix("layer_")): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise IsoglossError(f"{path}: damaged safetensors file ({error}); {made_again(path)}") from error


def common_questions(states: Sequence[States]) -> list[str]:
    """The ids that all of `states` have, in the order of the first: parallel questions.

    A prompt that is too long in one language is in no vector. Raises `IsoglossError` if there is none.
    """
    shared = set.intersection(*(set(of_lang.questions) for of_lang in states))
    if not shared:
        others = ", ".join(of_lang.path for of_lang in states if of_lang.path != states[0].path)
        raise IsoglossError(
            f"{states[0].path}: has no question in common with {others}; they are of different draws: run their scoring"
            " again"
        )
    return [question for question in states[0].questions if question in shared]


def steering_vectors(states: States, reference: States, questions: Sequence[str]) -> Vectors:
    """v_{m→en} of each layer: mean over `questions` of reference states less mean of the language's, in float32."""
    means = []
    for of_lang in (reference, states):
        row_of = {question: row for row, question in enumerate(of_lang.questions)}
        rows = [row_of[question] for question in questions]
        means.append({layer: of_layer[rows].double().mean(dim=0) for layer, of_layer in of_lang.layers.items()})
    towards, start = means
    return {layer: (towards[layer] - start[layer]).float() for layer in start}


def random_vectors(own: Vectors, *, seed: int, task: str, lang: str) -> Vectors:
    """Control: a random direction at each layer, as long as the own vector; a function of its arguments alone."""
    drawn: Vectors = {}
    for layer, vector in own.items():
        key = [seed, layer, *f"{task}/{lang}".encode()]
        direction = torch.from_numpy(np.random.default_rng(key).standard_normal(len(vector))).float()
        drawn[layer] = direction * (vector.norm() / direction.norm())
    return drawn


def shared_vectors(own: Sequence[Vectors]) -> Vectors:
    """One vector for all languages: the mean of their own ones."""
    return {layer: torch.stack([vectors[layer] for vectors in own]).mean(dim=0) for layer in own[0]}


def write_vectors(
    path: str, vectors: Mapping[int, Float[Tensor, "*vectors d_model"]], about: Mapping[str, Any]
) -> None:
    """Save `layer_{l}` for each layer, a vector or several, as safetensors; metadata that are no strings as JSON."""
    from safetensors.torch import save_file

    from isogloss.tables import atomic_path

    described = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    with atomic_path(Path(path)) as aside:
        save_file(
            {f"layer_{layer}": vector.contiguous() for layer, vector in vectors.items()}, aside, metadata=described
        )
        aside.chmod(0o644)
