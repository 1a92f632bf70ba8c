"""The scorecard: at most ten rows, good and bad results alike."""

from isogloss.report.scorecard.disparity import alignment, correlation, gap, planted, retrieval
from isogloss.report.scorecard.features import ablation, injection, mixed
from isogloss.report.scorecard.latent import log_ratio, steering, transfer
from isogloss.report.scorecard.row import FAILED, PASSED, Row
from isogloss.report.shared.study import Study

ROWS = (
    planted,
    retrieval,  # where nothing was planted
    gap,
    correlation,
    alignment,
    transfer,
    log_ratio,
    steering,
    mixed,
    injection,
    ablation,
)
"""The functions of a study that make a row, or None where the study has nothing to make it of."""


def scorecard(study: Study) -> list[Row]:
    """The rows of a study, in the order of `ROWS`."""
    made = [row(study) for row in ROWS]
    return [row for row in made if row is not None]


def bottom_line(rows: list[Row]) -> str:
    """The scorecard in a sentence: how many controls passed and failed, and whose."""
    if not rows:
        return ""
    passed, failed = ([row for row in rows if row.control.verdict == verdict] for verdict in (PASSED, FAILED))
    rest = len(rows) - len(passed) - len(failed)
    return f"Controls: {len(passed)} of {len(rows)} passed, {len(failed)} failed, {rest} undecided or none."
