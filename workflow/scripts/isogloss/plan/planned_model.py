"""A model of a study as a plan sees it: its decoder, its texts, its questions, its jobs' blocks, what a rule costs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from isogloss.config import Study
from isogloss.config.measures import AlignmentRun
from isogloss.config.model import AnalysedModel, Task
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.toy import ToyModel
from isogloss.plan.assumptions import QUESTIONS, Settings
from isogloss.plan.flops import Decoder, Lora
from isogloss.plan.texts import Corpus, corpus_of, sae_shape

Item = TypeVar("Item")

UNGATED = ("gpt_neox", "gpt2", "opt", "bloom", "xglm", "pythia")


class Cost(NamedTuple):
    """All jobs of one rule for one model (or for none)."""

    rule: str
    jobs: int  # by the configuration
    device: Literal["gpu", "cpu", "local"]
    load: float = 0.0  # bytes of weights that a job reads, mean
    tokens: float = 0.0  # that go through a model, BOS included, padding not
    forward: float = 0.0  # FLOPs of language models and translators, backward passes included
    sae: float = 0.0  # FLOPs of SAEs
    disk: float = 0.0  # bytes of all outputs
    seconds: float = 0.0  # of work that FLOPs do not measure: downloads, parsing, translation; all jobs


class PlannedModel(NamedTuple):
    """A model of a study, with what its rules have in common."""

    study: Study
    name: str
    settings: Settings
    decoder: Decoder
    corpus: Corpus
    context: float
    notes: list[str]

    @property
    def model(self) -> AnalysedModel:
        return self.study.models[self.name]

    @property
    def layers(self) -> list[int]:
        return self.model.layer_list

    @property
    def languages(self) -> list[str]:
        return self.study.languages.all

    @property
    def reference(self) -> str:
        return self.study.languages.reference

    @property
    def runs(self) -> dict[str, AlignmentRun]:
        return self.study.alignment.runs if "alignment" in self.model.analyses else {}

    @property
    def tasks(self) -> list[Task]:
        """The benchmark tasks of the model."""
        tasks = self.study.benchmarks.tasks
        return [task for task in tasks if task in (self.model.tasks or tasks)]

    def questions(self, task: Task) -> float:
        """The questions of a benchmark task that a language is asked."""
        return min(self.study.benchmarks.tasks[task].questions or math.inf, QUESTIONS[task])

    @property
    def blocks(self) -> list[list[int]]:
        """The layer blocks of encode jobs."""
        return chunks(self.layers, self.study.compute.layers_per_job)

    def language_jobs(self, languages: Sequence[str]) -> int:
        """The jobs that `languages` make."""
        return len(chunks(languages, self.study.compute.languages_per_job))

    def phrases_in(self, lang: str) -> float:
        """Phrases of all layers in a language."""
        return sum(self.corpus[layer, lang].number for layer in self.layers)

    def weights(self, layers: int | None = None) -> float:
        """Bytes on disk of the embedding and the first `layers` layers; None: of the whole model."""
        each = self.settings.weight_bytes if isinstance(self.model, PretrainedModel) else 4.0
        return self.decoder.parameters(layers) * each

    def block_bytes(self, block: Sequence[int]) -> float:
        """What an encode job of a block reads: the model to the block's last layer, and the block's encoders."""
        encoders = 4.0 * len(block) * (self.decoder.d_model + 2) * sae_shape(self.model)[1]
        return self.weights(block[-1] + 1) + encoders

    def lora(self, run: AlignmentRun) -> Lora:
        """The matrices that a run trains."""
        alignment = self.study.alignment
        modules = list(self.decoder.maps) if alignment.target_modules == "all" else alignment.target_modules
        layers = range(run.target_layer + 1) if run.tuned_layers == "up_to_target" else run.tuned_layers
        return Lora(alignment.rank, modules, list(layers))

    def run_languages(self, run: AlignmentRun) -> list[str]:
        """The languages that a run is measured in."""
        return [lang for lang in self.languages if lang == self.reference or lang in run.languages]


def chunks(items: Sequence[Item], size: int | str) -> list[list[Item]]:
    """Consecutive chunks of `size` items; "all" is one chunk."""
    step = len(items) or 1 if isinstance(size, str) else size
    return [list(items[start : start + step]) for start in range(0, len(items), step)]


def planned_model(study: Study, name: str, settings: Settings, results: Path) -> PlannedModel:
    """A model with its decoder, its texts and its questions, and notes on where these were counted."""
    model = study.models[name]
    config = _model_config(model, results / name)
    source = model.source.id or "" if isinstance(model, PretrainedModel) else ""
    architecture = str(config.get("model_type", source)).lower()
    gated = not any(family in architecture for family in UNGATED)
    tied = bool(config.get("tie_word_embeddings", True))
    shape = model.architecture.model_dump(include=set(Decoder._fields))
    decoder = Decoder(**shape, gated=gated, tied=tied)
    corpus, notes = corpus_of(study, name, settings, results)
    notes = notes if model.reads_phrases else []
    if isinstance(model, PretrainedModel):
        basis = "by config.json" if config else "assumed (no config.json yet)"
        notes.append(f"{name}: {3 if gated else 2} MLP matrices, {'tied' if tied else 'own'} head, {basis}")
    context: Any = config.get("max_position_embeddings", math.inf)
    if isinstance(model, ToyModel):
        context = model.architecture.context
    planned = PlannedModel(study, name, settings, decoder, corpus, context, notes)
    if "benchmarks" in model.analyses:
        basis = {task: "at most, by the study" for task in planned.tasks if study.benchmarks.tasks[task].questions}
        listed = (f"{task} {planned.questions(task):,} ({basis.get(task, 'assumed')})" for task in planned.tasks)
        notes.append(f"{name}: questions: {', '.join(listed)}; tokens of prompts and choices assumed")
    return planned


def _model_config(model: AnalysedModel, folder: Path) -> dict[str, Any]:
    """The model's config.json, from the results or from a local source; empty without one."""
    local = model.source.folder if isinstance(model, PretrainedModel) else None
    for source in (folder / "lm", Path(local or folder / "lm")):
        if (source / "config.json").is_file():
            config = json.loads((source / "config.json").read_text(encoding="utf-8"))
            return config.get("text_config", config)
    return {}
