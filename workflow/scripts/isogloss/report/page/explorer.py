"""The feature explorer's part of the page."""

from collections.abc import Mapping
from typing import Any

from isogloss.report.shared.context import Tables


def explorer_section(tables: Mapping[str, Tables], settings: Mapping[str, Any]) -> str:  # noqa: ARG001
    """HTML below the section's heading; "" where no model has features to explore."""
    return ""
