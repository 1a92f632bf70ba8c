"""What toy models' tables say of what was planted in them, in sentences."""

from collections.abc import Mapping

import polars as pl
from scipy.stats import pearsonr

from isogloss.report.findings.disparity import VARIANTS, counted_signs, selection, variant_phrase
from isogloss.report.findings.sentences import estimate, sign
from isogloss.report.shared.wording import name, number


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
    strength = estimate(float(result.statistic), low, high, confidence, "")  # pyright: ignore[reportAttributeAccessIssue]
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
        f"{first} and {second} differ in the shares, which tokenizer, language model and SAEs all follow. The group gap"
        f" of {first} is, {'; '.join(parts)} (told apart: intervals do not overlap)."
    )
