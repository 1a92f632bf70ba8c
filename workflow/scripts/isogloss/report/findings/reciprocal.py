"""What the gap chosen both ways says: how much of the papers' gap follows the language that chose."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import of_language, sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed, name, number

MOST = 5  # languages that are named one by one


def reciprocal_gap(tables: Tables, context: Context) -> list[str]:
    """Both gaps, what is left of them, which of the papers' gaps say nothing of the language, bounds and retrieval."""
    frame = tables["reciprocal_gap_summary"].filter(pl.col("lang").is_in(context.languages))
    rows = frame.drop_nulls("symmetric_gap_pct").sort("symmetric_gap_pct", descending=True).to_dicts()
    if not rows:
        return ["The gap cannot be chosen both ways: in no layer do features fire in two languages."]
    return [
        *_both_ways(rows, context),
        _symmetric(rows, context),
        *_unreadable(rows, context),
        _bounds(rows, context),
        *_at_the_floor(rows, context),
        *_retrieval(frame, tables["reciprocal_gap"], context),
    ]


def _range(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    """`41.2 % (Spanish) to 68.0 % (Hindi)`; one language without an end."""
    ordered = sorted(rows, key=lambda row: row[column])
    ends = [ordered[0], ordered[-1]][: len(ordered)]
    return " to ".join(f"{number(row[column])} % ({name(row['lang'])})" for row in ends)


def _both_ways(rows: Sequence[Mapping[str, Any]], context: Context) -> list[str]:
    reference = name(context.reference)
    follows = [row for row in rows if sign_in(row, "gap_from_reference_ci") == sign_in(row, "gap_from_lang_ci") == 1]
    verdict = {
        len(rows): "the gap follows the language that chose",
        0: "in no language does the gap follow the one that chose by both intervals",
    }
    counted = f"in {len(follows)} of {len(rows)} languages the gap follows the one that chose"
    return [
        f"When {reference} chooses features and texts, the other languages fire these features more weakly by"
        f" {_range(rows, 'gap_from_reference_pct')}. When each of these chooses, {reference} fires them more weakly by"
        f" {_range(rows, 'gap_from_lang_pct')}. So {verdict.get(len(follows), counted)} (means over layers)."
    ]


def _symmetric(rows: Sequence[Mapping[str, Any]], context: Context) -> str:
    """What is left once both choose: of few languages each, else the ends."""
    signs = [sign_in(row, "symmetric_gap_ci") for row in rows]
    shown = rows if len(rows) <= MOST else [rows[0], rows[-1]]
    each = "; ".join(of_language(row, "symmetric_gap_pct", interval="symmetric_gap_ci") for row in shown)
    between = "" if len(rows) <= MOST else "from the weakest to the strongest "
    return (
        f"Without the choice (the symmetric gap: half the difference of the two) {signs.count(1)} of {len(rows)}"
        f" languages are weaker than {name(context.reference)}, {signs.count(-1)} stronger and {signs.count(0)} not"
        f" told apart by their intervals; {between}{each}."
    )


def _unreadable(rows: Sequence[Mapping[str, Any]], context: Context) -> list[str]:
    """The languages whose gap, as the papers choose it, is above zero while the symmetric one is not."""
    codes = [
        row["lang"]
        for row in rows
        if sign_in(row, "gap_from_reference_ci") == 1 and sign_in(row, "symmetric_gap_ci") < 1
    ]
    if not codes:
        return []
    which = "any language here" if len(codes) == len(rows) else listed([name(code) for code in context.by_group(codes)])
    return [
        f"The papers' gap, chosen in {name(context.reference)}, cannot be read as a property of {which}: its interval"
        " lies above zero, that of the symmetric gap does not."
    ]


def _bounds(rows: Sequence[Mapping[str, Any]], context: Context) -> str:
    reference = name(context.reference)
    floors = [row["floor_pct"] for row in rows if row["floor_pct"] is not None]
    floor = f"; a language that reads another text fires it by {number(sum(floors) / len(floors))} % more weakly"
    beyond = floor if floors else ""
    ceilings = [row["ceiling_pct"] for row in rows if row["ceiling_pct"] is not None]
    if not ceilings:
        return f"No text has another wording, so what a perfect translation would lose is not known{beyond}."
    return (
        f"What {reference} chose, {reference} itself fires by {number(sum(ceilings) / len(ceilings))} % more weakly in"
        f" another wording of the same text{beyond}: a perfect translation lies between."
    )


def _at_the_floor(rows: Sequence[Mapping[str, Any]], context: Context) -> list[str]:
    """The languages in which a translation does no better than any other text."""
    codes = [
        row["lang"]
        for row in rows
        if row["floor_ci_low"] is not None and row["gap_from_reference_pct"] >= row["floor_ci_low"]
    ]
    if not codes:
        return []
    which = listed([name(code) for code in context.by_group(codes)])
    return [
        f"In {which} a translation fires what {name(context.reference)} chose no more than another text does, by the"
        " floor's interval: there the gap shows features that are not shared, not features that are weak."
    ]


def _retrieval(means: pl.DataFrame, frame: pl.DataFrame, context: Context) -> list[str]:
    """Retrieval by codes of the best and the worst language, mean over layers."""
    defined = means.drop_nulls("code_retrieval").sort("code_retrieval", descending=True).to_dicts()
    if not defined:
        return []
    ends = [defined[0], defined[-1]][: len(defined)]
    languages = " to ".join(of_language(row, "code_retrieval", "", interval="code_retrieval_ci") for row in ends)
    chance = frame["code_retrieval_chance"][0]
    chose = (
        "that no language chose"
        if context.settings["translation"]["backend"] == "parallel"
        else (f"that {name(context.settings['phrases']['language'] or context.reference)} chose")
    )
    return [
        f"By the features alone (SAE codes), a translation picks out its {name(context.reference)} text among"
        f" {frame['n_texts'][0]:,} ({chose}) with a mean reciprocal rank of {languages}, mean over layers; 1 is always,"
        f" chance is {number(chance, 3)}."
    ]
