"""The caption of an entry in three layers."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Caption(NamedTuple):
    """HTML of what one sees, of how to read it, and of what is folded; "" where there is none."""

    see: str = ""
    read: str = ""
    details: str = ""


def caption(name: str, settings: Mapping[str, Any], model: str = "") -> Caption:  # noqa: ARG001
    """The caption of the entry `name` for a model ("" where models are compared)."""
    return Caption()
