"""Settings of steering that are chosen on one half of the questions, so that the other half can judge them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Setting(NamedTuple):
    """Where and how strongly a vector is added."""

    layer: int
    gamma: float


def in_order(questions: Sequence[str], *, seed: int, task: str) -> list[int]:
    """The questions' positions in an order that is a function of their ids, task and seed alone."""
    keys = [hashlib.sha256(f"{seed}/{task}/{question}".encode()).digest() for question in questions]
    return sorted(range(len(questions)), key=keys.__getitem__)


def halves(questions: Sequence[str], *, seed: int, task: str) -> Int[np.ndarray, " questions"]:
    """Which half each question is in, 0 or 1, every other of `in_order`."""
    half = np.zeros(len(questions), dtype=np.int64)
    half[in_order(questions, seed=seed, task=task)[1::2]] = 1
    return half


def choose(
    changes: Mapping[Setting, Float[np.ndarray, "langs questions"]], half: Int[np.ndarray, " questions"]
) -> tuple[Setting, Setting] | None:
    """The setting with the largest mean change over languages and questions in half 0, and in half 1.

    Of equals the weakest, then the lowest. None without a setting, or where a half has no question.
    """
    if not changes or not half.any() or half.all():
        return None
    order = sorted(changes, key=lambda setting: (abs(setting.gamma), setting.layer, setting.gamma))
    first, second = (max(order, key=lambda setting: changes[setting][:, half == side].mean()) for side in (0, 1))
    return first, second


def by_half(
    changes: Mapping[Setting, Float[np.ndarray, "langs questions"]],
    half: Int[np.ndarray, " questions"],
    settings: tuple[Setting, Setting],
) -> Float[np.ndarray, "langs questions"]:
    """Each question's change in the setting of its half: `settings` of half 0 and of half 1."""
    return np.where(half == 0, changes[settings[0]], changes[settings[1]])
