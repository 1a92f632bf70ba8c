"""The instruments of the three papers, by language, that are held against behaviour. Imports nothing heavy."""

from collections.abc import Collection
from typing import NamedTuple


class Instrument(NamedTuple):
    """A column of the table `joined` that says something of a language inside the model."""

    column: str
    table: str  # of the model, which it comes from
    title: str
    paper: str


INSTRUMENTS = (
    Instrument("gap_pct", "language_gap", "Gap (paper A)", "A"),
    Instrument("gap_from_reference_pct", "reciprocal_gap", "Gap chosen in reference", "A"),
    Instrument("gap_from_lang_pct", "reciprocal_gap", "Gap chosen in language", "A"),
    Instrument("symmetric_gap_pct", "reciprocal_gap", "Symmetric gap", "A"),
    Instrument("retrieval", "similarity", "Retrieval", "A"),
    Instrument("centred", "similarity", "Centred cosine", "A"),
    Instrument("log_ratio", "latent", "Log ratio (paper B)", "B"),
    Instrument("steering_gain", "steering", "Gain of steering (paper B)", "B"),
    Instrument("mixed_share", "features", "Share of mixed features (paper C)", "C"),
)

ANALYSES = {
    "language_gap": "gap",
    "reciprocal_gap": "gap",
    "activation_controls": "gap",
    "similarity": "similarity",
    "accuracy": "benchmarks",
    "answers": "latent",
    "transfer": "latent",
    "latent": "latent",
    "steering": "latent",
    "features": "bilingual",
}
"""The analysis that makes each table that is joined; `steering` only where the study steers."""


def joined_tables(analyses: Collection[str], steers: bool) -> list[str]:
    """The tables that are joined of a model with these analyses."""
    return [table for table, needed in ANALYSES.items() if needed in analyses and (table != "steering" or steers)]


COMPARED = {
    "accuracy": "benchmarks",
    "answers": "latent",
    "transfer_summary": "latent",
    "latent_correlation": "latent",
    "selectivity": "bilingual",
}
"""The analysis that makes each table that models are compared by."""


def compared_tables(analyses: Collection[str]) -> list[str]:
    """The tables that a model with these analyses is compared with others by."""
    return [table for table, needed in COMPARED.items() if needed in analyses]


def joins(analyses: Collection[str]) -> bool:
    """Whether a model with these analyses has both behaviour and an instrument to hold against it."""
    return "latent" in analyses or ("benchmarks" in analyses and bool({"similarity", "gap", "bilingual"} & {*analyses}))
