"""Consistency and transfer of what the lens ranks at each probed layer (paper B, sec. 2.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.latent.answers import by_task, read_ranked_layers, shared_questions
from isogloss.latent.chance import by_chance
from isogloss.latent.pairs import MEASURED, PairMeans, each_pair
from isogloss.latent.ranks import Measures, Pairs, rank
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.tables import write_table
from isogloss.tables.latent import TRANSFER_LAYERS

_BOUNDED = (*MEASURED, "accuracy")
_SCHEMA = {
    "task": pl.String,
    "layer": pl.Int32,
    **{f"{name}{end}": pl.Float64 for name in _BOUNDED for end in ("", "_low", "_high")},
    **{f"{name}_chance": pl.Float64 for name in Measures._fields},
    "n_languages": pl.Int32,
    "n": pl.Int32,
}


def transfer_layers(
    *,
    scores: Sequence[str],
    tasks: Sequence[str],
    langs: Sequence[str],
    prompts: Mapping[str, str],
    output: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by task and probed layer, the means over all ordered pairs that `transfer_summary` has of the last layer.

    The choices are ranked by the logit lens at the layer: by the letters or by the length-normalised texts (`prompts`).
    Arguments, intervals, `_chance` and what is null are as in `transfer.transfer`.

    Raises `IsoglossError` as there, and if the languages of a task were read at other layers.
    """
    bootstrap, confidence = statistics.bootstrap, statistics.confidence
    rows: list[dict[str, Any]] = []
    for task, tables in by_task(scores, tasks, langs):
        shared = shared_questions(list(tables.values()), task)
        read = [read_ranked_layers(path, prompts[task], shared) for path in tables.values()]
        layers = read[0][0]
        for path, (other, _) in zip(tables.values(), read, strict=True):
            if other != layers:
                raise IsoglossError(f"{path}: read at layers {other}, others of {task} at {layers}; score it again")
        resamples = Resamples(len(shared.questions), replicates=bootstrap, seed=seed, task=task)
        for number, layer in enumerate(layers):
            ranked = rank(np.stack([of_lang[number] for _, of_lang in read]), shared.answer)
            measured = Pairs(ranked, resamples)
            means = PairMeans(measured.accuracy.shape[1])
            for columns in each_pair(measured):
                means.add(columns)
            accuracy = with_intervals("accuracy", measured.accuracy.mean(axis=0, keepdims=True), confidence)
            rows.append(
                {"task": task, "layer": layer, "n_languages": len(tables), "n": len(shared.questions)}
                | means.columns(by_chance(ranked, shared.answer), confidence)
                | {name: float(values[0]) for name, values in accuracy.items()}
            )
    write_table(output, pl.DataFrame(rows, schema=_SCHEMA).fill_nan(None), metadata, TRANSFER_LAYERS)
