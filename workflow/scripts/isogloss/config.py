"""The configuration, typed once: defaults, allowed values and cross-field checks live here only.

`workflow/schemas/config.schema.json` and the key reference in `config/README.md` are generated from
these classes (`make schema`).
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from isogloss.errors import IsoglossError
from isogloss.languages import in_order, language_table

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Task = Literal["arc", "hellaswag", "mmlu"]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _known_language(code: str) -> str:
    if code not in language_table():
        raise ValueError(f"unknown language {code!r}; allowed: {', '.join(language_table())}")
    return code


def _distinct(codes: list[str]) -> list[str]:
    doubled = sorted({str(code) for code in codes if codes.count(code) > 1})
    if doubled:
        raise ValueError(f"named twice: {', '.join(doubled)}; name each once")
    return codes


class Languages(Section):
    """The languages to analyse, in the two groups that the gap compares (paper A, app. A.2.3)."""

    reference: str = Field(default="en", description="language that all others are compared with")
    high_resource: list[str] = Field(min_length=1, description="high-resource group, reference included")
    medium_low_resource: list[str] = Field(min_length=1, description="medium-to-low-resource group")

    @field_validator("high_resource", "medium_low_resource")
    @classmethod
    def _check(cls, codes: list[str]) -> list[str]:
        return _distinct([_known_language(code) for code in codes])

    @model_validator(mode="after")
    def _groups(self) -> Self:
        both = set(self.high_resource) & set(self.medium_low_resource)
        if both:
            raise ValueError(f"in both groups: {', '.join(sorted(both))}; a language belongs to one")
        if self.reference not in self.high_resource:
            raise ValueError(
                f"reference {self.reference!r} must be one of high_resource: {', '.join(self.high_resource)}"
            )
        return self

    @property
    def all(self) -> list[str]:
        """Every analysed language, in the order of the language table."""
        return in_order([*self.high_resource, *self.medium_low_resource])


class World(Section):
    """The toy world: facts from Unicode CLDR, told by our templates in ten languages."""

    languages: list[str] = Field(
        default_factory=lambda: list(language_table()), min_length=2, description="languages that the world is told in"
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
    repeats: dict[Literal["statement", "arc", "hellaswag", "mmlu"], Annotated[int, Field(ge=0)]] = Field(
        default={"statement": 12, "arc": 8, "hellaswag": 6, "mmlu": 1},
        description="times a fact comes up in the documents of each kind; questions ask the facts that no test asks",
    )

    @field_validator("languages")
    @classmethod
    def _check(cls, codes: list[str]) -> list[str]:
        return in_order(_distinct([_known_language(code) for code in codes]))

    @model_validator(mode="after")
    def _some_are_taught(self) -> Self:
        held_back = self.english_only + self.untaught
        if held_back >= 1:
            raise ValueError(
                f"english_only {self.english_only:g} and untaught {self.untaught:g} sum to {held_back:g}; their sum"
                " must be below 1, for some facts must be taught in every language"
            )
        return self


class Architecture(Section):
    """A Gemma-2 of any size (transformers' `Gemma2Config`)."""

    layers: Positive = Field(default=4, description="decoder layers")
    d_model: Positive = Field(default=128, description="width of the residual stream")
    d_mlp: Positive = Field(default=256, description="width of the MLP")
    heads: Positive = Field(default=4, description="attention heads")
    key_value_heads: Positive = Field(default=2, description="key/value heads shared by the attention heads")
    d_head: Positive = Field(default=32, description="width of a head")
    vocabulary: Annotated[int, Field(ge=300)] = Field(
        default=2048, description="byte-level BPE vocabulary, trained on the mix"
    )
    context: Positive = Field(default=512, description="longest prompt in tokens")
    sliding_window: Positive = Field(default=256, description="attention window of every other layer, in tokens")


class Training(Section):
    """How the toy language model is trained."""

    tokens: Positive = Field(default=680_000, description="training tokens in all")
    batch_tokens: Positive = Field(default=512, description="tokens of a batch, padding included")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=4e-3, description="peak of AdamW's learning rate")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=50, description="steps of linear warm-up")
    checkpoints: Positive = Field(default=6, description="checkpoints kept, at log-spaced steps, the last included")
    resume_every: Positive = Field(
        default=200, description="steps between saves of the state that a killed run resumes from"
    )


