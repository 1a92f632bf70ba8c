"""A model of a study as a plan sees it: its decoder, its phrases, its jobs, and what a rule costs."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from isogloss.config import Study
from isogloss.config.measures import AlignmentRun
from isogloss.config.model import AnalysedModel
from isogloss.config.pretrained import PretrainedModel
from isogloss.plan.assumptions import (
    DOWNLOAD_BYTES,
    PHRASES_PER_FEATURE,
    SAE_FEATURES,
    SAE_KIND,
    SENTENCE_TOKENS,
    UNGATED,
    WEIGHT_BYTES,
    Settings,
)
from isogloss.plan.flops import Decoder
from isogloss.sources.saes.choice import features as features_of
from isogloss.sources.saes.locate import sae_shape
from isogloss.sources.saes.published import Shape

Item = TypeVar("Item")


class Cost(NamedTuple):
    """All jobs of one rule for one model (or for none)."""

    rule: str
    jobs: int = 0  # that take a GPU, by the configuration
    load: float = 0.0  # bytes of weights that one of them reads, mean
    tokens: float = 0.0  # that go through a model, BOS included, padding not
    forward: float = 0.0  # FLOPs of language models, backward passes included
    sae: float = 0.0  # FLOPs of SAEs
    disk: float = 0.0  # bytes of all outputs
    launches: float = 0.0  # seconds that a GPU waits for its kernels' launches; all jobs
    seconds: float = 0.0  # on a CPU, start-up apart: downloads, parsing, translation; all jobs


def download(rule: str, size: float, copies: int = 1) -> Cost:
    """A rule that fetches `size` bytes and leaves so many copies of them on disk."""
    return Cost(rule, disk=copies * size, seconds=size / DOWNLOAD_BYTES)


class PlannedModel(NamedTuple):
    """A model of a study, with what its rules have in common."""

    study: Study
    name: str
    model: AnalysedModel
    settings: Settings
    decoder: Decoder
    published: Shape | None  # of published SAEs, where they are on this machine

    @property
    def runs(self) -> list[AlignmentRun]:
        """The LoRA runs of the model."""
        return list(self.study.alignment.runs.values()) if "alignment" in self.model.analyses else []

    @property
    def sae(self) -> tuple[str, int]:
        """Kind and width of paper A's SAEs."""
        if isinstance(self.model, PretrainedModel) and self.model.saes is not None:
            kind, features = self.published or (SAE_KIND, SAE_FEATURES)
            width, ids = self.model.saes.width, self.model.saes.ids
            if ids is None and width is not None and self.published is None:
                features = features_of(width, self.decoder.d_model)
            return self.model.saes.kind or kind, self.model.saes.features or features
        return "topk", self.model.sae.features if self.model.sae is not None else 0

    @property
    def sae_width(self) -> int:
        """Features of the SAEs that are read: published ones, or those that are trained here."""
        return self.model.sae.features if self.model.sae is not None else self.sae[1]

    @property
    def phrases(self) -> float:
        """Phrases of a layer in one language; a corpus that is searched here has windows enough."""
        phrases, most = self.study.phrases, math.inf if self.study.searched(self.name) else PHRASES_PER_FEATURE
        return min(most, phrases.per_feature) * math.ceil(self.sae[1] / phrases.feature_stride)

    def phrase_tokens(self, lang: str) -> float:
        """Tokens of a phrase, without BOS."""
        ratio = self.settings.tokens_per_english_token
        phrases = self.study.phrases
        tokens = SENTENCE_TOKENS if phrases.unit == "segment" else 2 * phrases.window + 1
        return tokens * ratio(lang) / ratio(self.study.languages.reference)

    def texts(self, langs: Sequence[str], number: float) -> tuple[float, float]:
        """Tokens, BOS included, and products of queries and keys of `number` phrases in each of `langs`."""
        lengths = [1 + self.phrase_tokens(lang) for lang in langs]
        return number * sum(lengths), number * sum(length**2 for length in lengths)

    def weights(self, layers: int | None = None) -> float:
        """Bytes on disk of the embedding and the first `layers` layers; None: of the whole model."""
        return self.decoder.parameters(layers) * (WEIGHT_BYTES if isinstance(self.model, PretrainedModel) else 4.0)

    def language_jobs(self, langs: Sequence[str]) -> int:
        """The jobs that `langs` make."""
        return len(chunks(langs, self.study.compute.languages_per_job))


def chunks(items: Sequence[Item], size: int | str) -> list[list[Item]]:
    """Consecutive chunks of `size` items; "all" is one chunk."""
    step = len(items) or 1 if isinstance(size, str) else size
    return [list(items[start : start + step]) for start in range(0, len(items), step)]


def planned_model(study: Study, name: str, settings: Settings) -> PlannedModel:
    """A model with its decoder, whose MLP is gated but in families that are known not to."""
    model = study.models[name]
    source = model.source.id or "" if isinstance(model, PretrainedModel) else ""
    gated = not any(family in source.lower() for family in UNGATED)
    shape = model.architecture.model_dump(include=set(Decoder._fields))
    saes = model.saes if isinstance(model, PretrainedModel) else None
    published = sae_shape(saes, model.layer_list[0]) if saes else None
    return PlannedModel(study, name, model, settings, Decoder(**shape, gated=gated), published)
