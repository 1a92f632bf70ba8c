"""What toy models' tables say of what was planted in them, in sentences."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from scipy.stats import pearsonr

from isogloss.joined.measures import MEASURES, PAPERS_GAP
from isogloss.joined.planted_truth import ONE_SEED
from isogloss.report.findings.disparity import VARIANTS, counted_signs, selection, variant_phrase
from isogloss.report.findings.sentences import estimate, estimate_in, sign
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
    logs = pl.Series([shares[code] for code in codes]).log()
    result = pearsonr(logs.to_numpy(), values)
    low, high = (float(bound) for bound in result.confidence_interval(confidence))
    trend = {1: "rises with", -1: "falls with", 0: "shows no trend with"}[sign(low, high)]
    strength = estimate(float(result.statistic), low, high, "")  # pyright: ignore[reportAttributeAccessIssue]
    return f"{title}: {what} {trend} the planted share (log scale), r = {strength} over {len(codes)} languages."


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
