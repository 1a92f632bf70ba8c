"""The embedded default: the toy world and the models trained on it."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from isogloss.config.base import SPEED_ONLY, Fraction, Positive, Section, distinct, known_language
from isogloss.config.model import FINAL, AnalysedModel, Layers, SaeRecipe, Shape
from isogloss.config.planted import Seed
from isogloss.languages import in_order, world_languages


class World(Section):
    """The toy world: facts from Unicode CLDR, told by our templates in ten languages."""

    languages: list[str] = Field(
        default_factory=world_languages, min_length=2, description="languages that the world is told in"
    )
    territories: Positive = Field(default=240, description="number of countries and territories, drawn by the seed")
    english_only: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.2, description="share of facts taught in the reference language only"
    )
    untaught: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="share of facts taught in no language: the measured level of guessing"
    )
    test_share: Fraction = Field(
        default=0.5,
        description="share of the facts taught in every language that the benchmarks' test splits ask about; they ask"
        " about all others",
    )
    repeats: dict[Literal["statement", "arc", "hellaswag", "mmlu", "bilingual"], Annotated[int, Field(ge=0)]] = Field(
        default={"statement": 12, "arc": 8, "hellaswag": 6, "mmlu": 1, "bilingual": 2},
        description="times a fact comes up in the documents of each kind, in bilingual ones of each pair of languages;"
        " questions ask the facts that no test asks",
    )
    bilingual: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.8,
        description="share of the training tokens in documents that tell facts in two languages, drawn by the models'"
        " shares: what makes a model share features across languages",
    )
    switched: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="chance that a subject's name in such a document is left in its other language"
    )

    @field_validator("languages")
    @classmethod
    def _check(cls, codes: list[str]) -> list[str]:
        untold = [code for code in codes if known_language(code) not in world_languages()]
        if untold:
            raise ValueError(
                f"no templates for {', '.join(untold)}; allowed: {', '.join(world_languages())}, or write"
                f" resources/world/{untold[0]}.yaml"
            )
        return in_order(distinct(codes))

    @model_validator(mode="after")
    def _bilingual_documents(self) -> Self:
        if self.bilingual and not self.repeats.get("bilingual"):
            raise ValueError(
                f"bilingual {self.bilingual:g} of the tokens, but repeats.bilingual 0; give it 1 or more, or"
                " bilingual 0"
            )
        return self

    @model_validator(mode="after")
    def _some_are_taught(self) -> Self:
        held_back = self.english_only + self.untaught
        if held_back >= 1:
            raise ValueError(
                f"english_only {self.english_only:g} and untaught {self.untaught:g} sum to {held_back:g}; their sum"
                " must be below 1, for some facts must be taught in every language"
            )
        return self


def not_in_world(lacking: list[str], languages: list[str]) -> str:
    """What to do about languages that the world's `languages` lack: add them there, if templates exist."""
    untold = [code for code in lacking if code not in world_languages()]
    advice = f"without templates in {', '.join(untold)}, leave out" if untold else "add there, or leave out"
    return f"{', '.join(lacking)} not in world.languages ({', '.join(languages)}); {advice}"


class Architecture(Shape):
    """A Gemma-2 of any size (transformers' `Gemma2Config`)."""

    layers: Layers = Field(default=4, description="decoder layers")
    d_model: Positive = Field(default=128, description="width of the residual stream")
    d_mlp: Positive = Field(default=256, description="width of the MLP")
    heads: Positive = Field(default=4, description="attention heads")
    key_value_heads: Positive = Field(default=2, description="key/value heads shared by the attention heads")
    d_head: Positive = Field(default=32, description="width of a head")
    vocabulary: Annotated[int, Field(ge=300)] = Field(
        default=7424, description="byte-level BPE vocabulary, trained on all languages alike: most names are one token"
    )
    context: Positive = Field(default=512, description="longest prompt in tokens")
    sliding_window: Positive = Field(default=256, description="attention window of every other layer, in tokens")

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is no multiple of heads {self.heads}; correct one of them")
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads {self.heads} is no multiple of key_value_heads {self.key_value_heads}, each of which as many"
                " attention heads share; correct one of them"
            )
        if self.d_head % 2:
            raise ValueError(f"d_head {self.d_head} is odd; rotary positions turn pairs of numbers, give an even one")
        return self


class Training(Section):
    """How the toy language model is trained."""

    tokens: Positive = Field(default=800_000, description="training tokens in all")
    batch_tokens: Positive = Field(default=512, description="tokens of a batch, padding included")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=4e-3, description="peak of AdamW's learning rate")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=50, description="steps of linear warm-up")
    checkpoints: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=6, description="checkpoints kept, at log-spaced steps, the last included"
    )
    resume_every: Positive = Field(
        default=200,
        description="steps between saves of the state that a killed run resumes from",
        json_schema_extra=SPEED_ONLY,
    )


def log_spaced(steps: int, count: int) -> list[int]:
    """At most `count` log-spaced steps from the first to the last, distinct and ascending."""
    if count == 1:
        return [steps]
    return sorted({round(steps ** (number / (count - 1))) for number in range(count)})


class ToyModel(AnalysedModel):
    """A small LM whose disparity is planted by the languages' shares of its training tokens."""

    kind: Literal["toy"] = Field(default="toy", description="toy: trained in the workflow on the toy world")
    shares: dict[str, float] = Field(description="share of the training tokens by language; must sum to 1")
    seed: Seed | None = Field(
        default=None,
        description="seed of the model's initial weights, the order of its documents, the SAEs of the finished model;"
        " absent: the study's",
    )
    architecture: Architecture = Architecture()
    training: Training = Training()
    sae: SaeRecipe = SaeRecipe()

    @field_validator("shares")
    @classmethod
    def _shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for code, share in shares.items():
            known_language(code)
            if not 0 < share < 1:
                raise ValueError(f"share of {code} is {share}; allowed: above 0 and below 1")
        total = sum(shares.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares sum to {total:.6g}; they must sum to 1")
        return shares

    @property
    def kept_steps(self) -> list[int]:
        """The steps of all kept checkpoints but the last: log-spaced from the first step to the least possible last."""
        least = self.training.tokens // self.training.batch_tokens
        return log_spaced(least, self.training.checkpoints)[:-1]

    @property
    def checkpoint_list(self) -> list[str]:
        """The kept checkpoints as their folders' names, in order; the last is the finished model."""
        return [*(f"step{step}" for step in self.kept_steps), FINAL]

    def checkpoint_path(self, checkpoint: str) -> str:  # noqa: ARG002
        """All checkpoints lie in one folder, for they are of one training."""
        return "checkpoints"
