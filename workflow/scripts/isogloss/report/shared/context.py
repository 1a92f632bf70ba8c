"""What figures and sentences must know of the study beside their tables."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from isogloss.languages import in_order
from isogloss.report.shared.order import by_script
from isogloss.report.shared.wording import task_title

Tables = Mapping[str, pl.DataFrame]


class Context:
    """A model and the parts of the study's resolved config that the report reads."""

    def __init__(self, model: str, settings: Mapping[str, Any]) -> None:
        languages = settings["languages"]
        self.model = model  # name; "" where models are compared
        self.settings = settings
        self.reference: str = languages["reference"]  # code
        groups = {
            "high-resource": languages["high_resource"],
            "medium-to-low-resource": languages["medium_low_resource"],
        }
        if not any(groups.values()):
            groups = {"": [self.reference, *languages["others"]]}
        # Paper C's that come first, in the study's order; the reference where it gives none.
        self.bilingual_languages: list[str] = settings["bilingual"]["languages"] or [self.reference]
        trained = [code for model in settings["models"].values() for code in model.get("shares") or ()]
        analysed = {code for codes in groups.values() for code in codes}
        # Every language that a figure may show beside another, in the one order of the report.
        self.shown = tuple(by_script({*analysed, *self.bilingual_languages, *trained}, self.reference))
        # By the name under which figures show them; one without a name where the study has no groups.
        self.groups = {title: self.ordered(codes) for title, codes in groups.items()}
        self.languages = self.ordered(analysed)
        self.variant: str = settings["gap"]["variant"]  # of the group gap: the one that the study puts first
        self.confidence: float = settings["statistics"]["confidence"]  # coverage of the intervals
        self.runs: Mapping[str, Any] = settings["alignment"]["runs"]  # of alignment, by name

    def title(self, model: str = "") -> str:
        """How the study calls a model, its own where none is named."""
        return self.settings["models"][model or self.model]["title"]

    def task(self, code: str) -> str:
        """How figures and sentences on the model call a task: never by a benchmark's bare name in the toy world."""
        models = self.settings["models"]
        named = [models[self.model]] if self.model else list(models.values())
        return task_title(code, all("taught" in model["traits"] for model in named))

    def ordered(self, codes: Iterable[str]) -> list[str]:
        """The codes by script and family, the reference first: the same order in every figure, chart and table."""
        present = set(codes)
        shown = [code for code in self.shown if code in present]
        return shown + in_order(present.difference(shown))

    def panel(self, code: str) -> str:
        """A task as the head of a panel: `HellaSwag format` in the toy world."""
        return self.task(code).removeprefix("Toy questions (").removesuffix(")")

    def by_group(self, codes: Iterable[str]) -> list[str]:
        """The codes, high-resource languages first, each group in the one order."""
        present = set(codes)
        return [code for group in self.groups.values() for code in group if code in present]