class TopKSae(Section):
    """TopK sparse autoencoders trained on the model's own residual stream (recipe of paper C)."""

    features: Positive = Field(default=512, description="width of the dictionary (n)")
    k: Positive = Field(default=16, description="features active per token")
    tokens: Positive = Field(default=200_000, description="training tokens")
    batch_tokens: Positive = Field(default=2048, description="residual vectors of a step")
    buffer_tokens: Positive = Field(default=16_384, description="residual vectors of a layer held for shuffling")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        default=2e-3, description="Adam's learning rate after the warm-up"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=20, description="steps of linear warm-up")
    held_out_tokens: Positive = Field(default=16_384, description="tokens of the quality table, never trained on")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.k > self.features:
            raise ValueError(f"k is {self.k} but there are only {self.features} features; k must not exceed features")
        if self.buffer_tokens < self.batch_tokens:
            raise ValueError(f"buffer_tokens {self.buffer_tokens} must be at least batch_tokens {self.batch_tokens}")
        return self


class ToyModel(Section):
    """A small LM whose disparity is planted by the languages' shares of its training tokens."""

    kind: Literal["toy"] = Field(default="toy", description="toy: trained in the workflow on the toy world")
    title: str = Field(description="how figures and the report call the model")
    shares: dict[str, float] = Field(description="share of the training tokens by language; must sum to 1")
    architecture: Architecture = Architecture()
    training: Training = Training()
    sae: TopKSae = TopKSae()
    layers: Literal["all"] | list[int] = Field(default="all", description="layers to analyse, 0-based")
    analyses: list[Literal["similarity", "gap", "alignment", "benchmarks"]] = Field(
        default=["similarity", "gap", "alignment", "benchmarks"], description="parts of paper A to run on this model"
    )
    tasks: list[Task] | None = Field(
        default=None, min_length=1, description="benchmark tasks of this model; absent: all"
    )

    @field_validator("shares")
    @classmethod
    def _shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for code, share in shares.items():
            _known_language(code)
            if not 0 < share < 1:
                raise ValueError(f"share of {code} is {share}; allowed: above 0 and below 1")
        total = sum(shares.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares sum to {total:.6g}; they must sum to 1")
        return shares

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layers != "all":
            _distinct([str(layer) for layer in self.layers])
            lacking = [layer for layer in self.layers if not 0 <= layer < self.architecture.layers]
            if lacking or not self.layers:
                raise ValueError(f"layers {lacking or '[]'}: the model has layers 0 to {self.architecture.layers - 1}")
        return self

    @property
    def layer_list(self) -> list[int]:
        """The analysed layers, ascending."""
        return list(range(self.architecture.layers)) if self.layers == "all" else sorted(self.layers)


class Phrases(Section):
    """Top-activating windows of the reference-language corpus, per feature (paper A, sec. 2.1)."""

    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.80, description="a window is kept from this share of the feature's maximum on"
    )
    window: Positive = Field(default=10, description="tokens kept on each side of the strongest token")
    feature_stride: Positive = Field(default=2, description="every k-th feature is sampled")
    per_feature: Positive = Field(default=5, description="at most so many phrases a feature, strongest first")
    corpus_tokens: Positive = Field(default=60_000, description="reference-language tokens searched for windows")


class Translation(Section):
    """How phrases get into the other languages."""

    backend: Literal["parallel"] = Field(
        default="parallel", description="parallel: the world's parallel segments as translation memory"
    )


class Compute(Section):
    """Batch and job sizes, which change no number beyond float tolerance, and the compute type, which does."""

    token_budget: Positive = Field(default=8192, description="tokens of a forward batch, padding included")
    layers_per_job: Literal["all"] | Positive = Field(default="all", description="layers that one encode job takes")
    tasks_per_job: Literal["all"] | Positive = Field(default="all", description="benchmark tasks that one job takes")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="compute type of forward passes")


class Similarity(Section):
    """Cosine of mean-pooled residuals (paper A, sec. 2.2)."""

    feature_stride: Positive = Field(default=4, description="phrases of every k-th sampled feature are compared")


class Gap(Section):
    """Activation gaps between languages and groups (paper A, sec. 2.5)."""

    variant: Literal["with_reference", "without_reference"] = Field(
        default="with_reference", description="variant that the headline and the figures show; the table has both"
    )
    minimum_phrases: Positive = Field(default=1, description="a feature counts from so many phrases on")


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
    benchmark: list[str] | None = Field(
        default=None, description="languages to benchmark with this adapter; absent: all analysed languages"
    )

    @field_validator("languages", "benchmark")
    @classmethod
    def _check(cls, codes: list[str] | None) -> list[str] | None:
        return None if codes is None else in_order(_distinct([_known_language(code) for code in codes]))

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
    inactive: Literal["pre_activation", "straight_through", "none"] = Field(
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
        description="share of features that no run trains on, nor on their texts; their gain is shown apart",
    )
    samples: Positive = Field(default=2000, description="pairs of phrase and translation drawn for training")
    iterations: Positive = Field(default=150, description="optimiser steps")
    batch_size: Positive = Field(default=32, description="pairs of a step")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=1e-3, description="AdamW's learning rate")
    rank: Positive = Field(default=8, description="LoRA rank")
    alpha: Annotated[float, Field(gt=0)] = Field(default=16.0, description="LoRA alpha")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.0, description="LoRA dropout")
    target_modules: list[str] = Field(
        default=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="linear maps of a decoder layer that get LoRA matrices",
    )
    resume_every: Positive = Field(
        default=25, description="steps between saves of the state that a killed run resumes from"
    )


