"""The causal test: which features are taken for those of one language, and how their ablation is measured."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from isogloss.config.base import Fraction, Positive, Section, distinct

Method = Literal["share", "entropy", "monolinguality"]


class Causal(Section):
    """Features of one language, ablated at one layer (analysis causal)."""

    layer: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="layer to ablate at, 0-based; absent: the middle one of those analysed"
    )
    methods: list[Method] = Field(
        default=["share", "entropy", "monolinguality"],
        min_length=1,
        description="how features of a language are chosen: share of all firings, entropy over languages (SAE-LAPE),"
        " difference of mean activations (monolinguality)",
    )
    n_features: Positive = Field(default=20, description="features of a language that are ablated, at most")
    share: Fraction = Field(
        default=0.9,
        description="share: a feature is of a language from above this share of all of its firings on, at equal tokens",
    )
    minimum_firings: Positive = Field(default=10, description="firings that a feature must have to be chosen at all")
    entropy_rate: Fraction = Field(
        default=0.1, description="entropy: a feature must fire on more than this share of some language's tokens"
    )
    entropy_part: Fraction = Field(
        default=0.8,
        description="entropy: a feature is of the language in which it fires most often, unless it fires at least this"
        " part as often in another",
    )
    texts: Annotated[int, Field(ge=2)] = Field(
        default=1000,
        description="parallel texts that every language has, at most; features are chosen on one half of them",
    )
    measured: Positive = Field(default=100, description="texts of the other half whose loss is measured, at most")
    repeats: Positive = Field(
        default=5, description="draws of random features, as many and as frequent as those of the language"
    )
    frequency: Literal["all", "language"] = Field(
        default="all",
        description="frequency of random features: on all text (mean over languages), or on the language's own",
    )

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: list[Method]) -> list[Method]:
        distinct([str(method) for method in methods])
        return methods
