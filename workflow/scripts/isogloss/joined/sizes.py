"""Slopes of what is measured in several models on the log of their number of parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from isogloss.stats import or_none

FEWEST_SIZES = 3


class SizeMeasure(NamedTuple):
    """A value of the table `selectivity` that paper C compares over sizes."""

    name: str
    column: str
    of_class: str


SIZE_MEASURES = (
    SizeMeasure("mixed_share", "share", "mixed"),
    SizeMeasure("monosemanticity", "monosemanticity", "all"),
    SizeMeasure("monosemanticity_excess", "monosemanticity_excess", "all"),
    SizeMeasure("span_length", "span_length", "all"),
)
_BEHAVIOUR = ("accuracy_common", "consistency", "positive_transfer", "negative_transfer", "accuracy_r")


def size_slopes(
    behaviour: Sequence[Mapping[str, Any]], features: Sequence[Mapping[str, Any]], confidence: float
) -> list[dict[str, Any]]:
    """A row per measure, of behaviour per analysis and task too: slope, Student's interval, p, `n_models`, `n_sizes`.

    Least squares on the natural log of `n_parameters`; a model is one observation. Null with its reason for fewer than
    `FEWEST_SIZES` sizes, and the interval for fewer than three models.
    """
    series: dict[tuple[str, str | None, str | None], list[tuple[int, float]]] = {}
    for one in behaviour:
        if "task" in one:
            for name in _BEHAVIOUR if one["analysis"] == "latent" else _BEHAVIOUR[:1]:
                _add(series.setdefault((name, one["analysis"], one["task"]), []), one, name)
    for one in features:
        _add(series.setdefault((one["measure"], None, None), []), one, "value")
    rows: list[dict[str, Any]] = []
    for (measure, analysis, task), points in series.items():
        sizes = len({size for size, _ in points})
        row: dict[str, Any] = {"measure": measure, "analysis": analysis, "task": task}
        row |= {"n_models": len(points), "n_sizes": sizes}
        if sizes < FEWEST_SIZES:
            rows.append(row | {"reason": f"needs {FEWEST_SIZES} sizes of model, has {sizes}"})
        else:
            rows.append(row | _slope(points, confidence))
    return rows


def _add(points: list[tuple[int, float]], row: Mapping[str, Any], name: str) -> None:
    if row.get(name) is not None and row["n_parameters"] is not None:
        points.append((row["n_parameters"], row[name]))


def _slope(points: Sequence[tuple[int, float]], confidence: float) -> dict[str, float | None]:
    from scipy.stats import linregress
    from scipy.stats import t as student

    sizes, values = np.array(points, float).T
    fit: Any = linregress(np.log(sizes), values)
    half = float(student.ppf((1 + confidence) / 2, len(values) - 2)) * fit.stderr
    low, high, p = fit.slope - half, fit.slope + half, or_none(fit.pvalue)
    return {"slope": float(fit.slope), "ci_low": or_none(low), "ci_high": or_none(high), "p": p}
