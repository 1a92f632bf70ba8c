"""What steering by a language's own vector does beyond a random direction of the same length (paper B, sec. 4.3)."""

import polars as pl

from isogloss.config.base import middle
from isogloss.report.shared.means import over_languages

MEASURES = {
    "accuracy_change": ("accuracy", "points", 100),
    "consistency_change": ("consistency", "ρ", 1),
    "positive_transfer_change": ("positive transfer", "points", 100),
}
"""Changes by steering: what changes, its unit, and by how much the table's value is multiplied to be in it."""


def controlled(frame: pl.DataFrame) -> bool:
    """Whether `steering` has the random direction beside the own vectors."""
    return frame.filter(vector="random").height > 0


def beyond_random(frame: pl.DataFrame, measure: str, confidence: float) -> pl.DataFrame:
    """What own vectors change less what the random direction does there: task, layer, gamma, mean, low, high and n.

    Differences are paired by language, the interval is Student's over languages. Without a random direction it is the
    change by the own vectors alone. Undefined changes are left out.
    """
    key = ["task", "lang", "layer", "gamma"]
    changes = frame.filter(vector="own").select(*key, value=measure)
    if controlled(frame):
        random = frame.filter(vector="random").select(*key, random=measure)
        changes = changes.join(random, on=key, maintain_order="left").with_columns(pl.col("value") - pl.col("random"))
    return over_languages(changes, "value", confidence, by=("task", "layer", "gamma"))


def strongest(gammas: pl.Series, shown: float | None) -> list[float]:
    """The multipliers shown by layer: the study's of either sign, or the strongest of either sign; largest first."""
    present = sorted(set(gammas), reverse=True)
    wanted = (shown, -shown) if shown else (*present[:1], *present[-1:])
    return [gamma for gamma in present if gamma in wanted and gamma]


def judged_by_language(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of `steering_judged` that hold each language's own vector against random directions.

    Many directions where they were run, else the single one; on questions that did not choose layer and multiplier.
    """
    rows = frame.filter(pl.col("lang").is_not_null())
    many = rows.filter(vector="directions").drop_nulls("own_less")
    return many if many.height else rows.filter(vector="random").drop_nulls("own_less")


def shown_setting(own: pl.DataFrame, gamma: float | None) -> tuple[int, float] | None:
    """Layer and multiplier at which languages are shown, chosen by no result; None without rows.

    The multiplier is `gamma`, or the largest where none is given or `gamma` was not measured; the layer is the middle
    one of those steered.
    """
    gammas = sorted(set(own["gamma"]))
    if not gammas:
        return None
    return middle(own["layer"]), gamma if gamma is not None and gamma in gammas else gammas[-1]
