"""Models that are fetched: where the model, its SAEs and its features' recorded activations come from."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from isogloss.config.base import Folder, Positive, Section
from isogloss.config.model import FINAL, AnalysedModel

Layer = Annotated[int, Field(ge=0)]


class Source(Section):
    """A repository of the Hugging Face Hub at a revision, or a local folder with the same files."""

    id: str | None = Field(default=None, description="repository on the Hugging Face Hub, OWNER/NAME")
    revision: str = Field(
        default="main", description="commit to fetch; of a branch or tag the commit is looked up and recorded"
    )
    folder: Folder | None = Field(
        default=None, description="local folder with the repository's files, taken instead: nothing is downloaded"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.id is None and self.folder is None:
            raise ValueError("neither id nor folder; give a Hugging Face repository (id) or a local folder")
        return self


class Saes(Section):
    """One published SAE a layer, on the residual stream after it."""

    source: Source | None = Field(
        default=None, description="where the SAEs lie; absent: where SAELens' directory says that `release` does"
    )
    release: str | None = Field(
        default=None,
        description="SAELens' name of the release (`pretrained_saes.yaml`), recorded with the SAEs; SAELens' directory"
        " gives the repository, what ids stand for, and the scale of inputs that some files leave out",
    )
    width: str | Positive | None = Field(
        default=None,
        description="width of the release's SAEs, as their ids have it (16k, 8x) or in features; absent: the only one",
    )
    l0: Literal["canonical", "small", "medium", "big"] | Positive | None = Field(
        default=None,
        description="sparsity of the release's SAEs, as their ids have it, or a number: the SAE of the nearest average"
        " L0, of two the sparser; absent: the only one",
    )
    ids: Annotated[dict[Layer, str] | str, Field(min_length=1)] | None = Field(
        default=None,
        description="instead of width and l0, SAE by layer: an id of the release, else the folder or file within the"
        " source; or one pattern in which {layer} is filled in, `resid_post/layer_{layer}_width_16k_l0_medium`",
    )
    layout: str | None = Field(
        default=None,
        description="publisher's layout of the files (messages list those that are understood); absent: seen by the"
        " files",
    )
    kind: Literal["jumprelu", "topk", "standard"] | None = Field(
        default=None,
        description="how features are switched on, checked when fetched (gated and BatchTopK SAEs are jumprelu, ReLU"
        " ones standard); `make plan` counts with it",
    )
    features: Positive | None = Field(
        default=None, description="width of the dictionary, checked when fetched; `make plan` counts with it"
    )
    ignore: list[str] = Field(
        default_factory=list,
        description="keys of the SAEs' own config that isogloss would refuse and that you know to change nothing here",
    )

    @field_validator("ids")
    @classmethod
    def _within(cls, ids: dict[int, str] | str | None) -> dict[int, str] | str | None:
        if ids is None:
            return None
        for name in [ids] if isinstance(ids, str) else ids.values():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name} leads out of the source; give folders or files within it")
        if isinstance(ids, str) and "{layer}" not in ids:
            raise ValueError(f"{ids} is one id for all layers; write {{layer}} where the layer's number stands")
        return ids

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.source is None and self.release is None:
            raise ValueError("neither source nor release; give where the SAEs lie or SAELens' name of their release")
        if self.ids is not None and (self.width is not None or self.l0 is not None):
            raise ValueError("ids say which SAEs they are, so width and l0 choose nothing; give the one or the other")
        if self.ids is None and self.release is None:
            raise ValueError("neither release nor ids; give SAELens' name of the release (with width, l0), or ids")
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
    folder: Folder | None = Field(
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
        if self.reads_saes and self.saes is None and self.sae is None:
            raise ValueError(
                "similarity, gap, alignment and causal need SAEs; give published ones (saes) or how to train some here"
                " (sae)"
            )
        if self.neuronpedia is not None and self.saes is None:
            raise ValueError("neuronpedia has the activations of published SAEs; give saes, or leave neuronpedia out")
        if self.saes is not None and isinstance(self.saes.ids, dict):
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
