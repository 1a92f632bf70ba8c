"""A model of a study as a plan sees it: its decoder, its texts, its questions, its jobs' blocks."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from isogloss.config import Study
from isogloss.config.measures import AlignmentRun
from isogloss.config.model import AnalysedModel, Task
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.toy import ToyModel
from isogloss.plan import settings as assumed
from isogloss.plan.flops import Decoder, Lora
from isogloss.plan.settings import Settings
from isogloss.plan.texts import Corpus, corpus_of, model_config, question_counts, sae_shape

Item = TypeVar("Item")

UNGATED = ("gpt_neox", "gpt2", "opt", "bloom", "xglm", "pythia")


class Subject(NamedTuple):
    """A model of a study, with what its rules have in common."""

    study: Study
    name: str
    settings: Settings
    decoder: Decoder
    corpus: Corpus
    questions: Mapping[Task, float]
    context: float
    folder: Path
    notes: list[str]

    @property
    def model(self) -> AnalysedModel:
        return self.study.models[self.name]

    @property
    def layers(self) -> list[int]:
        return self.model.layer_list

    @property
    def langs(self) -> list[str]:
        return self.study.languages.all

    @property
    def reference(self) -> str:
        return self.study.languages.reference

    @property
    def dtype(self) -> str:
        return self.study.compute.dtype

    @property
    def weight_bytes(self) -> float:
        return self.settings.weight_bytes if isinstance(self.model, PretrainedModel) else 4.0

    @property
    def blocks(self) -> list[list[int]]:
        """The layer blocks of encode jobs."""
        return chunks(self.layers, self.study.compute.layers_per_job)

    def language_jobs(self, langs: Sequence[str]) -> int:
        """The jobs that `langs` make."""
        return len(chunks(langs, self.study.compute.languages_per_job))

    @property
    def runs(self) -> dict[str, AlignmentRun]:
        return self.study.alignment.runs if "alignment" in self.model.analyses else {}

    @property
    def reads_phrases(self) -> bool:
        return bool({"similarity", "gap", "alignment"} & set(self.model.analyses))

    def lora(self, run: AlignmentRun) -> Lora:
        alignment = self.study.alignment
        modules = list(self.decoder.maps) if alignment.target_modules == "all" else alignment.target_modules
        layers = range(run.target_layer + 1) if run.tuned_layers == "up_to_target" else run.tuned_layers
        return Lora(alignment.rank, modules, list(layers))

    def languages_of(self, run: AlignmentRun) -> list[str]:
        return [lang for lang in self.langs if lang == self.reference or lang in run.languages]


def chunks(items: Sequence[Item], size: int | str) -> list[list[Item]]:
    """Consecutive chunks of `size` items; "all" is one chunk."""
    step = len(items) or 1 if isinstance(size, str) else size
    return [list(items[start : start + step]) for start in range(0, len(items), step)]


def subject_of(study: Study, name: str, settings: Settings, results: Path) -> Subject:
    """A model with its decoder, its texts and its questions, and where these were counted."""
    model = study.models[name]
    config = model_config(model, results / name)
    source = model.source.id or "" if isinstance(model, PretrainedModel) else ""
    known = str(config.get("model_type", source)).lower()
    gated = not any(name in known for name in UNGATED)
    tied = bool(config.get("tie_word_embeddings", True))
    shape = model.architecture
    decoder = Decoder(
        shape.layers,
        shape.d_model,
        shape.d_mlp,
        shape.heads,
        shape.key_value_heads,
        shape.d_head,
        shape.vocabulary,
        gated=gated,
        tied=tied,
    )
    corpus = corpus_of(study, name, settings, results)
    notes = [*corpus.notes] if model.reads_phrases else []
    if isinstance(model, PretrainedModel):
        basis = "by config.json" if config else "assumed (no config.json yet)"
        notes.append(f"{name}: {3 if gated else 2} MLP matrices, {'tied' if tied else 'own'} head, {basis}")
    counted = question_counts(study, name, results)
    questions: dict[Task, float] = {
        task: min(entry.questions or math.inf, counted.get(task, assumed.QUESTIONS[task]))
        for task, entry in study.benchmarks.tasks.items()
    }
    if "benchmarks" in model.analyses:
        listed = ", ".join(
            f"{task} {questions[task]:,} ({_basis(task in counted, study.benchmarks.tasks[task].questions)})"
            for task in tasks_of(study, model)
        )
        notes.append(f"{name}: questions: {listed}; tokens of prompts and choices assumed")
    context: Any = config.get("max_position_embeddings", math.inf)
    if isinstance(model, ToyModel):
        context = model.architecture.context
    return Subject(study, name, settings, decoder, corpus, questions, context, results / name, notes)


def _basis(counted: bool, limit: int | None) -> str:
    return "counted" if counted else "at most, by the study" if limit else "assumed"


def tasks_of(study: Study, model: AnalysedModel) -> list[Task]:
    """The benchmark tasks of a model."""
    return [task for task in study.benchmarks.tasks if task in (model.tasks or study.benchmarks.tasks)]


def translator_sizes(study: Study, lang: str, direction: str, results: Path) -> dict[str, int]:
    """A translator's shape by its config.json; OPUS-MT's base size without one."""
    models = study.translation.models if direction == "to" else study.translation.back_models
    folder = models[lang].source.folder
    for place in (results / "translators" / direction / lang, Path(folder) if folder else None):
        if place is not None and (place / "config.json").is_file():
            config = json.loads((place / "config.json").read_text(encoding="utf-8"))
            return {key: int(config.get(key, size)) for key, size in assumed.TRANSLATOR.items()}
    return assumed.TRANSLATOR


def size_on_disk(folder: Path) -> int:
    """Bytes of a folder's files, links followed; 0 if there is no such folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def block_bytes(subject: Subject, block: Sequence[int]) -> float:
    """What an encode job of a block reads: the model to the block's last layer, and the block's encoders."""
    _, features = sae_shape(subject.model)
    encoders = 4.0 * len(block) * (subject.decoder.d_model + 2) * features
    return subject.decoder.parameters(block[-1] + 1) * subject.weight_bytes + encoders
