"""Paper B: how alike a model answers in different languages, which language its layers work in, and steering."""

from functools import cache
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from isogloss.config.base import Positive, Section, distinct, known_language
from isogloss.config.pretrained import Source
from isogloss.languages import in_order
from isogloss.resources import RESOURCES

LatentTaskName = Literal["belebele", "mmmlu", "hellaswag"]
Layer = Annotated[int, Field(ge=0)]


class LatentTask(Section):
    """Parallel four-choice questions, asked in every language."""

    languages: list[str] | None = Field(default=None, description="absent: the study's")
    questions: Positive | None = Field(
        default=None, description="questions asked, the first by a hash of their ids; absent: all that are parallel"
    )
    prompt: Literal["letters", "cloze"] = Field(
        default="letters",
        description="letters: lettered choices in the prompt, ranked by the next token (paper B, table 3); cloze: the"
        " question alone, its choices ranked by the length-normalised probability of their text",
    )
    source: Source | None = Field(
        default=None,
        description="pretrained models: repository or folder in the layout of facebook/belebele, openai/MMMLU or"
        " alexandrainst/m_hellaswag",
    )
    reference_source: Source | None = Field(
        default=None, description="mmmlu: English questions in the layout of cais/mmlu, which MMMLU lacks"
    )

    @field_validator("languages")
    @classmethod
    def _check(cls, codes: list[str] | None) -> list[str] | None:
        return None if codes is None else in_order(distinct([known_language(code) for code in codes]))


class Generation(Section):
    """Greedy answers with the steering vector on (beyond the paper)."""

    layer: Layer = Field(description="layer after which the vector is added, 0-based")
    gammas: list[float] = Field(min_length=1, description="multipliers of the vector; 0 is the unsteered answer")
    questions: Positive = Field(default=20, description="questions answered, the first of those not held out")
    new_tokens: Positive = Field(default=32, description="tokens generated at most")


class Steering(Section):
    """Activations moved towards the reference at the last prompt token (paper B, sec. 4)."""

    layers: list[Layer] | None = Field(
        default=None, min_length=1, description="layers after which the vector is added, 0-based; absent: the probed"
    )
    gammas: list[float] = Field(
        default=[-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], min_length=1, description="multipliers of the vector; not 0"
    )
    random: bool = Field(default=True, description="control: a random direction as long as the vector")
    other: bool = Field(default=True, description="control: the vector of the next language")
    shared: bool = Field(default=False, description="one vector for all languages, the mean of all, too")
    generation: Generation | None = Field(default=None, description="absent: no answers are generated")

    @field_validator("gammas")
    @classmethod
    def _moves(cls, gammas: list[float]) -> list[float]:
        if 0 in gammas:
            raise ValueError("0 changes nothing and is measured anyway; leave it out")
        distinct([str(gamma) for gamma in gammas])
        return sorted(gammas)


class Latent(Section):
    """Answers, latent language and steering on parallel questions (paper B)."""

    tasks: dict[LatentTaskName, LatentTask] = Field(
        default={"hellaswag": LatentTask(prompt="cloze")},
        min_length=1,
        description="data sets by name: belebele, mmmlu, hellaswag; the toy world has hellaswag",
    )
    instruction: Literal["reference", "native"] = Field(
        default="reference", description="language of the prompt's instruction: the reference (paper) or the question's"
    )
    every: Positive = Field(
        default=4, description="the logit lens reads every k-th layer, ending at the last (paper B, sec. 2.2)"
    )
    final_norm: bool = Field(
        default=True, description="whether the lens applies the final norm to the layers before the last"
    )
    softcap: bool = Field(default=True, description="whether the lens applies the model's soft-cap of logits")
    log_ratio: Literal["sum", "mean"] = Field(
        default="sum",
        description="native to reference answers: log ratio of the sums of their probabilities, or mean over choices of"
        " log ratios (open in the paper)",
    )
    held_out: Annotated[int, Field(ge=2)] = Field(
        default=50, description="parallel questions for steering vectors and projection, drawn by the seed"
    )
    steering: Steering | None = Field(default=Steering(), description="null: none")

    @model_validator(mode="after")
    def _sources(self) -> Self:
        mmmlu = self.tasks.get("mmmlu")
        if mmmlu and mmmlu.source and not mmmlu.reference_source:
            raise ValueError("tasks.mmmlu.reference_source: none; English MMLU is not in MMMLU, give cais/mmlu")
        return self


@cache
def instruction_languages() -> frozenset[str]:
    """The languages that `resources/prompts.yaml` has an instruction in."""
    return frozenset(yaml.safe_load((RESOURCES / "prompts.yaml").read_text(encoding="utf-8"))["words"])
