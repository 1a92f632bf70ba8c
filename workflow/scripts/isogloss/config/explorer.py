"""The feature explorer of the report: at which layers, how many features, how many texts of each."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, field_validator

from isogloss.config.base import Positive, Section, distinct, middle


class Explorer(Section):
    """Features that the report shows in their texts, token by token (analysis gap)."""

    layers: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, min_length=1, description="layers whose features are shown, 0-based; absent: the middle one"
    )
    features: Annotated[int, Field(ge=0)] = Field(
        default=12,
        description="features of a list (largest gap, smallest gap, of one language, monosemantic); 0: no explorer",
    )
    phrases: Positive = Field(default=2, description="phrases of a feature, with their translations, at most")
    contexts: Positive = Field(default=2, description="strongest texts of a feature in each language, at most")

    @field_validator("layers")
    @classmethod
    def _each_once(cls, layers: list[int] | None) -> list[int] | None:
        if layers is not None:
            distinct([str(layer) for layer in layers])
        return layers

    def shown(self, analysed: Sequence[int]) -> list[int]:
        """The layers that are shown of a model's analysed ones, ascending."""
        return [middle(analysed)] if self.layers is None else sorted(self.layers)

    def problems(self, model: str, analysed: Sequence[int]) -> Iterator[str]:
        """What does not fit a model's analysed layers."""
        if self.features and (lacking := [layer for layer in self.shown(analysed) if layer not in analysed]):
            yield (
                f"explorer.layers: models.{model} has no analysed layer {', '.join(map(str, lacking))}; allowed:"
                f" {', '.join(map(str, analysed))}"
            )
