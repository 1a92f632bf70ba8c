"""What the figure of what joins the three papers shows, in one sentence."""

from collections.abc import Mapping
from typing import Any

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.report.entry import Takeaway
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed
from isogloss.report.takeaways.brief import brief_in, of_how_many, ranged, sentence

_TITLES = {one.column: one.title[0].lower() + one.title[1:] for one in INSTRUMENTS}
FEW = 30
"""Languages below which a sentence says that they are few."""


def joined_correlations(tables: Tables, context: Context) -> Takeaway:
    """Which instruments predict accuracy beyond tokens and script: by the corrected p-value and on languages left out.

    How many go with accuracy while nothing is taken out stands beside it.
    """
    rows = tables["joined_correlations"].join(
        tables["joined_incremental"].select("instrument", "gain_left_out"),
        on="instrument",
        maintain_order="left",
        how="left",
    )
    alpha = 1 - context.confidence
    tested = sorted(rows.drop_nulls("partial_r").to_dicts(), key=lambda row: row["partial_p_adjusted"])
    languages = ranged(rows.drop_nulls("partial_r")["partial_n"], "language")
    if not tested:
        reason = next((row for row in rows["partial_reason"].drop_nulls()), "nothing was measured")
        return Takeaway(
            f"Whether an instrument predicts accuracy beyond tokens and script cannot be said: {reason}.", languages
        )
    alone = [row for row in rows.to_dicts() if row["p_adjusted"] is not None and row["p_adjusted"] < alpha]
    beyond = [row for row in tested if row["partial_p_adjusted"] < alpha and (row["gain_left_out"] or 0) > 0]
    shown = f"{len(alone)} of {len(rows)} instruments go with accuracy; beyond tokens and script"
    if beyond:
        parts = [f"{_TITLES[row['instrument']]} (r = {_partial(row)})" for row in beyond[:2]]
        parts += [f"{len(beyond) - 2} more"] if len(beyond) > 2 else []
        text = f"{shown} {len(beyond)}: {listed(parts)}"
    else:
        text = f"{shown} none is shown to; the nearest is {_TITLES[tested[0]['instrument']]}, r = {_partial(tested[0])}"
    few = f" (few: below {FEW})" if max(row["partial_n"] for row in tested) < FEW else ""
    tests = f"p corrected over {tested[0]['partial_family_size']} instruments"
    return Takeaway(sentence(text), of_how_many([f"{languages}{few}", tests]))


def _partial(row: Mapping[str, Any]) -> str:
    return brief_in(row, "partial_r", interval="partial_ci")
