"""Whether internal measures find the shares of languages that were planted, and nothing where none were.

Each toy model with planted shares has a control, the same model with equal shares (`Study.control_of`). What stands in
both worlds alike, script and wordings and tokens, is taken out by the difference of the two; what is left must go with
the planted share.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from isogloss.config.measures import Statistics
from isogloss.errors import IsoglossError
from isogloss.joined.measures import MEASURES, Measure
from isogloss.joined.slopes import FEWEST_LANGUAGES, NO_SLOPE, Slope, slope
from isogloss.stats import or_none
from isogloss.tables import read_table, write_table
from isogloss.tables.joined import PLANTED_TRUTH

logger = logging.getLogger(__name__)

PASSES, FAILS = "passes", "fails"
ONE_SEED = "follows the shares, but one seed cannot show what it finds where nothing was planted"


class Pair(NamedTuple):
    """A model with planted shares and the one with equal shares that it is compared with, both of a seed."""

    seed: int
    model: str
    control: str


def measure_planted_truth(
    *,
    tables: Mapping[str, Mapping[str, str]],
    pairs: Sequence[tuple[int, str, str]],
    shares: Mapping[str, Mapping[str, float]],
    reference: str,
    statistics: Statistics,
    seed: int,
    planted_truth: str,
    planted_truth_points: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write the verdict on each measure (`planted_truth`) and the points behind it (`planted_truth_points`).

    `tables` has the paths of the models' tables, by model and name, `pairs` (seed, model, control), `shares` each
    model's by language. The reference is left out. A value is the mean over the layers (tasks, of accuracy) that are
    defined in all models compared; measures marked so get a second row at the one layer that is best on the mean over
    languages of all equal worlds. That choice is made on no planted world and raises no language above another.

    Points, a row per measure, layer (null: mean over layers), pair and language: `log_ratio`, the natural log of the
    planted over the equal share; `difference`, planted minus control; `null_difference`, this control minus the one of
    the next seed (after the last the first; null with one seed); `adjusted`, the planted value minus the mean over
    seeds of the language's values in the controls.

    Verdicts: `slope` of `difference` on `log_ratio` within seeds, `null_slope` of `null_difference` on the same
    `log_ratio`, each with its interval by languages and seeds (`joined.slopes`); `rho`, Spearman's of `adjusted` and
    the planted share over all points. A measure passes if the interval of its slope excludes zero on the expected side
    and that of the null includes it. With one seed there is no null: a measure may fail, none can pass. `n_undefined`
    counts the resamples that are left out.

    Raises `IsoglossError` without pairs, or without a table of measures that both models of a pair have.
    """
    compared = [Pair(*pair) for pair in pairs]
    if not compared:
        raise IsoglossError(
            "planted truth: no toy model of planted shares has a control; add one of equal shares that has the same"
            " seed, architecture, training, sae and layers"
        )
    points: list[pl.DataFrame] = []
    rows: list[dict[str, Any]] = []
    for measure in MEASURES:
        for layer, frame in _measured(measure, tables, compared, shares, reference):
            points.append(frame)
            rows.append({"measure": measure.name, "layer": layer} | _judged(measure, frame, statistics, seed))
    if not points:
        names = ", ".join(dict.fromkeys(name for pair in compared for name in (pair.model, pair.control)))
        raise IsoglossError(
            f"planted truth: models {names} have no measure in common; give models and controls the same"
            " analyses of similarity, gap and benchmarks"
        )
    write_table(planted_truth, pl.DataFrame(rows, schema=_schema()), metadata, PLANTED_TRUTH)
    write_table(planted_truth_points, pl.concat(points), metadata)


def _schema() -> dict[str, Any]:
    kinds = {"string": pl.String, "int32": pl.Int32, "double": pl.Float64}
    return {column: kinds[str(kind)] for column, kind in PLANTED_TRUTH.items()}


def _measured(
    measure: Measure,
    tables: Mapping[str, Mapping[str, str]],
    pairs: Sequence[Pair],
    shares: Mapping[str, Mapping[str, float]],
    reference: str,
) -> Iterable[tuple[int | None, pl.DataFrame]]:
    """The points of a measure, over layers and, where it is asked for, at the best one; none where no pair has it."""
    there = [pair for pair in pairs if all(measure.table in tables[name] for name in (pair.model, pair.control))]
    names = list(dict.fromkeys(name for pair in there for name in (pair.model, pair.control)))
    values = {name: _values(measure, tables[name][measure.table], reference) for name in names}
    if not values:
        return
    yield None, _points(measure, None, values, there, shares)
    if measure.best_layer:
        controls = pl.concat(values[pair.control] for pair in there)
        means = controls.group_by("unit").agg(pl.col("value").mean()).drop_nulls().sort("value", "unit")
        if means.height:
            best = int(means["unit"][-1])
            chosen = {name: frame.filter(unit=best) for name, frame in values.items()}
            yield best, _points(measure, best, chosen, there, shares)


def _values(measure: Measure, path: str, reference: str) -> pl.DataFrame:
    """A model's defined values: unit (layer or task; 0 where the table has means already), lang, value."""
    frame = read_table(path)
    if "adapter" in frame.columns:
        frame = frame.filter(pl.col("adapter") == "base")
    unit = next((pl.col(name) for name in ("layer", "task") if name in frame.columns), pl.lit(0))
    rows = frame.filter(pl.col("lang") != reference).select(
        unit=unit, lang="lang", value=pl.col(measure.column).cast(pl.Float64).fill_nan(None)
    )
    return rows.drop_nulls("value")


