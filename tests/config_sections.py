"""Sections of the config as stages take them, from flat settings; unvalidated, so that tests may use tiny numbers."""

from collections.abc import Mapping
from typing import Any

from isogloss.config.base import Section


def grouped(settings: Mapping[str, Any], /, **sections: type[Section]) -> dict[str, Any]:
    """`settings` with those that are fields of a section gathered in it, under its name."""
    left = dict(settings)
    for name, section in sections.items():
        fields = {key: left.pop(key) for key in settings if key in left and key in section.model_fields}
        left[name] = section.model_construct(**fields)
    return left
