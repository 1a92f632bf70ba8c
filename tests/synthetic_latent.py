"""Synthetic tables of paper B: languages far from the reference answer worse, transfer less and work in it less."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from isogloss.languages import in_order, language

ENDS = (("", 0), ("_low", -1), ("_high", 1))


def bounded(name: str, value: float | None, half: float) -> dict[str, float | None]:
    """A value with its interval, `half` to either side."""
    return {f"{name}{end}": None if value is None else value + sign * half for end, sign in ENDS}


def latent_tables(
    languages: Sequence[str],
    layers: Sequence[int] = (1, 5, 9),
    *,
    tasks: Sequence[str] = ("hellaswag",),
    gammas: Sequence[float] = (-2.0, -1.0, 1.0, 2.0),
    vectors: Sequence[str] = ("own", "random", "other"),
    gain: float = 0.02,
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Every table of paper B; the languages are those of the first task, the others have the first fifteen.

    `gain` is what a step of γ towards the reference adds to accuracy at the middle layer.
    """
    rng = np.random.default_rng([seed, len(languages)])
    rows: dict[str, list[dict[str, Any]]] = {}
    for index, task in enumerate(tasks):
        codes = in_order(list(languages if index == 0 else languages[:15]))
        near = {code: 1.0 if code == "en" else float(rng.uniform(0, 1)) for code in codes}
        for name, made in (
            *_process(task, codes, near, layers, rng).items(),
            *_steering(task, codes, layers, (gammas, vectors, gain), rng).items(),
            ("projection", _projection(task, codes, layers, rng)),
            ("latent_by_teaching", _teaching(task, codes, near, layers, gammas)),
        ):
            rows.setdefault(name, []).extend(made)
    return {name: pl.DataFrame(entries, infer_schema_length=None) for name, entries in rows.items()}


def _process(
    task: str, codes: list[str], near: dict[str, float], layers: Sequence[int], rng: np.random.Generator
) -> dict[str, list[dict[str, Any]]]:
    key, n, spoken = {"task": task}, {"n": 400}, {code: language(code) for code in codes}
    accuracy = {code: 0.3 + 0.5 * near[code] for code in codes}
    guessed = {**n, "chance": 0.25}
    answers = [
        {**key, "lang": code, **bounded("accuracy", accuracy[code], 0.045), **guessed, "ties": 0.03 * (1 - near[code])}
        for code in codes
    ]
    pairs = []
    for a, b in product(codes, codes):
        if a != b:
            alike = 0.12 * (spoken[a].script == spoken[b].script) + 0.08 * (spoken[a].family == spoken[b].family)
            transfer = 0.25 + 0.45 * near[b] + alike
            pairs.append(
                {**key, "lang_a": a, "lang_b": b}
                | bounded("consistency", 0.1 + 0.5 * near[a] * near[b] + alike, 0.03)
                | bounded("positive_transfer", transfer, 0.04)
                | bounded("negative_transfer", 0.3 + 0.2 * near[a], 0.04)
                | {"consistency_chance": 0.07, "positive_transfer_chance": accuracy[b], "negative_transfer_chance": 0.2}
                | bounded("transfer_above_chance", (transfer - accuracy[b]) / (1 - accuracy[b]), 0.05)
                | n
            )
    summary = {**key, "accuracy": float(np.mean([*accuracy.values()])), "accuracy_sd": 0.14}
    for name in ("consistency", "positive_transfer", "negative_transfer"):
        summary |= bounded(name, float(np.mean([pair[name] for pair in pairs])), 0.01)
        summary[f"{name}_chance"] = float(np.mean([pair[f"{name}_chance"] for pair in pairs]))
    summary |= bounded("transfer_above_chance", float(np.mean([pair["transfer_above_chance"] for pair in pairs])), 0.02)
    latent = []
    for layer in layers:
        depth = layers.index(layer) / max(1, len(layers) - 1)
        for code in codes:
            ratio = 2 * (depth - 0.5) ** 2 - 0.9 * near[code] + 0.1 * float(rng.normal()) + 0.3
            right = 0.25 + (accuracy[code] - 0.25) * depth
            latent.append(
                {**key, "layer": layer, "lang": code}
                | bounded("log_ratio", None if code == "en" else ratio, 0.08)
                | bounded("accuracy_native", right, 0.04)
                | bounded("accuracy_reference", right if code == "en" else 0.25 + 0.4 * depth**2, 0.04)
                | {"accuracy_letters": right + 0.02, **guessed, "token_ratio": 2 - near[code]}
                | bounded("log_ratio_total", None if code == "en" else 3 * ratio - 1, 0.3)
                | bounded("log_ratio_character", None if code == "en" else 0.4 * ratio, 0.03)
            )
    correlation = [
        {**key, "target": target}
        | bounded("r", -0.7 if len(codes) > 4 else None, 0.2)
        | {"p": 0.004, "p_adjusted": 0.012, "stars": "**", "n": len(codes) - 1, "family_size": 9}
        | {
            f"{prefix}{name}": value if len(codes) > 4 else None
            for prefix, r in (("", -0.7), ("total_", 0.2), ("character_", -0.3))
            for name, value in (("r", r), ("p_permutation", 0.01), ("partial_r", r / 2), ("partial_p", 0.3))
            if prefix + name != "r"
        }
        | {f"{prefix}length_r": 0.8 if len(codes) > 4 else None for prefix in ("", "character_")}
        | {"total_length_r": -0.1 if len(codes) > 4 else None}
        for target in ("accuracy", "consistency", "positive_transfer")
    ]
    return {
        "answers": answers,
        "transfer": pairs,
        "transfer_summary": [summary | {"n_languages": len(codes), **n}],
        "latent": latent,
        "latent_correlation": correlation,
        "transfer_layers": [
            {**key, "layer": layer, "n_languages": len(codes), **n}
            | bounded("accuracy", 0.3 + 0.02 * at, 0.02)
            | bounded("consistency", 0.1 + 0.1 * at, 0.02)
            | bounded("positive_transfer", 0.4 + 0.05 * at, 0.03)
            | bounded("negative_transfer", 0.3, 0.03)
            | bounded("transfer_above_chance", 0.05 + 0.1 * at, 0.04)
            | {"consistency_chance": 0.07, "positive_transfer_chance": 0.35, "negative_transfer_chance": 0.2}
            for at, layer in enumerate(layers)
        ],
    }


