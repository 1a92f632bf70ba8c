"""Gap against accuracy: within scripts, and where shares were planted beside where all are equal."""

from typing import NamedTuple

import numpy as np
import polars as pl

from isogloss.joined.measures import PAPERS_GAP
from isogloss.languages import language
from isogloss.partial import design_of, residual_r
from isogloss.stats import Correlation, pearson

ACCURACY = "accuracy.accuracy"  # as the tables of the planted truth call it


class Within(NamedTuple):
    """Pearson's r of what scripts leave of two columns; None where they leave too little."""

    r: float | None
    languages: int  # in scripts of two or more
    scripts: int


def within_scripts(frame: pl.DataFrame, x: str, y: str) -> Within:
    """r of two columns of a table by language, each less its mean over the languages of the script.

    A script of a single language says nothing about it and is left out. None for fewer than three languages beyond
    their scripts' means: through two points r is 1 or -1 whatever they are.
    """
    rows = frame.drop_nulls([x, y]).with_columns(
        script=pl.col("lang").map_elements(lambda code: language(code).script, return_dtype=pl.String)
    )
    rows = rows.filter(pl.len().over("script") > 1)
    scripts = rows["script"].unique(maintain_order=True).to_list()
    first, second = (rows[column].cast(pl.Float64).to_numpy() for column in (x, y))
    if rows.height - len(scripts) < 3 or not np.ptp(first) or not np.ptp(second):
        return Within(None, rows.height, len(scripts))
    member = np.column_stack([(rows["script"] == script).to_numpy().astype(float) for script in scripts[1:]] or [[]])
    design, scale = design_of(first, second, member.reshape(rows.height, len(scripts) - 1))
    (r,) = residual_r(first[None], second[None], design[None], scale)
    return Within(float(r) if np.isfinite(r) else None, rows.height, len(scripts))


class World(NamedTuple):
    """Gap and accuracy in a model with planted shares, or in its control."""

    planted: bool
    model: str
    points: pl.DataFrame  # lang, gap and accuracy, both in percent
    correlation: Correlation


def worlds(points: pl.DataFrame, confidence: float) -> list[World]:
    """The worlds of the table planted_truth_points, the planted ones first; none where it lacks gap or accuracy.

    Accuracy is the mean over the tasks of all models compared. Seeds are not pooled: each has shares of its own.
    """
    keys = ["seed", "model", "control", "lang"]
    one, other = (
        points.filter(pl.col("layer").is_null(), measure=measure).select(*keys, "value", "control_value")
        for measure in (PAPERS_GAP, ACCURACY)
    )
    both = one.join(other, on=keys, suffix="_accuracy", maintain_order="left").drop_nulls()
    out: list[World] = []
    for planted, column, model in ((True, "value", "model"), (False, "control_value", "control")):
        rows = both.select("lang", model=model, gap=column, accuracy=100 * pl.col(f"{column}_accuracy"))
        for (name,), of_model in rows.unique(maintain_order=True).group_by("model", maintain_order=True):
            r = pearson(of_model["gap"].to_numpy(), of_model["accuracy"].to_numpy(), confidence)
            out.append(World(planted, str(name), of_model.drop("model"), r))
    return out
