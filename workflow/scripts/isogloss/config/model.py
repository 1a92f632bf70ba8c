"""What the configuration says of every model, wherever it comes from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from isogloss.config.base import Positive, Section, distinct

Task = Literal["arc", "hellaswag", "mmlu"]
Analysis = Literal["similarity", "gap", "alignment", "benchmarks"]


class Shape(Section):
    """The shape of a transformer decoder, under the names of this project."""

    layers: Positive = Field(description="decoder layers")
    d_model: Positive = Field(description="width of the residual stream")
    d_mlp: Positive = Field(description="width of the MLP")
    heads: Positive = Field(description="attention heads")
    key_value_heads: Positive = Field(description="key/value heads shared by the attention heads")
    d_head: Positive = Field(description="width of a head")
    vocabulary: Positive = Field(description="tokens of the vocabulary")


class AnalysedModel(Section):
    """A language model and which parts of paper A to run on it."""

    title: str = Field(description="how figures and the report call the model")
    architecture: Shape
    layers: Literal["all"] | list[Annotated[int, Field(ge=0)]] = Field(
        default="all", description="layers to analyse, 0-based"
    )
    analyses: list[Analysis] = Field(
        default=["similarity", "gap", "alignment", "benchmarks"], description="parts of paper A to run on this model"
    )
    tasks: list[Task] | None = Field(
        default=None, min_length=1, description="benchmark tasks of this model; absent: all"
    )

    @model_validator(mode="after")
    def _layers_exist(self) -> Self:
        if self.layers != "all":
            distinct([str(layer) for layer in self.layers])
            lacking = [layer for layer in self.layers if layer >= self.architecture.layers]
            if lacking or not self.layers:
                raise ValueError(f"layers {lacking or '[]'}: the model has layers 0 to {self.architecture.layers - 1}")
        return self

    @property
    def layer_list(self) -> list[int]:
        """The analysed layers, ascending."""
        return list(range(self.architecture.layers)) if self.layers == "all" else sorted(self.layers)
