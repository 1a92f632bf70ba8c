"""Models that are fetched: where the model, its SAEs and its features' recorded activations come from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from isogloss.config.base import Positive, Section
from isogloss.config.model import AnalysedModel

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
    """A causal language model of the Hugging Face Hub with pretrained SAEs."""

    kind: Literal["pretrained"] = Field(description="pretrained: fetched, with SAEs and their top activations")
    source: Source
    saes: Saes
    neuronpedia: Neuronpedia

    @model_validator(mode="after")
    def _every_layer_has_an_sae(self) -> Self:
        lacking = [str(layer) for layer in self.layer_list if layer not in self.saes.ids]
        if lacking:
            raise ValueError(f"saes.ids: no SAE for layer {', '.join(lacking)}; add its id or leave the layer out")
        return self
