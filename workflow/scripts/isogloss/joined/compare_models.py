"""The tables over models: paper B's Tables 1 and 2, and paper C's features by size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from isogloss.config.base import middle
from isogloss.config.measures import Statistics
from isogloss.joined.sizes import SIZE_MEASURES, size_slopes
from isogloss.models.parameters import parameters
from isogloss.stats import student_interval
from isogloss.tables import read_table, write_table
from isogloss.tables.contract import rows_of
from isogloss.tables.joined import MODELS, SIZE_REGRESSION, SIZES

PACKED = "no number of parameters: weights are packed into bytes"
_MEASURES = ("accuracy", "consistency", "positive_transfer", "negative_transfer")


def compare_models(
    *,
    tables: Mapping[str, Mapping[str, str]],
    folders: Mapping[str, str],
    models: str,
    sizes: str,
    size_regression: str,
    statistics: Statistics,
    metadata: Mapping[str, Any],
) -> None:
    """Write what the models do (`models`), their features by size (`sizes`) and slopes on size (`size_regression`).

    `tables` has the paths of each model's final tables by name, `folders` each model's own, which its parameters are
    counted in (`models.parameters`; the number is null where weights are packed).

    `models` (paper B, Tables 1 and 2), a row per model, analysis and task. Of paper B's questions (`latent`): mean
    accuracy, consistency and transfer with chance and intervals over questions (`transfer.transfer`), the standard
    deviation of accuracy over languages, and Pearson's r over languages of the log ratio with accuracy, consistency
    and positive transfer (`accuracy_r` …; `process.latent_process`). Of the benchmarks: mean accuracy of the base model
    with Student's interval over languages; the rest is null. `accuracy_common` is the mean over the `n_common`
    languages that every model has which has the task. A model without either analysis has one row, with its `reason`.

    `sizes` (paper C), a row per model and measure, at the last step and the middle one of the analysed layers: the
    share of mixed features, monosemanticity, what it has above its null where the table says so, and span length, of
    all features that are not silent, each with its interval over features.

    `size_regression`: slope of each measure on the natural log of the number of parameters (`sizes.size_slopes`).
    """
    counted = {model: parameters(folder) for model, folder in folders.items()}
    behaviour = [row for model, own in tables.items() for row in _behaviour(model, own, statistics.confidence)]
    _share_languages(behaviour)
    features = [row for model, own in tables.items() for row in _features(model, own.get("selectivity"))]
    for row in (*behaviour, *features):
        row["n_parameters"] = counted[row["model"]]
        if row["n_parameters"] is None:
            row["reason"] = "; ".join(filter(None, [row.get("reason"), PACKED]))
    write_table(models, rows_of(behaviour, MODELS), metadata, MODELS)
    write_table(sizes, rows_of(features, SIZES), metadata, SIZES)
    slopes = size_slopes(behaviour, features, statistics.confidence)
    write_table(size_regression, rows_of(slopes, SIZE_REGRESSION), metadata, SIZE_REGRESSION)


def _behaviour(model: str, tables: Mapping[str, str], confidence: float) -> list[dict[str, Any]]:
    """The rows of a model in `models`; `by_language` has the accuracies that they are means of."""
    rows: list[dict[str, Any]] = []
    if "accuracy" in tables:
        base = read_table(tables["accuracy"]).filter(pl.col("adapter") == "base")
        for (task,), of_task in base.group_by("task", maintain_order=True):
            row = {"model": model, "analysis": "benchmarks", "task": task, "interval": "languages"}
            mean, sd, n = of_task["accuracy"].mean(), of_task["accuracy"].std(), of_task["accuracy"].count()
            low, high = student_interval(mean, sd, n, confidence)  # type: ignore[arg-type]
            row |= {"accuracy": mean, "accuracy_low": low, "accuracy_high": high, "accuracy_sd": sd}
            row |= {"accuracy_chance": _chance(of_task), "n_languages": n, "n": of_task["n"].max()}
            row["reason"] = "consistency and transfer: only of the analysis latent"
            rows.append(row | {"by_language": dict(of_task.select("lang", "accuracy").iter_rows())})
    if "transfer_summary" in tables:
        answers = read_table(tables["answers"])
        related = read_table(tables["latent_correlation"]).unique(["task", "target"], keep="first", maintain_order=True)
        for summary in read_table(tables["transfer_summary"]).iter_rows(named=True):
            of_task = answers.filter(task=summary["task"])
            row = {name: summary.get(name) for name in MODELS if name in summary}
            row |= {"model": model, "analysis": "latent", "interval": "questions", "accuracy_chance": _chance(of_task)}
            for fit in related.filter(task=summary["task"]).iter_rows(named=True):
                row |= {f"{fit['target']}_{name}": fit[name] for name in ("r", "r_low", "r_high")}
            undefined = [name for name in (*_MEASURES, "accuracy_r") if row.get(name) is None]
            row["reason"] = f"undefined: {', '.join(undefined)}" if undefined else None
            rows.append(row | {"by_language": dict(of_task.select("lang", "accuracy").iter_rows())})
    return rows or [{"model": model, "reason": "not measured: neither benchmarks nor latent"}]


def _chance(frame: pl.DataFrame) -> float | None:
    """The mean over languages of what guessing gets; None where the table does not say."""
    mean = frame["chance"].mean() if "chance" in frame.columns else None
    return None if mean is None else float(mean)  # type: ignore[arg-type]


def _share_languages(rows: list[dict[str, Any]]) -> None:
    """Add the accuracy over the languages that all models with the task have, in place."""
    by_task: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if "task" in row:
            by_task.setdefault((row["analysis"], row["task"]), []).append(row)
    for of_task in by_task.values():
        defined = [{lang for lang, value in row["by_language"].items() if value is not None} for row in of_task]
        common = sorted(set.intersection(*defined))
        for row in of_task:
            row["n_common"] = len(common)
            if common:
                row["accuracy_common"] = float(np.mean([row["by_language"][lang] for lang in common]))
            else:
                shared = "no language that all models share in this task"
                row["reason"] = "; ".join(filter(None, [row["reason"], shared]))


def _features(model: str, path: str | None) -> list[dict[str, Any]]:
    """The rows of a model in `sizes`."""
    key: dict[str, Any] = {"model": model}
    if path is None:
        reason = {"reason": "not measured: bilingual"}
        return [key | {"measure": one.name, "class": one.of_class} | reason for one in SIZE_MEASURES]
    frame = read_table(path)
    key |= {"step": max(frame["step"]), "layer": middle(frame["layer"])}
    at = frame.filter(step=key["step"], layer=key["layer"])
    rows: list[dict[str, Any]] = []
    for one in SIZE_MEASURES:
        row = key | {"measure": one.name, "class": one.of_class}
        of_class = at.filter(pl.col("class") == one.of_class).to_dicts()
        value = of_class[0].get(one.column) if of_class else None
        if value is None:
            absent = one.column not in frame.columns
            rows.append(row | {"reason": f"no column {one.column}" if absent else "undefined: every feature is silent"})
            continue
        bounds = {f"value_{end}": of_class[0].get(f"{one.column}_{end}") for end in ("low", "high")}
        rows.append(row | bounds | {"value": value, "n_features": of_class[0]["n_features"]})
    return rows
