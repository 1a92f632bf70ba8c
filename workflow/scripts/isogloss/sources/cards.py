"""The card of a repository: the YAML at the head of its README.md, by whoever wrote it."""

from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
_LONGEST = 8 << 20  # bytes; heads with the features of a hundred configurations have one
# What PyYAML's safe reader raises for a value that is none of its type, and for nesting without end.
_UNREADABLE = (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def read_card(path: Path) -> dict[str, Any]:
    """What stands between the first two lines of `---`; nothing where there is no such head or none that can be read.

    A tag that asks for an object of Python makes no object: it is a head that cannot be read.
    """
    with path.open("rb") as handle:
        text = handle.read(_LONGEST).decode("utf-8", errors="replace").removeprefix("\ufeff").lstrip()
    head, closed, _ = text.removeprefix("---").partition("\n---")
    if not text.startswith("---") or not closed:
        return {}
    try:
        card = yaml.safe_load(head)
    except _UNREADABLE:
        return {}
    return card if isinstance(card, dict) else {}
