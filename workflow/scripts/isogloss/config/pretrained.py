"""Models that are fetched: where the model, its SAEs and its features' recorded activations come from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from isogloss.config.base import Positive, Section
from isogloss.config.model import FINAL, AnalysedModel

Layer = Annotated[int, Field(ge=0)]


class Source(Section):
    """A repository of the Hugging Face Hub at a revision, or a local folder with the same files."""

    id: str | None = Field(default=None, description="repository on the Hugging Face Hub, OWNER/NAME")
    revision: str = Field(
        default="main", description="commit to fetch; of a branch or tag the commit is looked up and recorded"
    )
    folder: str | None = Field(
        default=None, description="local folder with the repository's files, taken instead: nothing is downloaded"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.id is None and self.folder is None:
            raise ValueError("neither id nor folder; give a Hugging Face repository (id) or a local folder")
        return self


class Saes(Section):
    """One pretrained SAE a layer, on the residual stream after it."""

    source: Source | None = Field(
        default=None,
        description="where ID/params.npz (Gemma Scope) or ID/cfg.json with ID/sae_weights.safetensors (SAELens) lie;"
        " absent: `release` is loaded by SAELens, which cannot pin a revision",
    )
    release: str | None = Field(default=None, description="SAELens' name of the release, recorded with the SAEs")
    ids: dict[Layer, str] = Field(min_length=1, description="SAE by layer: the folder ID within the source")
    kind: Literal["jumprelu", "topk", "standard"] = Field(
        default="jumprelu", description="architecture, checked when fetched; `make plan` counts with it"
    )
    features: Positive = Field(description="width of the dictionary, checked when fetched")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.source is None and self.release is None:
            raise ValueError("neither source nor release; give where the SAEs lie or SAELens' name of their release")
        return self


class Neuronpedia(Section):
    """Exports of the features' top activations, as Neuronpedia's public bucket has them."""

    model: str = Field(description="Neuronpedia's name of the model")
    source: str = Field(
        default="{layer}-gemmascope-res-16k", description="Neuronpedia's name of a layer's SAE; {layer} is filled in"
    )
    url: str = Field(
        default="https://neuronpedia-datasets.s3.us-east-1.amazonaws.com",
        description="bucket: URL/v1/MODEL/SOURCE/activations/batch-N.jsonl.gz",
    )
    folder: str | None = Field(
        default=None,
        description="local copy of the bucket's v1, taken instead: FOLDER/MODEL/SOURCE/activations/batch-N.jsonl.gz",
    )


class PretrainedModel(AnalysedModel):
    """A causal language model of the Hugging Face Hub or of a folder."""

    kind: Literal["pretrained"] = Field(default="pretrained", description="pretrained: fetched")
    source: Source
    saes: Saes | None = Field(default=None, description="published SAEs; absent: they are trained here, by `sae`")
    neuronpedia: Neuronpedia | None = Field(
        default=None,
        description="exports of the published SAEs' top activations, which paper A's phrases are taken from; absent:"
        " phrases are searched in the study's text",
    )
    checkpoints: dict[Annotated[int, Field(ge=0)], Source] = Field(
        default_factory=dict,
        description="bilingual: where the model at a training step is, by step; the last one is the finished model."
        " absent: the finished model alone",
    )

    @model_validator(mode="after")
    def _saes_known(self) -> Self:
        if self.reads_phrases and self.saes is None and self.sae is None:
            raise ValueError(
                "similarity, gap and alignment need SAEs; give published ones (saes) or how to train some here (sae)"
            )
        if self.neuronpedia is not None and self.saes is None:
            raise ValueError("neuronpedia has the activations of published SAEs; give saes, or leave neuronpedia out")
        if self.saes is not None:
            bare = [str(layer) for layer in self.layer_list if layer not in self.saes.ids]
            if bare:
                raise ValueError(f"saes.ids: no SAE for layer {', '.join(bare)}; add its id or leave the layer out")
        if "bilingual" in self.analyses and self.sae is None and (self.checkpoints or self.saes is None):
            what = "an SAE a checkpoint and layer" if self.checkpoints else "SAEs"
            raise ValueError(f"analysis bilingual needs {what}; give sae (how they are trained)")
        return self

    @property
    def checkpoint_list(self) -> list[str]:
        """The checkpoints as their folders' names, in order; the last is the finished model."""
        return [f"step{step}" for step in sorted(self.checkpoints)] or [FINAL]

    def checkpoint_path(self, checkpoint: str) -> str:
        """The folder of a checkpoint; the model's own where there are no others."""
        return f"checkpoints/{checkpoint}" if self.checkpoints else "lm"
