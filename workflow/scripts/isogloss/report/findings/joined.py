"""Which instrument predicts accuracy beyond tokens and script, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.report.findings.sentences import estimate_in, probability
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed, number

FEW = 30
"""Languages below which the page says that they are few."""
_TITLES = {one.column: one.title[0].lower() + one.title[1:] for one in INSTRUMENTS}


def joined(tables: Tables, context: Context) -> list[str]:
    """The answer first, then what tokens and script explain, how few languages there are, and what has no answer."""
    together = tables["joined_correlations"].join(
        tables["joined_incremental"], on="instrument", suffix="_incremental", maintain_order="left"
    )
    rows = together.to_dicts()
    tested = [row for row in rows if row["partial_r"] is not None]
    untested = [row for row in rows if row["partial_r"] is None]
    if not tested:
        return [
            "Which measure predicts accuracy beyond tokens and script cannot be said here"
            f" ({'; '.join(_by_reason(untested))})."
        ]
    sentences = [_answer(tested, context), _plain(tested, context), _few(tested)]
    return [*sentences, f"Not held against accuracy: {'; '.join(_by_reason(untested))}." if untested else ""]


def _answer(rows: Sequence[Mapping[str, Any]], context: Context) -> str:
    """Which instruments predict, or the one that comes nearest."""
    alpha = 1 - context.confidence
    ranked = sorted(rows, key=lambda row: (row["partial_p_adjusted"], -abs(row["partial_r"])))
    predicting = [row for row in ranked if row["partial_p_adjusted"] < alpha and (row["gain_left_out"] or 0) > 0]
    languages = f"over {ranked[0]['partial_n']} languages"
    if not predicting:
        return (
            f"No measure is shown to predict accuracy beyond tokens and script {languages}. The nearest:"
            f" {_evidence(ranked[0])}."
        )
    counted = f"{len(predicting)} of {len(rows)} measures predict{'s' if len(predicting) == 1 else ''}"
    evidence = "; ".join(_evidence(row) for row in predicting)
    return f"Beyond tokens and script, {counted} accuracy {languages}: {evidence}."


def _evidence(row: Mapping[str, Any]) -> str:
    partial = estimate_in(row, "partial_r", "", interval="partial_ci")
    tests = f"{probability(row['partial_p_adjusted'])} after correction over {row['partial_family_size']} tests"
    left_out = ""
    if row["r2_left_out"] is not None:
        before, after = (number(row[name], 2) for name in ("r2_left_out_controls", "r2_left_out"))
        left_out = f", R² in languages left out of the fit from {before} to {after}"
    return f"{_TITLES[row['instrument']]}, r with these taken out = {partial}, {tests}{left_out}"


def _plain(rows: Sequence[Mapping[str, Any]], context: Context) -> str:
    """How many go with accuracy while nothing is taken out, and what tokens and script explain alone."""
    alpha = 1 - context.confidence
    going = [_TITLES[row["instrument"]] for row in rows if (row["p_adjusted"] or 1) < alpha]
    alone = rows[0]
    controls = ""
    if alone["r2_controls"] is not None:
        controls = (
            f" Tokens and script alone have an R² of {number(alone['r2_controls'], 2)}"
            f" ({number(alone['r2_left_out_controls'], 2)} in languages left out of the fit)."
        )
    counted = f"{len(going)} of {len(rows)}" if going else f"none of {len(rows)}"
    named = f": {listed(going)}" if going else ""
    return f"With nothing taken out, {counted} measures go with accuracy after correction{named}.{controls}"


def _few(rows: Sequence[Mapping[str, Any]]) -> str:
    n = max(row["partial_n"] for row in rows)
    if n >= FEW:
        return ""
    return (
        f"{n} languages are few: intervals are wide, only a strong relation can be shown, and languages of one family"
        " are not independent."
    )


def _by_reason(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`retrieval and log ratio (why)`, a part a reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row["partial_reason"], []).append(_TITLES[row["instrument"]])
    return [f"{listed(titles)} ({reason})" for reason, titles in reasons.items()]
