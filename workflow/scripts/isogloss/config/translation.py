"""How phrases get into other languages: a translation memory, or machine translation."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from isogloss.config.base import Positive, Section, known_language
from isogloss.config.pretrained import Source

MULTILINGUAL = ("nllb", "madlad")  # backends with one model for all languages


class TranslationModel(Section):
    """An OPUS-MT (Marian) model of one direction."""

    source: Source
    target: str | None = Field(
        default=None,
        description="language code that a multi-target model puts first as >>CODE<<, cmn_Hans say; absent: none",
    )


class Translation(Section):
    """How phrases get into the other languages."""

    backend: Literal["parallel", "opus-mt", "nllb", "madlad"] = Field(
        default="parallel",
        description="parallel: the study's parallel segments as translation memory; opus-mt: `models`; nllb, madlad:"
        " `model` for all languages",
    )
    models: dict[str, TranslationModel] = Field(
        default_factory=dict, description="opus-mt: model from the phrases' language, by language"
    )
    back_models: dict[str, TranslationModel] = Field(
        default_factory=dict,
        description="opus-mt: model into the phrases' language, by language; where given, each translation is"
        " translated back and scored by chrF",
    )
    model: Source | None = Field(
        default=None,
        description="nllb: an NLLB-200 model, facebook/nllb-200-distilled-600M say; madlad: a MADLAD-400 model,"
        " google/madlad400-3b-mt say",
    )
    codes: dict[str, str] = Field(
        default_factory=dict,
        description="nllb, madlad: the model's code by language (zho_Hans, zh) where it is not the language's own in"
        " FLORES-200 or BCP 47",
    )
    round_trip: bool = Field(
        default=True, description="nllb, madlad: each translation is translated back and scored by chrF"
    )
    engine: Literal["ctranslate2", "transformers"] = Field(
        default="ctranslate2", description="machine translation: ctranslate2 is faster, transformers the reference"
    )
    compute_type: Literal["float32", "bfloat16", "float16", "int8", "int8_float16"] = Field(
        default="float32", description="machine translation: weights and arithmetic; int8 kinds with ctranslate2 only"
    )
    beam_size: Positive = Field(default=4, description="machine translation: beams; 1 is greedy")
    minimum_chrf: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="a translation whose round trip scores less is dropped; opus-mt: needs back_models",
    )

    @field_validator("models", "back_models", "codes")
    @classmethod
    def _check(cls, by_language: dict[str, Any]) -> dict[str, Any]:
        for code in by_language:
            known_language(code)
        return by_language

    @model_validator(mode="after")
    def _engine_can(self) -> Self:
        if self.engine == "transformers" and self.compute_type.startswith("int8"):
            raise ValueError(f"compute_type {self.compute_type} needs engine ctranslate2")
        return self

    @model_validator(mode="after")
    def _backend_reads(self) -> Self:
        if self.backend in MULTILINGUAL:
            unread = [key for key in ("models", "back_models") if getattr(self, key)]
            if self.model is None:
                raise ValueError(f"backend {self.backend} needs model, one for all languages; give its id or folder")
            if unread:
                raise ValueError(f"backend {self.backend} has no {' or '.join(unread)}, but one model; leave them out")
        else:
            unread = [key for key in ("model", "codes") if getattr(self, key)]
            if unread:
                raise ValueError(
                    f"{' and '.join(unread)}: for the backends {' and '.join(MULTILINGUAL)} only, not {self.backend};"
                    " set backend or leave them out"
                )
        if self.minimum_chrf is not None and self.backend in MULTILINGUAL and not self.round_trip:
            raise ValueError("minimum_chrf needs round_trip, which translates back")
        if self.minimum_chrf is not None and self.backend not in MULTILINGUAL and not self.back_models:
            raise ValueError("minimum_chrf needs back_models, which translate back")
        return self
