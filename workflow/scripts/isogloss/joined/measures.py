"""The internal measures that the planted truth is asked of, and the behaviour beside them. Imports nothing heavy."""

from collections.abc import Iterable
from typing import NamedTuple


class Measure(NamedTuple):
    """A column of a final table, by language: what a larger share of a language does to it if it finds disparity."""

    table: str  # of each model
    column: str
    sign: int  # expected of the slope on the log of the share: 1 rises with it, -1 falls
    title: str
    unit: str
    best_layer: bool = False  # judged at the layer, too, that is best in the equal worlds
    judged: bool = True  # False: behaviour, shown as the yardstick

    @property
    def name(self) -> str:
        """Table and column, as `report.headline` and the table planted_truth have it."""
        return f"{self.table}.{self.column}"


MEASURES = (
    Measure("language_gap_summary", "mean_gap_pct", -1, "Gap (paper A)", "points"),
    Measure("activation_controls", "gap_equal_tokens_pct", -1, "Gap at equal tokens", "points"),
    Measure("reciprocal_gap", "gap_from_reference_pct", -1, "Gap chosen in reference", "points"),
    Measure("reciprocal_gap", "gap_from_lang_pct", -1, "Gap chosen in language", "points"),
    Measure("reciprocal_gap", "symmetric_gap_pct", -1, "Symmetric gap", "points"),
    Measure("reciprocal_gap", "firing_from_reference", 1, "Firing rate", "share"),
    Measure("language_gap", "mean_activation", 1, "Mean activation", "SAE units"),
    Measure("similarity", "cosine", 1, "Cosine", "cosine"),
    Measure("similarity", "centred", 1, "Centred cosine", "cosine"),
    Measure("similarity", "retrieval", 1, "Retrieval", "reciprocal rank", best_layer=True),
    Measure("similarity", "retrieval_reverse", 1, "Retrieval by the reference", "reciprocal rank", best_layer=True),
    Measure("reciprocal_gap", "code_centred", 1, "Centred cosine of codes", "cosine"),
    Measure("reciprocal_gap", "code_retrieval", 1, "Retrieval of codes", "reciprocal rank", best_layer=True),
    Measure("accuracy", "accuracy", 1, "Accuracy", "share", judged=False),
)
PAPERS_GAP = MEASURES[0].name

ANALYSES = {
    "language_gap_summary": "gap",
    "activation_controls": "gap",
    "reciprocal_gap": "gap",
    "language_gap": "gap",
    "similarity": "similarity",
    "accuracy": "benchmarks",
}
"""The analysis that makes each table; the measures of a table that none makes are left out."""


def shared_tables(analyses: Iterable[str], of_control: Iterable[str]) -> list[str]:
    """The tables with measures that a model and its control both have, by the analyses of each."""
    both = set(analyses) & set(of_control)
    return [table for table in dict.fromkeys(measure.table for measure in MEASURES) if ANALYSES.get(table) in both]