def _steering(
    task: str,
    codes: list[str],
    layers: Sequence[int],
    asked: tuple[Sequence[float], Sequence[str], float],
    rng: np.random.Generator,
) -> dict[str, list[dict[str, Any]]]:
    gammas, vectors, gain = asked
    rows, summary = [], []
    for vector, layer, gamma in [("none", -1, 0.0), *product(vectors, layers, gammas)]:
        depth = layers.index(layer) / max(1, len(layers) - 1) if layer >= 0 else 0.0
        strength = {"own": 1.0, "shared": 0.8, "other": 0.4}.get(vector, 0.0) * (1 - 1.5 * (depth - 0.5) ** 2)
        mean = gain * gamma * strength - 0.004 * gamma**2
        setting = {"task": task, "vector": vector, "layer": layer, "gamma": gamma}
        changes = {}
        for code in codes:
            if code != "en":
                change = mean + (0.01 * float(rng.normal()) if gamma else 0.0)
                changes[code] = change
                rows.append(
                    {**setting, "lang": code, "accuracy": 0.5 + change}
                    | bounded("accuracy_change", change, 0.02)
                    | {"consistency": 0.4 + change}
                    | bounded("consistency_change", 1.5 * change, 0.03)
                    | {"positive_transfer": 0.6 + change}
                    | bounded("positive_transfer_change", 1.2 * change, 0.03)
                    | {"n": 350}
                )
        average = float(np.mean([*changes.values()]))
        half = None if len(changes) == 1 else 0.01
        measured = {}
        for name, factor in (("accuracy_change", 1.0), ("consistency_change", 1.5), ("positive_transfer_change", 1.2)):
            measured |= bounded(name, factor * average, half or 0.0)
            if half is None:
                measured |= {f"{name}_low": None, f"{name}_high": None}
        summary.append(setting | measured | {"n_languages": len(changes)})
    return {"steering": rows, "steering_summary": summary, "steering_judged": _judged(task, codes, layers, asked)}


def _judged(
    task: str, codes: list[str], layers: Sequence[int], asked: tuple[Sequence[float], Sequence[str], float]
) -> list[dict[str, Any]]:
    gammas, vectors, gain = asked
    others = [code for code in codes if code != "en"]
    where = {"layer_first": layers[0], "gamma_first": max(gammas), "layer_second": layers[-1], "gamma_second": 1.0}
    rows = []
    for vector in (*vectors, "directions"):
        own, many = vector == "own", vector == "directions"
        for lang in (None, *others):
            half = 0.01 if lang or len(others) > 1 else None
            judged = gain if own else 0.3 * gain if vector != "random" else 0.0
            row = {"task": task, "vector": vector, "lang": lang, "reason": None, "n": 200}
            row |= dict.fromkeys(where) if many else where
            row |= {"change_chosen": None if many else judged + 0.02, "n_settings": None if many else 8}
            values = {"change_judged": None if many else judged, "at_own": None if own else 0.1 * gain}
            for name, value in (values | {"own_less": None if own else 0.9 * gain}).items():
                row |= bounded(name, value, half or 0.0)
                row |= {f"{name}_low": None, f"{name}_high": None} if half is None else {}
            row |= {"n_directions": 20, "n_as_large": 1, "p": 2 / 21} if many else {}
            rows.append(row | {"n_languages": None if lang else len(others)})
    return rows


def _projection(task: str, codes: list[str], layers: Sequence[int], rng: np.random.Generator) -> list[dict[str, Any]]:
    scripts = list(dict.fromkeys(language(code).script for code in codes))
    return [
        {
            "task": task,
            "layer": layer,
            "lang": code,
            "question": f"q{question}",
            "pc1": 2 * scripts.index(language(code).script) * (1 - order / len(layers)) + float(rng.normal()),
            "pc2": 1.5 * codes.index(code) / len(codes) + float(rng.normal()),
            "explained_1": 0.4,
            "explained_2": 0.15,
        }
        for order, layer in enumerate(layers)
        for code in codes
        for question in range(8)
    ]


def _teaching(
    task: str, codes: list[str], near: dict[str, float], layers: Sequence[int], gammas: Sequence[float]
) -> list[dict[str, Any]]:
    rows = []
    for code in codes:
        for taught, known in (("all", 0.5), ("reference", 0.5 if code == "en" else 0.2), ("none", 0.0)):
            own = code == "en"
            rows.append(
                {"task": task, "lang": code, "taught": taught}
                | bounded("accuracy", 0.25 + known * near[code], 0.06)
                | bounded("consistency", None if own else 0.1 + known, 0.08)
                | bounded("positive_transfer", None if own else 0.25 + known * near[code], 0.07)
                | bounded("log_ratio", None if own else 0.3 - known, 0.1)
                | bounded("steered_accuracy_change", None if own else 0.1 * known, 0.05)
                | {
                    "layer": None if own else layers[len(layers) // 2],
                    "gamma": None if own else max(gammas),
                    "n": 120,
                    "n_steered": None if own else 70,
                }
            )
    return rows
