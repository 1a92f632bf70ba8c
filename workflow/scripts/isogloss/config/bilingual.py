"""Paper C: which features belong to one language, which to several, and what injecting them does."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from isogloss.config.base import SPEED_ONLY, Folder, Fraction, Positive, Section, distinct, known_language
from isogloss.config.planted import Seed

Rate = Annotated[float, Field(gt=0)]


class TranslationTest(Section):
    """Translation between the languages by greedy few-shot generation, scored by chrF and BLEU."""

    folder: Folder | None = Field(
        default=None,
        description="folder with a LANG.parquet each (columns segment, text); absent: the study's parallel text",
    )
    shots: Positive = Field(default=4, description="example pairs in the prompt")
    sentences: Positive = Field(default=100, description="sentences translated in each direction")
    new_tokens: Positive = Field(default=64, description="tokens generated at most")
    comet: Folder | None = Field(
        default=None,
        description="folder of a COMET model (wmt22-comet-da: hparams.yaml, checkpoints/model.ckpt), which scores the"
        " translations in an environment of its own, made by --software-deployment-method conda; absent: chrF and"
        " BLEU only",
    )


class Intervention(Section):
    """Features of the fully trained model injected into an unfinished one (paper C, sec. 5, eq. 7)."""

    step: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="checkpoint to inject into; absent: the middle one of those analysed; nothing is injected into a"
        " model that has the finished one only",
    )
    layer: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="layer to inject at, 0-based; absent: the middle one of those analysed"
    )
    classes: list[str] | None = Field(
        default=None, description="languages, mixed, random or matched (controls); absent: all of them"
    )
    alphas: list[Rate] = Field(default=[0.1], min_length=1, description="strengths of the injection")
    n_features: list[Positive] = Field(
        default=[1000], min_length=1, description="features injected, drawn from the class; all if it has fewer"
    )
    repeats: Positive = Field(default=5, description="draws of the features, averaged")
    documents: Positive = Field(default=500, description="evaluation documents a language whose perplexity is taken")
    bias: bool = Field(default=False, description="whether the decoder's bias is injected too (open in the paper)")
    rescale: bool = Field(
        default=True,
        description="whether the decoded features, at unit norm, are multiplied by the norm of the fully trained"
        " model's vector (open in the paper)",
    )
    translations: TranslationTest | None = Field(default=None, description="absent: perplexity only")


class Bilingual(Section):
    """How features are classed by language and concept (paper C, sec. 3)."""

    languages: list[str] | None = Field(
        default=None,
        min_length=2,
        description="two or more languages, the first is the reference; absent: the study's reference and the next"
        " language of its high-resource group",
    )
    tokens_per_document: Annotated[int, Field(ge=3)] = Field(
        default=64, description="first tokens of a document that are read, BOS included"
    )
    minimum_tokens: Annotated[int, Field(ge=2)] = Field(
        default=3, description="documents with fewer tokens, BOS included, are dropped and counted"
    )
    evaluation_tokens: Positive = Field(default=100_000, description="tokens that the features are described on")
    threshold: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        default=0.9, description="a feature is of a language from above this share of its activations on"
    )
    pattern_threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.7, description="a token is counted above this share of the feature's maximum"
    )
    similarity: Annotated[float, Field(ge=-1, le=1)] = Field(
        default=0.1,
        description="tokens with a cosine of their input embeddings above this share a semantic cluster (the paper's)",
    )
    similarity_quantile: Fraction = Field(
        default=0.99,
        description="quantile of the cosines of random token pairs that is the similarity of the calibrated columns",
    )
    permutations: Positive = Field(
        default=20, description="exchanges of the embedding's rows whose mean is the null of the concept metrics"
    )
    minimum_activations: Positive = Field(
        default=10, description="counted activations below which a feature's class is called few, beside the paper's"
    )
    clustering: Literal["greedy", "components"] = Field(
        default="greedy",
        description="greedy: a token, the most frequent first, joins the first cluster whose first token is similar;"
        " components: connected components",
    )
    single_token: Literal[0, 1] = Field(
        default=1, description="monosemanticity of a feature with one token only, where the formula is 0/0"
    )
    embeddings: str | None = Field(
        default=None,
        description="model whose input embeddings cluster the tokens; absent: the model itself",
    )
    examples_per_class: Annotated[int, Field(ge=0)] = Field(
        default=4, description="features a class and layer that the report shows in context"
    )
    learning_rates: list[Rate] = Field(
        default=[],
        description="rates to search over, at the last checkpoint and the middle layer; absent: the recipe's own rate",
    )
    sae_seeds: list[Seed] = Field(
        default=[],
        description="seeds of further SAEs beside the study's own, at the last checkpoint and the middle layer: how"
        " much the share of mixed features, and the features themselves, are the seed's",
    )
    layers_per_job: Positive | Literal["all"] = Field(
        default="all",
        description="layers whose SAEs one job trains from one forward; their memory adds up",
        json_schema_extra=SPEED_ONLY,
    )
    resume_every: Positive = Field(
        default=500,
        description="batches between saves of the state that a killed training resumes from",
        json_schema_extra=SPEED_ONLY,
    )
    intervention: Intervention | None = Field(default=Intervention(), description="null: none")

    @field_validator("languages")
    @classmethod
    def _known(cls, codes: list[str] | None) -> list[str] | None:
        return codes if codes is None else distinct([known_language(code) for code in codes])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.minimum_tokens > self.tokens_per_document:
            raise ValueError(
                f"minimum_tokens {self.minimum_tokens} must be at most tokens_per_document {self.tokens_per_document}"
            )
        distinct([str(rate) for rate in self.learning_rates])
        distinct([str(seed) for seed in self.sae_seeds])
        return self