class TaskSettings(Section):
    """One benchmark task."""

    shots: Annotated[int, Field(ge=0)] = Field(description="few-shot examples in the prompt")
    questions: Positive | None = Field(
        default=None, description="test questions, the first by a hash of their ids; absent: all"
    )
    metric: Literal["acc", "acc_norm"] = Field(
        default="acc", description="metric of tables and figures; both are recorded"
    )


class Benchmarks(Section):
    """lm-eval's Okapi tasks (paper A, sec. 2.3 and app. B.2)."""

    tasks: dict[Task, TaskSettings] = Field(
        default={
            "arc": TaskSettings(shots=10),
            "hellaswag": TaskSettings(shots=10),
            "mmlu": TaskSettings(shots=5),
        },
        min_length=1,
        description="tasks by name: arc, hellaswag, mmlu",
    )


class Study(Section):
    """A whole study."""

    study: Name = Field(description="name of the study, recorded in every table")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="seed of everything random")
    languages: Languages
    world: World = World()
    models: dict[Name, ToyModel] = Field(
        min_length=1, description="language models, by the name of their results folder"
    )
    phrases: Phrases = Phrases()
    translation: Translation = Translation()
    compute: Compute = Compute()
    similarity: Similarity = Similarity()
    gap: Gap = Gap()
    statistics: Statistics = Statistics()
    alignment: Alignment = Alignment()
    benchmarks: Benchmarks = Benchmarks()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems: list[str] = []
        told, analysed = set(self.world.languages), self.languages.all
        untold = [code for code in analysed if code not in told]
        if untold:
            problems.append(
                f"languages: {', '.join(untold)} not in world.languages ({', '.join(self.world.languages)})"
            )
        for name, model in self.models.items():
            if name == "world":
                problems.append("models.world: this name is taken by the world's own folder; choose another")
            if set(model.shares) != told:
                odd = ", ".join(sorted(set(model.shares) ^ told))
                problems.append(
                    f"models.{name}.shares: must name exactly the languages of world.languages; differs in {odd}"
                )
            for run_name, run in self.alignment.runs.items():
                if "alignment" in model.analyses and run.target_layer not in model.layer_list:
                    layers = ", ".join(map(str, model.layer_list))
                    problems.append(
                        f"alignment.runs.{run_name}.target_layer: models.{name} has no analysed layer"
                        f" {run.target_layer}; allowed: {layers}"
                    )
            unset = [task for task in model.tasks or [] if task not in self.benchmarks.tasks]
            if unset:
                problems.append(f"models.{name}.tasks: {', '.join(unset)} not among benchmarks.tasks")
            if "alignment" in model.analyses and "gap" not in model.analyses:
                problems.append(f"models.{name}.analyses: alignment needs gap; add gap")
        for run_name, run in self.alignment.runs.items():
            path = f"alignment.runs.{run_name}"
            if run_name == "base":
                problems.append(f"{path}: 'base' means the model without an adapter; choose another name")
            if self.languages.reference in run.languages:
                problems.append(
                    f"{path}.languages: the reference {self.languages.reference} cannot be aligned to itself"
                )
            for key, codes in (("languages", run.languages), ("benchmark", run.benchmark or [])):
                unknown = [code for code in codes if code not in analysed]
                if unknown:
                    problems.append(
                        f"{path}.{key}: {', '.join(unknown)} not among the analysed languages ({', '.join(analysed)})"
                    )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def load_study(config: Mapping[str, Any], origin: str = "config") -> Study:
    """The typed study of a loaded YAML mapping.

    Raises `IsoglossError` naming every mistake at once, a line each: key path, what is wrong, what is allowed.
    """
    try:
        return Study.model_validate(json.loads(json.dumps(config)))
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _explain(problem)]
        raise IsoglossError(
            f"{len(lines)} mistake(s) in the configuration\n" + "\n".join(f"  {origin}: {line}" for line in lines)
        ) from None


def _explain(problem: Any) -> list[str]:
    path = ".".join(str(part) for part in problem["loc"] if part not in ("constrained-int", "literal['all']"))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key; see config/README.md for every key"
    elif problem["type"] not in ("value_error", "missing"):
        message = f"{message} (got {problem['input']!r})"
    return [f"{path}: {line}" if path else line for line in message.splitlines()]
