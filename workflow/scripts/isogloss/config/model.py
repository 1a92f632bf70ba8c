"""What the configuration says of every model, wherever it comes from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from isogloss.config.base import Positive, Section, Title, distinct

FINAL = "final"  # the finished model, as the folder of a checkpoint
Layers = Annotated[int, Field(ge=1, le=10_000)]  # each is a job, or part of one
Analysis = Literal["similarity", "gap", "alignment", "benchmarks", "bilingual", "latent", "causal"]


class Shape(Section):
    """The shape of a transformer decoder, under the names of this project."""

    layers: Layers = Field(description="decoder layers")
    d_model: Positive = Field(description="width of the residual stream")
    d_mlp: Positive = Field(description="width of the MLP")
    heads: Positive = Field(description="attention heads")
    key_value_heads: Positive = Field(description="key/value heads shared by the attention heads")
    d_head: Positive = Field(description="width of a head")
    vocabulary: Positive = Field(description="tokens of the vocabulary")


class SaeRecipe(Section):
    """Sparse autoencoders trained on the model's own residual stream (recipe of paper C)."""

    kind: Literal["topk", "jumprelu", "batchtopk", "matryoshka"] = Field(
        default="topk",
        description="topk: ours, after paper C; others: SAELens' trainers, analysis bilingual only",
    )
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


class AnalysedModel(Section):
    """A language model and which analyses to run on it."""

    title: Title = Field(description="how figures and the report call the model")
    architecture: Shape = Field(
        default=None,  # pyright: ignore[reportAssignmentType]  (filled in, or refused below)
        description="shape of the model; absent: read from the config.json of its source",
    )
    layers: Literal["all"] | list[Annotated[int, Field(ge=0)]] = Field(
        default="all", description="layers to analyse, 0-based"
    )
    analyses: list[Analysis] = Field(
        default=["similarity", "gap", "alignment", "benchmarks"],
        description="similarity, gap, alignment, benchmarks: paper A; latent: paper B; bilingual: paper C;"
        " causal: features of one language, ablated",
    )
    sae: SaeRecipe | None = Field(default=None, description="how SAEs are trained here, on the study's documents")
    tasks: list[str] | None = Field(
        default=None, min_length=1, description="benchmark tasks of this model, names in benchmarks.tasks; absent: all"
    )

    @property
    def checkpoint_list(self) -> list[str]:
        """The checkpoints as their folders' names, in order; the last is the finished model."""
        raise NotImplementedError

    def checkpoint_path(self, checkpoint: str) -> str:
        """What holds a checkpoint, below the model's results: its folder, or one with all of them."""
        raise NotImplementedError

    @property
    def reads_phrases(self) -> bool:
        """Whether paper A's phrases are needed: exports or a corpus, translations, SAEs of the finished model."""
        return bool({"similarity", "gap", "alignment"} & set(self.analyses))

    @property
    def reads_saes(self) -> bool:
        """Whether SAEs of the finished model are needed: for phrases, or to ablate features."""
        return self.reads_phrases or "causal" in self.analyses

    @model_validator(mode="after")
    def _layers_exist(self) -> Self:
        if self.architecture is None:
            raise ValueError("architecture: not given, and no config.json to read it from; give it")
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
