"""Looks of languages drawn as points or lines beside one another."""

from collections.abc import Iterable

from isogloss.report.figures.scripts import script_looks
from isogloss.report.figures.style import Look, colour, marker
from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import named

MOST_OWN = 16
"""Up to so many languages, each has its own colour and marker; of more, that of its script."""


def point_looks(codes: Iterable[str], context: Context) -> dict[str, Look]:
    """The look of each language, titled for a legend: its own, or of many its script's."""
    ordered = context.ordered(codes)
    if len(ordered) > MOST_OWN:
        return script_looks(ordered, context)
    return {code: Look(colour(code, context), marker(code, context), label=named(code)) for code in ordered}
