"""Sections of the config as stages take them, from flat settings; unvalidated, so that tests may use tiny numbers."""

from collections.abc import Collection, Mapping
from typing import Any

from isogloss.config.base import Section


def grouped(settings: Mapping[str, Any], /, keep: Collection[str] = (), **sections: type[Section]) -> dict[str, Any]:
    """`settings` with those that are fields of a section, but those to `keep`, gathered in it, under its name."""
    left = dict(settings)
    for name, section in sections.items():
        wanted = section.model_fields.keys() - keep
        fields = {key: left.pop(key) for key in settings if key in left and key in wanted}
        left[name] = section.model_construct(**fields)
    return left