def _points(
    measure: Measure,
    layer: int | None,
    values: Mapping[str, pl.DataFrame],
    pairs: Sequence[Pair],
    shares: Mapping[str, Mapping[str, float]],
) -> pl.DataFrame:
    """A row per pair and language in which all models of the measure have a value at some layer (or task)."""
    common = None  # every model's values over the same layers
    for name, frame in values.items():
        renamed = frame.rename({"value": name})
        common = renamed if common is None else common.join(renamed, on=["unit", "lang"], maintain_order="left")
    assert common is not None
    means = common.group_by("lang", maintain_order=True).agg(pl.col(*values).mean())
    control_of = {pair.seed: pair.control for pair in pairs}
    seeds = sorted(control_of)
    over_seeds = {
        lang: float(np.mean([row[control_of[seed]] for seed in seeds]))
        for lang, row in zip(means["lang"], means.iter_rows(named=True), strict=True)
    }
    rows = []
    for pair in pairs:
        following = control_of[seeds[(seeds.index(pair.seed) + 1) % len(seeds)]]
        for row in means.iter_rows(named=True):
            lang = row["lang"]
            share = shares[pair.model][lang]
            null = row[pair.control] - row[following] if len(seeds) > 1 else None
            rows.append(
                {"measure": measure.name, "layer": layer, "seed": pair.seed, "model": pair.model}
                | {"control": pair.control, "lang": lang, "share": share}
                | {"log_ratio": float(np.log(share / shares[pair.control][lang]))}
                | {"value": row[pair.model], "control_value": row[pair.control]}
                | {"difference": row[pair.model] - row[pair.control], "null_difference": null}
                | {"adjusted": row[pair.model] - over_seeds[lang]}
            )
    kinds = {"layer": pl.Int32, "seed": pl.Int64} | dict.fromkeys(
        ("share", "log_ratio", "value", "control_value", "difference", "null_difference", "adjusted"), pl.Float64
    )
    texts = dict.fromkeys(("measure", "model", "control", "lang"), pl.String)
    order = ["measure", "layer", "seed", "model", "control", "lang", *list(kinds)[2:]]
    return pl.DataFrame(rows, schema={column: (kinds | texts)[column] for column in order})


def _judged(measure: Measure, points: pl.DataFrame, statistics: Statistics, seed: int) -> dict[str, Any]:
    """Slopes, rank correlation and verdict of a measure's points."""
    languages = {lang: number for number, lang in enumerate(points["lang"].unique(maintain_order=True))}
    x = points["log_ratio"].to_numpy()
    # The same draws for every measure of the same languages: their intervals can be compared.
    cells = (points["lang"].replace_strict(languages, return_dtype=pl.Int64).to_numpy(), points["seed"].to_numpy())
    settings = {"replicates": statistics.bootstrap, "confidence": statistics.confidence, "seed": [seed]}
    n_seeds = points["seed"].n_unique()
    planted = slope(x, points["difference"].to_numpy(), *cells, **settings)
    null = slope(x, points["null_difference"].to_numpy(), *cells, **settings) if n_seeds > 1 else NO_SLOPE
    verdict, reason = judged(measure, planted, null, len(languages), n_seeds)
    if verdict is None and measure.judged:
        logger.warning("%s: no verdict: %s", measure.name, reason)
    return {
        "expected": measure.sign,
        "slope": planted.value,
        "ci_low": planted.interval.low,
        "ci_high": planted.interval.high,
        "null_slope": null.value,
        "null_ci_low": null.interval.low,
        "null_ci_high": null.interval.high,
        "rho": _spearman(points["share"].to_numpy(), points["adjusted"].to_numpy()),
        "n": points.height,
        "n_languages": len(languages),
        "n_seeds": n_seeds,
        "n_undefined": planted.n_undefined,
        "verdict": verdict,
        "reason": reason,
    }


def judged(
    measure: Measure, planted: Slope, null: Slope, n_languages: int, n_seeds: int
) -> tuple[str | None, str | None]:
    """Verdict and, unless it passes, the reason; no verdict where the points do not allow one."""
    if not measure.judged:
        return None, "behaviour, not an internal measure: not judged"
    if n_languages < FEWEST_LANGUAGES:
        return None, f"defined in {n_languages} languages beside the reference, needs {FEWEST_LANGUAGES}"
    low, high = planted.interval
    if planted.value is None:
        return None, "the planted shares of these languages are all as in the control"
    if low is None or high is None:
        return None, "too many resamples without a slope"
    if low <= 0 <= high:
        return FAILS, "the interval of the slope includes zero"
    if measure.sign * planted.value < 0:
        return FAILS, "falls where it should rise" if measure.sign > 0 else "rises where it should fall"
    if n_seeds < 2:
        return None, ONE_SEED
    if null.interval.low is None or null.interval.high is None:
        return None, "no interval where nothing was planted"
    if not null.interval.low <= 0 <= null.interval.high:
        return FAILS, "finds a slope where nothing was planted"
    return PASSES, None


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's rank correlation; None without spread or for fewer than three points."""
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return None
    from scipy.stats import spearmanr

    result: Any = spearmanr(x, y)
    return or_none(result.statistic)
