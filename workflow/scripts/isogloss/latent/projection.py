"""Where a layer puts the same questions in every language, in two dimensions (paper B, Fig. 3)."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from scipy.linalg import eigh

from isogloss.errors import IsoglossError, made_again
from isogloss.latent.answers import by_task
from isogloss.stats import or_none
from isogloss.tables import write_table
from isogloss.tables.latent import PROJECTION

logger = logging.getLogger(__name__)

_SCHEMA = {
    "task": pl.String,
    "layer": pl.Int32,
    "lang": pl.String,
    "question": pl.String,
    **dict.fromkeys(["pc1", "pc2", "explained_1", "explained_2"], pl.Float64),
}


class Projection(NamedTuple):
    """Points in the plane of their two first principal components."""

    points: Float[np.ndarray, "points 2"]  # in the units of the residual stream
    explained: Float[np.ndarray, " 2"]  # shares of the variance; NaN if there is none


def project(
    *, states: Sequence[str], tasks: Sequence[str], langs: Sequence[str], projection: str, metadata: Mapping[str, Any]
) -> None:
    """Write the two first principal components of the last prompt token's residual, per task and layer.

    `states` are the safetensors of the held-out questions' states, with the task and language of each. All languages
    of a task are projected together, on the questions that all have, a layer in memory at a time.

    Raises `IsoglossError` for a file that is damaged or lacks a layer of the others, or if languages share no question.
    """
    frames: list[pl.DataFrame] = []
    for task, paths in by_task(states, tasks, langs):
        questions = _questions(paths, task)
        layers = sorted(set().union(*(_layers(path) for path in paths.values())))
        for layer in layers:
            stacked = np.concatenate([_read(path, layer, questions) for path in paths.values()])
            plane = principal_plane(stacked)
            frame = pl.DataFrame(
                {
                    "task": task,
                    "layer": layer,
                    "lang": [lang for lang in paths for _ in questions],
                    "question": questions * len(paths),
                    "pc1": plane.points[:, 0],
                    "pc2": plane.points[:, 1],
                    "explained_1": or_none(plane.explained[0]),
                    "explained_2": or_none(plane.explained[1]),
                },
                schema=_SCHEMA,
            )
            frames.append(frame)
    write_table(projection, pl.concat(frames), metadata, PROJECTION)


def principal_plane(points: Float[np.ndarray, "points d_model"]) -> Projection:
    """The two first principal components of the centred points, from the smaller of their two Gram matrices.

    A component's direction is such that its weight of largest magnitude is positive. Needs two points, two dimensions.
    """
    centred = points.astype(np.float64)
    centred -= centred.mean(axis=0)
    tall = len(centred) > centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    total = float(np.trace(gram))
    values, vectors = eigh(gram, subset_by_index=[len(gram) - 2, len(gram) - 1])
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    directions = vectors if tall else centred.T @ vectors  # not of length one if not tall: the sign alone is read
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    coordinates = centred @ vectors if tall else vectors * np.sqrt(values)
    explained = values / total if total else np.full(2, np.nan)
    return Projection(coordinates * np.where(signs == 0, 1, signs), explained)


def _questions(paths: Mapping[str, str], task: str) -> list[str]:
    """The questions that every file has states of, in the order of the first."""
    recorded = [_recorded(path) for path in paths.values()]
    everywhere = set.intersection(*map(set, recorded))
    left_out = len(set().union(*recorded)) - len(everywhere)
    if left_out:
        logger.warning("%s: %d question(s) that some language lacks are left out of the projection", task, left_out)
    if len(everywhere) * len(paths) < 2:
        raise IsoglossError(
            f"{task}: {len(everywhere)} question(s) have states in all of {', '.join(paths)}, too few to project;"
            " hold out more questions"
        )
    return [question for question in recorded[0] if question in everywhere]


def _open(path: str) -> Any:
    if not Path(path).exists():
        raise IsoglossError(f"{path}: no such file of states; {made_again(path)}")
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise IsoglossError(f"{path}: damaged states ({error}); {made_again(path)}") from error


def _recorded(path: str) -> list[str]:
    with _open(path) as file:
        return json.loads((file.metadata() or {}).get("questions", "[]"))


def _layers(path: str) -> set[int]:
    with _open(path) as file:
        return {int(key.removeprefix("layer_")) for key in file.keys()}  # noqa: SIM118


def _read(path: str, layer: int, questions: Sequence[str]) -> Float[np.ndarray, "questions d_model"]:
    recorded = {question: row for row, question in enumerate(_recorded(path))}
    with _open(path) as file:
        if f"layer_{layer}" not in file.keys():  # noqa: SIM118
            raise IsoglossError(f"{path}: no states of layer {layer}; {made_again(path)}")
        states = file.get_tensor(f"layer_{layer}")
    if len(states) != len(recorded):
        raise IsoglossError(f"{path}: {len(states)} states of {len(recorded)} questions; {made_again(path)}")
    return states[[recorded[question] for question in questions]]
