"""How text calls things: languages, tasks and numbers, the same in figures, tables and sentences."""

from collections.abc import Sequence

from isogloss.languages import language


class _Titles(dict[str, str]):
    """Titles by name; what has none is called by its name."""

    def __missing__(self, key: str) -> str:
        return key


TASK_TITLES = _Titles(
    arc="ARC-Challenge",
    hellaswag="HellaSwag",
    mmlu="MMLU",
    belebele="Belebele",
    mmmlu="MMMLU",
)

VARIANT_TITLES = {"with_reference": "reference in high-resource", "without_reference": "reference left out"}
GROUP_TITLES = {"high_resource": "high-resource", "medium_low_resource": "medium-to-low-resource"}
MEASURE_TITLES = _Titles(
    gap_pct="Gap to the reference",
    symmetric_gap_pct="Symmetric gap",
    code_retrieval="Retrieval by codes",
    retrieval="Retrieval of the reference's text",
    centred="Centred cosine",
)
SIZE_TITLES = _Titles(
    accuracy_common="Accuracy",
    consistency="Consistency",
    positive_transfer="Positive transfer",
    negative_transfer="Negative transfer",
    accuracy_r="r of the log ratio with accuracy",
    mixed_share="Share of mixed features",
    monosemanticity="Monosemanticity",
    monosemanticity_excess="Excess monosemanticity",
    span_length="Span length",
)
VECTOR_TITLES = {
    "own": "own vector",
    "random": "one random direction (control)",
    "other": "another language's vector (control)",
    "shared": "one vector of all languages",
    "directions": "many random directions (control)",
}


def task_title(code: str, toy: bool = False) -> str:
    """How a task is called; of a `toy` model, whose questions are facts of the toy world in the task's format."""
    return f"Toy questions ({TASK_TITLES[code]} format)" if toy else TASK_TITLES[code]


def name(code: str) -> str:
    """English name of a language."""
    return language(code).name


def named(code: str) -> str:
    """Name and code of a language, as axes and tables show it."""
    return f"{name(code)} ({code})"


def number(value: float | None, digits: int = 1) -> str:
    """A number with a true minus sign and never a negative zero; a dash where there is none."""
    return "–" if value is None else f"{round(value, digits) + 0:.{digits}f}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value to three digits, or that it is below the least of them."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def signed(value: float) -> str:
    """A multiplier as short as it is, with a true minus sign."""
    return f"{value:g}".replace("-", "−")


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
