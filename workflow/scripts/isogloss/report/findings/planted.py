"""What toy models' tables say of what was planted in them, in sentences."""

from collections.abc import Mapping
from math import isnan, nan
from typing import Any

import polars as pl
from scipy.stats import pearsonr

from isogloss.joined.measures import MEASURES, PAPERS_GAP
from isogloss.joined.planted_truth import ONE_SEED
from isogloss.report.findings.disparity import VARIANTS, counted_signs, selection, variant_phrase
from isogloss.report.findings.sentences import estimate, estimate_in, sign, sign_in
from isogloss.report.shared.wording import listed, name, number

_BY_NAME = {measure.name: measure for measure in MEASURES}


def planted(
    title: str, shares: Mapping[str, float], measured: Mapping[str, float], what: str, confidence: float
) -> str:
    """Whether `measured` (by language) goes with the planted shares, on a log scale."""
    codes = [code for code in measured if code in shares]
    values = [measured[code] for code in codes]
    if len({round(shares[code], 9) for code in codes}) == 1:
        low, high = min(codes, key=measured.__getitem__), max(codes, key=measured.__getitem__)
        return (
            f"{title}: all shares are equal; {what} runs from {number(measured[low])} % ({name(low)}) to"
            f" {number(measured[high])} % ({name(high)})."
        )
    if len(codes) < 4 or max(values) == min(values):
        return f"{title}: too few languages, or too alike, to relate {what} to the planted shares."
    r, low, high = _correlated(shares, measured, confidence)
    trend = {1: "rises with", -1: "falls with", 0: "shows no trend with"}[sign(low, high)]
    return (
        f"{title}: {what} {trend} the planted share (log scale), r = {estimate(r, low, high, '')} over"
        f" {len(codes)} languages."
    )


def _correlated(
    shares: Mapping[str, float], measured: Mapping[str, float], confidence: float
) -> tuple[float, float, float]:
    """Pearson's r of `measured` with the log of the shares, and its interval; NaN where it is not defined."""
    codes = [code for code in measured if code in shares]
    if len(codes) < 4 or len({shares[code] for code in codes}) == 1 or len({measured[code] for code in codes}) == 1:
        return nan, nan, nan
    logs = pl.Series([shares[code] for code in codes]).log()
    result = pearsonr(logs.to_numpy(), [measured[code] for code in codes])
    low, high = (float(bound) for bound in result.confidence_interval(confidence))
    return float(result.statistic), low, high  # pyright: ignore[reportAttributeAccessIssue]


def reconciled(
    title: str,
    shares: Mapping[str, float],
    gaps: Mapping[str, float],
    control: str,
    equal: Mapping[str, float],
    truth: pl.DataFrame,
    confidence: float,
) -> list[str]:
    """Why the gap follows the shares between two models and not within one, or the other way round; else nothing.

    `gaps` are those of the model called `title`, by language, `equal` those of its control; `truth` is the table
    planted_truth.
    """
    rows = truth.filter(pl.col("layer").is_null(), measure=PAPERS_GAP).to_dicts()
    r, low, high = _correlated(shares, gaps, confidence)
    if not rows or isnan(r) or not equal:
        return []
    between, within = sign_in(rows[0]), sign(low, high)
    if between == within:
        return []
    least, most = min(equal, key=equal.__getitem__), max(equal, key=equal.__getitem__)
    alone = (
        f"the gap differs between languages where all shares are equal, too ({control}: from"
        f" {number(equal[least])} % in {name(least)} to {number(equal[most])} % in {name(most)})"
    )
    slope = f"{estimate_in(rows[0], 'slope', 'points', interval='ci')} for a share 2.7 times as large"
    if between and not within:
        return [
            f"That the gap follows the shares and yet shows no trend within {title} is no contradiction: {alone}, which"
            f" hides the shares in one model. The difference of the two models, language by language, leaves that out"
            f" and follows the shares: {slope}."
        ]
    return [
        f"A trend within {title} alone is not shown to come from the shares: {alone}. The difference of the two models,"
        f" language by language, leaves that out: {slope}."
    ]


def equal_shares(title: str, frame: pl.DataFrame, reference: str) -> list[str]:
    """What the group gap of a model with equal shares says about the measure itself."""
    return [
        f"{title}. {counted_signs(frame, 'without_reference', reference)}. The shares are equal, so what remains of a"
        " gap comes from elsewhere: script, tokens or the choice of phrases.",
        f"{title}. {counted_signs(frame, 'with_reference', reference)}. {selection(reference)}",
    ]


