"""What is measured and aligned, and how: the sections that hold for every model of a study."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from isogloss.config.base import SPEED_ONLY, Fraction, Name, Positive, Section, distinct, known_language
from isogloss.config.pretrained import Source
from isogloss.config.questions import QuestionSource, TaskName
from isogloss.languages import in_order

OkapiTask = Literal["arc", "hellaswag", "mmlu"]
OKAPI = get_args(OkapiTask)
Inactive = Literal["pre_activation", "straight_through", "none"]


class Languages(Section):
    """The languages to analyse: reference and others, or the two groups that the gap compares (paper A, app. A.2.3)."""

    reference: str = Field(default="en", description="language that all others are compared with")
    others: list[str] = Field(
        default=[], description="the other languages, where no analysis compares groups (gap and alignment do)"
    )
    high_resource: list[str] = Field(default=[], description="high-resource group, reference included")
    medium_low_resource: list[str] = Field(default=[], description="medium-to-low-resource group")

    @field_validator("reference")
    @classmethod
    def _known(cls, code: str) -> str:
        return known_language(code)

    @field_validator("others", "high_resource", "medium_low_resource")
    @classmethod
    def _check(cls, codes: list[str]) -> list[str]:
        return distinct([known_language(code) for code in codes])

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if self.others and (self.high_resource or self.medium_low_resource):
            raise ValueError("others beside groups; give others, or high_resource and medium_low_resource")
        if not self.others and not (self.high_resource and self.medium_low_resource):
            raise ValueError("give high_resource and medium_low_resource, or others where no analysis compares groups")
        both = set(self.high_resource) & set(self.medium_low_resource)
        if both:
            raise ValueError(f"in both groups: {', '.join(sorted(both))}; a language belongs to one")
        if self.reference in self.others:
            raise ValueError(f"others: {self.reference} is the reference; leave it out there")
        if self.high_resource and self.reference not in self.high_resource:
            raise ValueError(
                f"reference {self.reference!r} must be one of high_resource: {', '.join(self.high_resource)}"
            )
        return self

    @property
    def all(self) -> list[str]:
        """Every analysed language, in the order of the language table."""
        return in_order({self.reference, *self.others, *self.high_resource, *self.medium_low_resource})


class Check(Section):
    """Whether model and SAEs give the activations that the exports recorded."""

    records: Annotated[int, Field(ge=0)] = Field(
        default=16, description="exported records measured again a layer, evenly spaced over features; 0: no check"
    )
    correlation: Fraction = Field(
        default=0.95, description="median over records of the correlation over tokens that a layer must reach"
    )
    same_peak: Fraction = Field(
        default=0.8, description="share of a layer's records that must have their peak at the recorded token"
    )


class Phrases(Section):
    """Top-activating windows of the reference-language corpus, per feature (paper A, sec. 2.1)."""

    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.80, description="a window is kept from this share of the feature's maximum on"
    )
    window: Positive = Field(default=10, description="tokens kept on each side of the strongest token")
    unit: Literal["window", "segment"] = Field(
        default="window",
        description="what a phrase is: the window, grown to the segments that it touches where segments are searched;"
        " or the one segment in which the strongest token begins, whatever `window` is",
    )
    feature_stride: Positive = Field(default=2, description="every k-th feature is sampled")
    per_feature: Positive = Field(default=5, description="at most so many phrases a feature, strongest first")
    corpus_tokens: Positive = Field(
        default=60_000, description="tokens searched for windows, at most; exports have been searched already"
    )
    texts: Literal["documents", "segments"] | None = Field(
        default=None,
        description="what is searched: the study's documents, or segments of its parallel text; absent: segments where"
        " translations are looked up in parallel text, else documents",
    )
    language: str | None = Field(default=None, description="language of the phrases; absent: the reference")
    check: Check = Field(default=Check(), description="exports: recorded activations that must be found again")

    @field_validator("language")
    @classmethod
    def _language(cls, code: str | None) -> str | None:
        return code and known_language(code)


class Compute(Section):
    """Batch and job sizes, which change no number beyond float tolerance, and the compute type, which does."""

    token_budget: Positive = Field(
        default=8192, description="tokens of a forward batch, padding included", json_schema_extra=SPEED_ONLY
    )
    layers_per_job: Literal["all"] | Positive = Field(
        default="all",
        description="layers that a job of reproduce, translate, encode or codes takes",
        json_schema_extra=SPEED_ONLY,
    )
    tasks_per_job: Literal["all"] | Positive = Field(
        default="all", description="benchmark tasks that one job takes", json_schema_extra=SPEED_ONLY
    )
    languages_per_job: Literal["all"] | Positive = Field(
        default=1,
        description="languages that a job of capture, encode, codes, benchmark, latent_score or steer takes",
        json_schema_extra=SPEED_ONLY,
    )
    gpus_per_job: Positive = Field(
        default=1,
        description="GPUs that a job which runs a model asks for: its layers lie on several where one is too small",
        json_schema_extra=SPEED_ONLY,
    )
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="compute type of forward passes")
    kernels: Literal["auto", "plain"] = Field(
        default="auto",
        description="auto: on a GPU faster norms, MLPs and attention, and compiled layers in long jobs, each where a"
        " trial finds it as exact as transformers' own; plain: transformers' own",
        json_schema_extra=SPEED_ONLY,
    )


class Similarity(Section):
    """Cosine of mean-pooled residuals (paper A, sec. 2.2), and retrieval of translations by it."""

    feature_stride: Positive = Field(default=4, description="phrases of every k-th sampled feature are compared")
    candidates: Annotated[int, Field(ge=2)] = Field(
        default=1000, description="distinct texts that retrieval ranks a translation among, at most"
    )


class Gap(Section):
    """Activation gaps between languages and groups (paper A, sec. 2.5)."""

    variant: Literal["with_reference", "without_reference"] = Field(
        default="with_reference", description="variant that the headline and the figures show; the table has both"
    )
    minimum_phrases: Positive = Field(default=1, description="a feature counts from so many phrases on")


class Reciprocal(Section):
    """The gap chosen both ways, and retrieval by SAE codes: which texts and features these take."""

    texts: Annotated[int, Field(ge=2)] = Field(
        default=1000,
        description="texts that every language has whose codes are taken, at most: parallel segments, or phrases where"
        " these are machine-translated",
    )
    feature_stride: Positive | None = Field(
        default=None, description="every k-th feature is sampled; absent: as phrases.feature_stride"
    )


class Statistics(Section):
    """Intervals and corrections, the same everywhere."""

    bootstrap: Annotated[int, Field(ge=100)] = Field(default=1000, description="bootstrap resamples")
    confidence: Fraction = Field(default=0.95, description="coverage of every interval")
    correction: Literal["holm", "bh"] = Field(default="holm", description="correction of every family of tests")


class AlignmentRun(Section):
    """One LoRA run with the activation-alignment loss (paper A, sec. 2.6 and app. B.1)."""

    target_layer: Annotated[int, Field(ge=0)] = Field(description="layer at which the gap is closed, 0-based")
    languages: list[str] = Field(min_length=1, description="languages aligned to the reference")
    tuned_layers: Literal["up_to_target"] | list[int] = Field(
        default="up_to_target", description="decoder layers that get LoRA matrices"
    )
    inactive: Inactive | None = Field(
        default=None, description="as alignment.inactive, for this run alone; absent: as there"
    )
    benchmark: list[str] | None = Field(
        default=None, description="languages to benchmark with this adapter; absent: all analysed languages"
    )

    @field_validator("languages", "benchmark")
    @classmethod
    def _check(cls, codes: list[str] | None) -> list[str] | None:
        return None if codes is None else in_order(distinct([known_language(code) for code in codes]))

    @model_validator(mode="after")
    def _tuned(self) -> Self:
        if self.tuned_layers != "up_to_target":
            above = [layer for layer in self.tuned_layers if not 0 <= layer <= self.target_layer]
            if above or not self.tuned_layers:
                raise ValueError(
                    f"tuned_layers {above or '[]'}: only layers 0 to target_layer {self.target_layer} get a gradient"
                )
        return self


class Alignment(Section):
    """Loss, LoRA and optimisation shared by all runs; `runs` names the adapters."""

    runs: dict[Name, AlignmentRun] = Field(default_factory=dict, description="LoRA runs, by adapter name")
    distance: Literal["squared", "absolute"] = Field(default="squared", description="d in the loss")
    weight: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="lambda, weight of the reference-retention term"
    )
    inactive: Inactive = Field(
        default="pre_activation",
        description="gradient where the feature is off in the translation: through its pre-activation, straight"
        " through the threshold, or none (the formula as printed)",
    )
    detach_reference: bool = Field(default=False, description="stop the gradient of the reference in the first term")
    recorded: Literal["corpus", "phrase"] = Field(
        default="corpus",
        description="recorded reference activation: in the corpus context (paper), or on the phrase alone",
    )
    held_out: Fraction = Field(
        default=0.1,
        description="share of features that no run trains on, nor on their texts; their gain comes first",
    )
    held_out_features: Annotated[int, Field(ge=0)] = Field(
        default=100,
        description="at least so many features with phrases are held out a layer, as far as half of those there are",
    )
    samples: Positive = Field(default=2000, description="pairs of phrase and translation drawn for training")
    iterations: Positive = Field(default=150, description="optimiser steps")
    batch_size: Positive = Field(default=32, description="pairs of a step")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=1e-3, description="AdamW's learning rate")
    rank: Positive = Field(default=8, description="LoRA rank")
    alpha: Annotated[float, Field(gt=0)] = Field(default=16.0, description="LoRA alpha")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.0, description="LoRA dropout")
    target_modules: Literal["all"] | Annotated[list[str], Field(min_length=1)] = Field(
        default="all", description="linear maps of a decoder layer that get LoRA matrices, by name"
    )
    resume_every: Positive = Field(
        default=25,
        description="steps between saves of the state that a killed run resumes from",
        json_schema_extra=SPEED_ONLY,
    )


class TaskSettings(QuestionSource):
    """One benchmark task: one of Okapi's, or one of lm-eval's."""

    shots: Annotated[int, Field(ge=0)] = Field(description="few-shot examples in the prompt")
    metric: Literal["acc", "acc_norm"] = Field(
        default="acc", description="metric of tables and figures; both are recorded"
    )


class Benchmarks(Section):
    """What a model is asked in every language (paper A, sec. 2.3 and app. B.2)."""

    tasks: dict[TaskName, TaskSettings] = Field(
        default={
            "arc": TaskSettings(shots=10),
            "hellaswag": TaskSettings(shots=10),
            "mmlu": TaskSettings(shots=5),
        },
        min_length=1,
        description="tasks by name: arc, hellaswag and mmlu are Okapi's, any other name is free for a task of lm_eval",
    )
    sources: dict[OkapiTask, Literal["world"] | Source] = Field(
        default={
            "arc": Source(id="alexandrainst/m_arc"),
            "hellaswag": Source(id="alexandrainst/m_hellaswag"),
            "mmlu": Source(id="alexandrainst/m_mmlu"),
        },
        description="where Okapi's questions come from, data/LANGUAGE/SPLIT.jsonl, or world: the toy world's, which"
        " models that are trained on it are asked anyway",
    )
