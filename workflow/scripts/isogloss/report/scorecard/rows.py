"""The scorecard: at most ten rows, good and bad results alike."""

from isogloss.report.scorecard.row import Row
from isogloss.report.shared.study import Study

ROWS = ()
"""The functions of a study that make a row, or None where the study has nothing to make it of."""


def scorecard(study: Study) -> list[Row]:
    """The rows of a study, in the order of `ROWS`."""
    made = [row(study) for row in ROWS]
    return [row for row in made if row is not None]
