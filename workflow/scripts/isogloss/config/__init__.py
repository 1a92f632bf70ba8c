"""The configuration, typed once: defaults, allowed values and cross-field checks live here only.

`workflow/schemas/config.schema.json` and the key reference in `config/README.md` are generated from
these classes (`make schema`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from isogloss.config.base import Name, Section
from isogloss.config.bilingual import Bilingual
from isogloss.config.latent import Latent, LatentTaskName
from isogloss.config.measures import (
    Alignment,
    Benchmarks,
    Compute,
    Gap,
    Languages,
    Phrases,
    Similarity,
    Statistics,
    Translation,
)
from isogloss.config.pretrained import PretrainedModel
from isogloss.config.toy import ToyModel, World
from isogloss.errors import IsoglossError

RESERVED = (
    "world",
    "comparison",
    "translators",
    "benchmarks",
    "documents",
    "latent",
    "logs",
    "usage",
)  # folders of results/ that are no model's

# Keys that older study files set, as config/README.md would write them, and what to do instead.
REMOVED: dict[str, str] = {}


def _kind(model: Any) -> str:
    return model.get("kind", "toy") if isinstance(model, dict) else getattr(model, "kind", "toy")


Model = Annotated[Annotated[ToyModel, Tag("toy")] | Annotated[PretrainedModel, Tag("pretrained")], Discriminator(_kind)]


class Study(Section):
    """A whole study."""

    study: Name = Field(description="name of the study, recorded in every table")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="seed of everything random")
    languages: Languages
    world: World = World()
    models: dict[Name, Model] = Field(min_length=1, description="language models, by the name of their results folder")
    phrases: Phrases = Phrases()
    translation: Translation = Translation()
    compute: Compute = Compute()
    similarity: Similarity = Similarity()
    gap: Gap = Gap()
    statistics: Statistics = Statistics()
    alignment: Alignment = Alignment()
    benchmarks: Benchmarks = Benchmarks()
    bilingual: Bilingual = Bilingual()
    latent: Latent = Latent()

    def of_kind(self, kind: str) -> list[str]:
        """The names of the models of a kind: toy or pretrained."""
        return [name for name, model in self.models.items() if model.kind == kind]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *self._languages(),
            *self._models(),
            *self._runs(),
            *self._fetched(),
            *self._bilingual(),
            *self._latent(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _languages(self) -> Iterator[str]:
        of_world, toys = set(self.world.languages), self.of_kind("toy")
        lacking = [code for code in self.languages.all if code not in of_world]
        if toys and lacking:
            yield f"languages: {', '.join(lacking)} not in world.languages ({', '.join(self.world.languages)})"
        for name in toys:
            model = self.models[name]
            assert isinstance(model, ToyModel)
            if odd := set(model.shares) ^ of_world:
                yield (
                    f"models.{name}.shares: must name exactly the languages of world.languages; differs in"
                    f" {', '.join(sorted(odd))}"
                )

    def _models(self) -> Iterator[str]:
        for name, model in self.models.items():
            if name in RESERVED:
                yield f"models.{name}: this name is taken by a folder of its own; choose another"
            for run_name, run in self.alignment.runs.items():
                if "alignment" in model.analyses and run.target_layer not in model.layer_list:
                    layers = ", ".join(map(str, model.layer_list))
                    yield (
                        f"alignment.runs.{run_name}.target_layer: models.{name} has no analysed layer"
                        f" {run.target_layer}; allowed: {layers}"
                    )
            unset = [task for task in model.tasks or [] if task not in self.benchmarks.tasks]
            if unset:
                yield f"models.{name}.tasks: {', '.join(unset)} not among benchmarks.tasks"
            if "alignment" in model.analyses and "gap" not in model.analyses:
                yield f"models.{name}.analyses: alignment needs gap; add gap"

    def _runs(self) -> Iterator[str]:
        analysed = self.languages.all
        for run_name, run in self.alignment.runs.items():
            path = f"alignment.runs.{run_name}"
            if run_name == "base":
                yield f"{path}: 'base' means the model without an adapter; choose another name"
            if self.languages.reference in run.languages:
                yield f"{path}.languages: the reference {self.languages.reference} cannot be aligned to itself"
            for key, codes in (("languages", run.languages), ("benchmark", run.benchmark or [])):
                unknown = [code for code in codes if code not in analysed]
                if unknown:
                    yield (
                        f"{path}.{key}: {', '.join(unknown)} not among the analysed languages ({', '.join(analysed)})"
                    )

    def _fetched(self) -> Iterator[str]:
        pretrained = self.of_kind("pretrained")
        phrased = [name for name in pretrained if self.models[name].reads_phrases]
        if phrased and self.translation.backend == "parallel":
            yield (
                f"translation.backend: parallel knows the toy world's texts only, models.{phrased[0]} is pretrained;"
                " set opus-mt"
            )
        if self.translation.backend == "opus-mt":
            lacking = [
                code for code in self.languages.all if code not in (self.languages.reference, *self.translation.models)
            ]
            if lacking:
                yield f"translation.models: no model for {', '.join(lacking)}; add one or leave the language out"
        fetched_tasks = {
            task
            for name in pretrained
            if "benchmarks" in self.models[name].analyses
            for task in self.models[name].tasks or self.benchmarks.tasks
        }
        for task in sorted(fetched_tasks - set(self.benchmarks.sources)):
            yield f"benchmarks.sources: none for {task}; give its repository or folder"

    @property
    def bilingual_languages(self) -> list[str]:
        """The languages that features are classed by, the reference first."""
        if self.bilingual.languages is not None:
            return self.bilingual.languages
        reference = self.languages.reference
        others = [code for code in (*self.languages.high_resource, *self.languages.all) if code != reference]
        return [reference, *others[:1]]

    def intervention_place(self, name: str) -> tuple[str, int]:
        """Checkpoint (its folder's name) and layer at which a model is injected into."""
        model, intervention = self.models[name], self.bilingual.intervention
        assert intervention is not None
        names, layers = model.checkpoint_list, model.layer_list
        layer = layers[len(layers) // 2] if intervention.layer is None else intervention.layer
        step = names[(len(names) - 1) // 2] if intervention.step is None else f"step{intervention.step}"
        return step, layer

    def _bilingual(self) -> Iterator[str]:
        codes = self.bilingual_languages
        for name, model in self.models.items():
            if "bilingual" not in model.analyses:
                continue
            known = self.world.languages if model.kind == "toy" else list(self.bilingual.documents)
            key = "world.languages" if model.kind == "toy" else "bilingual.documents"
            if lacking := [code for code in codes if code not in known]:
                yield f"bilingual.languages: {', '.join(lacking)} not in {key}; add, or leave the language out"
            if len(codes) < 2:
                yield "bilingual.languages: give two or more languages"
            embeddings = self.bilingual.embeddings
            if embeddings is not None and embeddings not in self.models:
                yield f"bilingual.embeddings: no model {embeddings!r}; allowed: {', '.join(self.models)}"
            if self.bilingual.intervention is None:
                continue
            checkpoint, layer = self.intervention_place(name)
            if checkpoint not in model.checkpoint_list[:-1]:
                allowed = ", ".join(step.removeprefix("step") for step in model.checkpoint_list[:-1])
                yield (
                    f"bilingual.intervention.step: models.{name} has no unfinished checkpoint {checkpoint};"
                    f" allowed: {allowed or 'none, add one to its checkpoints'}"
                )
            if layer not in model.layer_list:
                yield (
                    f"bilingual.intervention.layer: models.{name} has no analysed layer {layer}; allowed:"
                    f" {', '.join(map(str, model.layer_list))}"
                )

    def latent_languages(self, task: LatentTaskName) -> list[str]:
        """The languages in which a data set of parallel questions is asked, in the order of the language table."""
        languages = self.latent.tasks[task].languages
        return self.languages.all if languages is None else languages

    def probed_layers(self, name: str) -> list[int]:
        """The layers of a model that the logit lens reads: every k-th, ending at the last (paper B, sec. 2.2)."""
        depth = self.models[name].architecture.layers
        return list(range((depth - 1) % self.latent.every, depth, self.latent.every))

    def steered_layers(self, name: str) -> list[int]:
        """The layers of a model after which steering vectors are added."""
        steering = self.latent.steering
        if steering is None:
            return []
        return self.probed_layers(name) if steering.layers is None else sorted(steering.layers)

    def state_layers(self, name: str) -> list[int]:
        """The layers of a model whose states at the last prompt token are kept: those probed or steered."""
        steering = self.latent.steering
        answering = [steering.generation.layer] if steering and steering.generation else []
        return sorted({*self.probed_layers(name), *self.steered_layers(name), *answering})

    def _latent(self) -> Iterator[str]:
        latent_models = [name for name, model in self.models.items() if "latent" in model.analyses]
        if not latent_models:
            return
        for task, settings in self.latent.tasks.items():
            path, codes = f"latent.tasks.{task}", self.latent_languages(task)
            if self.languages.reference not in codes:
                yield f"{path}.languages: without the reference {self.languages.reference}; add it"
            if len(codes) < 2:
                yield f"{path}.languages: give two or more languages"
            for name in latent_models:
                if self.models[name].kind == "pretrained":
                    if settings.source is None:
                        yield f"{path}.source: none, which models.{name} needs; give its repository or folder"
                elif task != "hellaswag":
                    yield f"{path}: models.{name} is a toy, whose world has hellaswag only; leave one of them out"
                elif lacking := [code for code in codes if code not in self.world.languages]:
                    yield f"{path}.languages: {', '.join(lacking)} not in world.languages; add, or leave them out"
        steering = self.latent.steering
        for name in latent_models:
            depth = self.models[name].architecture.layers
            layers = [] if steering is None else [*(steering.layers or [])]
            if steering is not None and steering.generation is not None:
                layers.append(steering.generation.layer)
            if lacking := sorted({layer for layer in layers if layer >= depth}):
                yield (
                    f"latent.steering: models.{name} has no layer {', '.join(map(str, lacking))}; it has layers 0 to"
                    f" {depth - 1}"
                )


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
    loc = [str(part) for part in problem["loc"] if part not in ("constrained-int", "literal['all']")]
    if loc[:1] == ["models"]:  # the kind stands between a model's name and its keys
        loc = [part for index, part in enumerate(loc) if not (index == 2 and part in ("toy", "pretrained"))]
    path = ".".join(loc)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = _removed(loc) or "unknown key; see config/README.md for every key"
    elif problem["type"] == "union_tag_invalid":
        message = "kind must be toy or pretrained"
    elif problem["type"] not in ("value_error", "missing"):
        message = f"{message} (got {problem['input']!r})"
    return [f"{path}: {line}" if path else line for line in message.splitlines()]


def _removed(loc: list[str]) -> str | None:
    """What to do about a key that is no longer one; None for a key that never was."""
    for key, advice in REMOVED.items():
        names = key.split(".")
        if len(names) == len(loc) and all(name in ("NAME", part) for name, part in zip(names, loc, strict=True)):
            return f"no longer a key; {advice}"
    return None
