"""The landing page's section that compares models."""

from collections.abc import Mapping
from typing import Any

from isogloss.report.findings.between import between
from isogloss.report.page.markup import bullets, picture
from isogloss.report.shared.context import Context, Tables


def between_section(compared: Tables, pictures: Mapping[str, bytes], settings: Mapping[str, Any]) -> list[str]:
    """The section as HTML; nothing in a study of one model."""
    if "models" not in compared:
        return []
    return [
        "<h2>Between models</h2>",
        bullets(between(compared, Context("", settings))),
        picture(pictures, "models", "Accuracy, consistency, transfer and features of every model"),
    ]
