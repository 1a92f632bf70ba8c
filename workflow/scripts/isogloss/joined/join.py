"""What joins the three papers: their measures by language, and which predicts accuracy beyond tokens and script."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from isogloss.config.measures import Statistics
from isogloss.joined.by_language import Joined, join_by_language
from isogloss.joined.instruments import INSTRUMENTS
from isogloss.joined.prediction import correlate, explained
from isogloss.stats import adjust, family_size
from isogloss.tables import write_table
from isogloss.tables.contract import rows_of
from isogloss.tables.joined import JOINED, JOINED_CORRELATIONS, JOINED_INCREMENTAL

logger = logging.getLogger(__name__)

FEWEST = 6  # languages: with two controls fewer leave no more than one degree of freedom


def join(
    *,
    tables: Mapping[str, str],
    scores: Mapping[str, str],
    languages: Mapping[str, Sequence[str | None]],
    reference: str,
    joined: str,
    joined_correlations: str,
    joined_incremental: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the measures of a model by layer and language (`joined`), and what they say of accuracy over languages.

    `tables` and `scores` are those of `by_language.join_by_language`; `languages` has script and family of each
    language. The metadata of `joined` say why a column is null everywhere (`lacking`), and whose tokens `token_ratio`
    counts (`tokens_of`).

    The other tables have a row an instrument. A language is one observation, the reference none; an instrument's value
    is that without a layer in `joined`. Taken out as controls are the log of `token_ratio` and whether the script is
    the reference's.

    - `joined_correlations`: r with accuracy and, after `partial_`, given the controls, each with the interval of a
      bootstrap over languages, permutation p, p corrected over the instruments (`statistics.correction`,
      `family_size` tests) and the resamples left out (`n_undefined`). Of so few languages the interval errs on the
      narrow side: the permutation is the test;
    - `joined_incremental`: R² of accuracy on the controls (`r2_controls`) and on controls and instrument (`r2`); both
      for languages left out of the fit one at a time (`r2_left_out`), and how much the instrument adds there
      (`gain_left_out`).

    Null with its `reason` for fewer than `FEWEST` languages, and where instrument or accuracy do not vary.
    """
    whole = join_by_language(tables, scores, list(languages), reference)
    home = languages[reference][0]
    known = pl.DataFrame(
        [(lang, script, script == home, family) for lang, (script, family) in languages.items()],
        schema={"lang": pl.String, "script": pl.String, "same_script": pl.Boolean, "family": pl.String},
        orient="row",
    )
    frame = whole.frame.join(known, on="lang", how="left", maintain_order="left")
    for column, reason in whole.lacking.items():
        logger.info("%s: %s", column, reason)
    more = {"lacking": whole.lacking, "tokens_of": whole.tokens_of, "reference": reference}
    write_table(joined, frame, {**metadata, **more}, JOINED)
    points = frame.filter(pl.col("layer").is_null(), pl.col("lang") != reference)
    rows = [_instrument_rows(column, points, whole, statistics, seed) for column in (one.column for one in INSTRUMENTS)]
    correlations = [row for row, _ in rows]
    for start in ("", "partial_"):
        corrected = adjust([row.get(f"{start}p") for row in correlations], statistics.correction)
        for row, p in zip(correlations, corrected, strict=True):
            row |= {f"{start}p_adjusted": p, f"{start}family_size": family_size(corrected)}
    incremental = [row for _, row in rows]
    write_table(joined_correlations, rows_of(correlations, JOINED_CORRELATIONS), metadata, JOINED_CORRELATIONS)
    write_table(joined_incremental, rows_of(incremental, JOINED_INCREMENTAL), metadata, JOINED_INCREMENTAL)


class _Points(NamedTuple):
    """Languages with an instrument and accuracy, or why there is nothing to be said of them."""

    rows: pl.DataFrame
    reason: str | None


def _points(column: str, points: pl.DataFrame, lacking: Mapping[str, str], tokens: bool) -> _Points:
    """The languages in which an instrument and accuracy are defined, with `tokens` those with a token ratio, too."""
    needed = [column, "accuracy", *(["token_ratio"] if tokens else [])]
    rows = points.drop_nulls(needed)
    for name in needed:
        if name in lacking:
            return _Points(rows, lacking[name] if name == column else f"{name}: {lacking[name]}")
    if rows.height < FEWEST:
        return _Points(rows, f"needs {FEWEST} languages beside the reference, has {rows.height}")
    for name in needed[:2]:
        values = rows[name].to_numpy()
        if np.ptp(values) <= 1e-9 * np.abs(values).max():
            return _Points(rows, f"{name} is the same in every language")
    return _Points(rows, None)


def _instrument_rows(
    column: str, points: pl.DataFrame, whole: Joined, statistics: Statistics, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An instrument's row of `joined_correlations`, but for corrections, and of `joined_incremental`."""
    settings = {"replicates": statistics.bootstrap, "confidence": statistics.confidence, "seed": [seed]}
    correlation: dict[str, Any] = {"instrument": column}
    incremental: dict[str, Any] = {"instrument": column}
    for start, tokens in (("", False), ("partial_", True)):
        rows, reason = _points(column, points, whole.lacking, tokens)
        row: dict[str, Any] = {"n": rows.height, "reason": reason}
        if reason is None:
            x, y = (rows[name].to_numpy() for name in (column, "accuracy"))
            controls = _controls(rows) if tokens else np.empty((len(x), 0))
            fit = correlate(x, y, controls, **settings)
            low, high = fit.interval
            row |= {"r": fit.r, "ci_low": low, "ci_high": high, "p": fit.p, "n_undefined": fit.n_undefined}
            correlation["n_orders"] = fit.n_orders
            if fit.r is None:
                row["reason"] = "tokens and script leave nothing of it, or of accuracy"
            elif low is None:
                row["reason"] = f"no interval: {fit.n_undefined} of {statistics.bootstrap} resamples are undefined"
            if tokens:
                incremental |= _r2(x, y, controls)
        correlation |= {f"{start}{name}": value for name, value in row.items()}
        if tokens:
            incremental |= {"n": rows.height, "reason": reason}
    return correlation, incremental


def _controls(rows: pl.DataFrame) -> np.ndarray:
    """Log token ratio and whether the script is the reference's, a row a language."""
    return np.column_stack([np.log(rows["token_ratio"].to_numpy()), rows["same_script"].to_numpy().astype(float)])


def _r2(x: np.ndarray, y: np.ndarray, controls: np.ndarray) -> dict[str, float | None]:
    """What controls explain of accuracy, and what they do with the instrument."""
    alone, both = explained(y, controls), explained(y, np.column_stack([controls, x]))
    gain = None
    if alone.r2_left_out is not None and both.r2_left_out is not None:
        gain = both.r2_left_out - alone.r2_left_out
    return {
        "r2_controls": alone.r2,
        "r2": both.r2,
        "r2_left_out_controls": alone.r2_left_out,
        "r2_left_out": both.r2_left_out,
        "gain_left_out": gain,
    }
