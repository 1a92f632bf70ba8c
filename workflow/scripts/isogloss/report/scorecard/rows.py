"""The scorecard: at most ten rows, good and bad results alike."""

from isogloss.report.scorecard.disparity import alignment, correlation, gap, planted, retrieval
from isogloss.report.scorecard.features import ablation, injection, mixed
from isogloss.report.scorecard.latent import log_ratio, steering, transfer
from isogloss.report.scorecard.row import FAILED, PASSED, Row, shown
from isogloss.report.shared.study import Study, banner_kind

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


def bottom_line(rows: list[Row]) -> list[tuple[str, str]]:
    """The scorecard in a few lines, each in two parts: whose controls passed and failed, and how many did neither."""
    if not rows:
        return []
    passed, failed = ([row for row in rows if row.control.verdict == verdict] for verdict in (PASSED, FAILED))
    rest = len(rows) - len(passed) - len(failed)
    held = [
        row.short if row.says == shown(1) else f"{row.short} ({row.says.lower().partition(' (')[0]})" for row in passed
    ]
    lines = [
        (f"Control passed ({len(passed)} of {len(rows)}):", held),
        (f"Control failed ({len(failed)}):", [row.short for row in failed]),
        ("Undecided or no control:", [str(rest)] * bool(rest)),
    ]
    return [(head, f"{'; '.join(items)}.") for head, items in lines if items]


FEW_LANGUAGES = 20
"""With fewer, nothing is said about languages at large."""


def not_concluded(study: Study) -> str:
    """What must not be concluded from the study, in a sentence."""
    if banner_kind(study.settings) == "synthetic":
        seeds = study.compared["planted_truth"]["n_seeds"].max() if "planted_truth" in study.compared else 1
        once = "" if seeds and seeds > 1 else " or another training run"  # pyright: ignore
        return f"anything about published models{once}."
    languages = len(study.context().languages)
    few = f"; anything about languages at large, from {languages}" if languages < FEW_LANGUAGES else ""
    return f"that the amount of training text causes a difference: of published models it is not known{few}."
