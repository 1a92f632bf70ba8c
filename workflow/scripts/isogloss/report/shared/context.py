"""What figures and sentences must know of the study beside their tables."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from isogloss.languages import in_order

Tables = Mapping[str, pl.DataFrame]


class Context(NamedTuple):
    """A model and the parts of the study's resolved config that the report reads."""

    model: str  # name of the model; "" where models are compared
    settings: Mapping[str, Any]

    @property
    def reference(self) -> str:
        """Code of the reference language."""
        return self.settings["languages"]["reference"]

    @property
    def groups(self) -> dict[str, list[str]]:
        """The two groups of languages by the name under which figures show them."""
        languages = self.settings["languages"]
        return {
            "high-resource": in_order(languages["high_resource"]),
            "medium-to-low-resource": in_order(languages["medium_low_resource"]),
        }

    @property
    def languages(self) -> list[str]:
        """Every analysed language, in the order of the language table."""
        return in_order([code for codes in self.groups.values() for code in codes])

    @property
    def bilingual_languages(self) -> list[str]:
        """Paper C's languages that come first, in the study's order; the reference where it gives none."""
        return self.settings["bilingual"]["languages"] or [self.reference]

    @property
    def variant(self) -> str:
        """The variant of the group gap that the study puts first."""
        return self.settings["gap"]["variant"]

    @property
    def confidence(self) -> float:
        """Coverage of the intervals."""
        return self.settings["statistics"]["confidence"]

    @property
    def runs(self) -> Mapping[str, Any]:
        """The alignment runs by name."""
        return self.settings["alignment"]["runs"]

    def title(self, model: str) -> str:
        """How the study calls a model."""
        return self.settings["models"][model]["title"]

    def by_group(self, codes: Iterable[str]) -> list[str]:
        """The codes, high-resource languages first, each group in the order of the language table."""
        present = set(codes)
        return [code for group in self.groups.values() for code in group if code in present]