def contrast(first: str, gap: pl.DataFrame, second: str, other: pl.DataFrame, reference: str) -> str:
    """In how many layers two models' gaps have intervals that do not overlap, in both variants."""
    parts: list[str] = []
    for variant in VARIANTS:
        a, b = (frame.filter(variant=variant).drop_nulls("ci_low") for frame in (gap, other))
        both = a.join(b, on="layer", suffix="_b")
        larger = int((both["ci_low"] > both["ci_high_b"]).sum())
        smaller = int((both["ci_high"] < both["ci_low_b"]).sum())
        parts.append(
            f"{variant_phrase(variant, reference)}, larger in {larger}, smaller in {smaller} and not told apart in"
            f" {both.height - larger - smaller} of {both.height} layers"
        )
    return (
        f"{first} and {second} differ in the shares, which language model and SAEs follow. The group gap"
        f" of {first} is, {'; '.join(parts)} (told apart: intervals do not overlap)."
    )


def verdicts(truth: pl.DataFrame, headline: str) -> list[str]:
    """What the table planted_truth says of the measure that leads the report, and of all others."""
    rows = [row for row in truth.iter_rows(named=True) if row["layer"] is None and _BY_NAME[row["measure"]].judged]
    sentences = [_leading(truth, headline), _counted(rows)]
    for verdict, start in (("fails", "Fail"), (None, "Cannot be judged")):
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if row["verdict"] == verdict and row["reason"] != ONE_SEED:
                reasons.setdefault(row["reason"], []).append(_titled(row))
        sentences += [f"{start} ({reason}): {listed(titles)}." for reason, titles in reasons.items()]
    for row in truth.iter_rows(named=True):
        if row["layer"] is not None and row["verdict"] is not None:
            sentences.append(
                f"{_BY_NAME[row['measure']].title} at the layer that is best in the equal worlds, {row['layer']},"
                f" {row['verdict']}{_because(row)}."
            )
    return sentences


def _counted(rows: list[dict[str, Any]]) -> str:
    """How many measures pass and whether the papers' gap does; of one seed, how many might."""
    rule = "A measure passes if it follows the planted shares and shows nothing where nothing was planted."
    following = [_titled(row) for row in rows if row["reason"] == ONE_SEED]
    if following or all(row["n_seeds"] == 1 for row in rows):
        named = f": {listed(following)}" if following else ""
        return (
            f"Of {len(rows)} internal measures {len(following) or 'none'} follow{'s' if len(following) < 2 else ''} the"
            f" planted shares{named}. With one seed none can pass the planted-truth test (make planted has three)."
            f" {rule}"
        )
    passing = [_titled(row) for row in rows if row["verdict"] == "passes"]
    papers = next((row for row in rows if row["measure"] == PAPERS_GAP), None)
    counted = f"Of {len(rows)} internal measures {len(passing) or 'none'} {'passes' if len(passing) < 2 else 'pass'}"
    named = f": {listed(passing)}" if passing else ""
    return f"{counted} the planted-truth test{named}; {_papers_gap(papers)}. {rule}"


def _titled(row: Mapping[str, Any]) -> str:
    title = _BY_NAME[row["measure"]].title
    return title[0].lower() + title[1:]


def _because(row: Mapping[str, Any]) -> str:
    return f" ({row['reason']})" if row["reason"] else ""


def _leading(truth: pl.DataFrame, headline: str) -> str:
    """What the measure that the study names to lead the report is worth."""
    leads = f"The measure that leads this report is {_titled({'measure': headline})}"
    rows = truth.filter(pl.col("measure") == headline, pl.col("layer").is_null())
    if not rows.height:
        return f"{leads}, which was not measured in a model with planted shares and in its control."
    row = rows.row(0, named=True)
    said = {"passes": "it passes the planted-truth test", "fails": "it fails the planted-truth test"}
    slope = estimate_in(row, "slope", "", interval="ci")
    null = f", {estimate_in(row, 'null_slope', '', interval='null_ci')} where nothing was planted"
    rho = "" if row["rho"] is None else f"; its rank correlation with the share is {number(row['rho'], 2)}"
    return (
        f"{leads}: {said.get(row['verdict'], 'it cannot be judged here')}{_because(row)}. Its slope on the log of the"
        f" planted share is {slope}{null if row['null_slope'] is not None else ''}{rho}, over {row['n_languages']}"
        f" languages and {row['n_seeds']} seed{'s' if row['n_seeds'] > 1 else ''}."
    )


def _papers_gap(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "the papers' gap was not measured"
    said = {"passes": "the papers' gap does", "fails": "the papers' gap does not"}
    return f"{said.get(row['verdict'], 'the papers’ gap cannot be judged')}{_because(row)}"
