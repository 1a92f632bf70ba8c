"""Text of the study that reads as itself in reStructuredText, whoever renders it: our page, or Snakemake's report."""

import re
from collections.abc import Mapping
from typing import Any

_SPECIAL = re.compile(r"([^\w\s]|_)")


class Literal(str):
    """A text that compares as it is and prints with no markup, link or directive in it.

    Templates print what they put in with `str`, and join with it, too.
    """

    def __str__(self) -> str:
        return _SPECIAL.sub(r"\\\1", re.sub(r"\s", " ", self))


def literal(value: Any) -> Any:
    """`value` with every text of it, keys included, as `Literal`: the filter that captions put the study through."""
    if isinstance(value, str):
        return Literal(value)
    if isinstance(value, Mapping):
        return {literal(key): literal(part) for key, part in value.items()}
    return [literal(part) for part in value] if isinstance(value, list | tuple) else value
