"""A whole study, and what must fit together in it."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import model_validator

from isogloss.config.base import middle
from isogloss.config.causal import Causal
from isogloss.config.explorer import Explorer
from isogloss.config.latent import Latent, instruction_languages
from isogloss.config.measures import (
    OKAPI,
    Alignment,
    Benchmarks,
    Compute,
    Gap,
    Reciprocal,
    Similarity,
    Statistics,
)
from isogloss.config.planted import Planted, Report, equal
from isogloss.config.questions import QuestionSource, task_names
from isogloss.config.texts import StudyTexts
from isogloss.config.toy import ToyModel, not_in_world

RESERVED = (
    "world",
    "comparison",
    "parallel",
    "translators",
    "benchmarks",
    "documents",
    "latent",
    "logs",
    "usage",
)  # folders of results/ that are no model's


class Study(StudyTexts):
    """A whole study."""

    compute: Compute = Compute()
    similarity: Similarity = Similarity()
    gap: Gap = Gap()
    reciprocal: Reciprocal = Reciprocal()
    statistics: Statistics = Statistics()
    alignment: Alignment = Alignment()
    benchmarks: Benchmarks = Benchmarks()
    latent: Latent = Latent()
    causal: Causal = Causal()
    explorer: Explorer = Explorer()
    planted: Planted = Planted()
    report: Report = Report()

    def resolved(self) -> dict[str, Any]:
        """The whole study as plain values, with what the report needs to know besides."""
        plain = self.model_dump(mode="json")
        plain["bilingual"]["languages"] = self.bilingual_languages
        for name, model in plain["models"].items():
            model["traits"] = self.traits(name)
            if control := self.control_of(name):
                model["control"] = control
        return plain

    def seed_of(self, name: str) -> int:
        """The seed of a model's training and of its SAEs'."""
        seed = getattr(self.models[name], "seed", None)
        return self.seed if seed is None else seed

    def control_of(self, name: str) -> str | None:
        """The toy model in which nothing was planted but all else is as in this one: equal shares, the same seed.

        None for a model that is fetched, that has equal shares itself, or that no other one is a control of.
        """
        model = self.models[name]
        if not isinstance(model, ToyModel) or equal(model.shares):
            return None
        toys = {other: part for other, part in self.models.items() if isinstance(part, ToyModel) and equal(part.shares)}
        alike = ("architecture", "training", "sae", "layers")
        return next(
            (
                other
                for other, part in toys.items()
                if self.seed_of(other) == self.seed_of(name)
                and all(getattr(part, field) == getattr(model, field) for field in alike)
            ),
            None,
        )

    def of_kind(self, kind: str) -> list[str]:
        """The names of the models of a kind: toy or pretrained."""
        return [name for name, model in self.models.items() if model.kind == kind]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *self.text_problems(),
            *self._models(),
            *self._runs(),
            *self._fetched(),
            *self._latent(),
            *self._causal(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

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
            if "gap" in model.analyses:
                yield from self.explorer.problems(name, model.layer_list)
            if "alignment" in model.analyses and "gap" not in model.analyses:
                yield f"models.{name}.analyses: alignment needs gap; add gap"
            if "gap" in model.analyses and self.languages.others:
                yield (
                    f"languages.others: models.{name} has the analysis gap, which compares two groups; give"
                    " high_resource (with the reference) and medium_low_resource instead"
                )

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
        if self.translation.backend == "opus-mt":
            lacking = [
                code for code in self.languages.all if code not in (self.phrases_language, *self.translation.models)
            ]
            if lacking:
                yield f"translation.models: no model for {', '.join(lacking)}; add one or leave the language out"
        fetched_tasks = {
            task
            for name in pretrained
            if "benchmarks" in self.models[name].analyses
            for task in self.models[name].tasks or self.benchmarks.tasks
            if self.benchmarks.tasks[task].lm_eval is None
        }
        for task in sorted(fetched_tasks - set(self.benchmarks.sources)):
            yield f"benchmarks.sources: none for {task}; give its repository or folder"
        yield from self._benchmark_tasks()

    def _benchmark_tasks(self) -> Iterator[str]:
        for task, settings in self.benchmarks.tasks.items():
            path = f"benchmarks.tasks.{task}"
            foreign = [code for code in settings.languages or [] if code not in self.languages.all]
            if foreign:
                yield f"{path}.languages: {', '.join(foreign)} not among the languages of the study"
            elif (settings.lm_eval is None) != (task in OKAPI):
                okapi = f"{', '.join(OKAPI)} are Okapi's"
                mend = "give lm-eval's name of it" if settings.lm_eval is None else "choose another name for it"
                yield f"{path}.lm_eval: {okapi}, any other task is lm-eval's; {mend}"
            elif settings.lm_eval is None and (settings.source or settings.id_column):
                yield f"{path}: source and id_column are of lm_eval; Okapi's questions are in benchmarks.sources.{task}"
            elif not self.benchmark_languages(task):
                yield f"{path}.lm_eval: no task in a language of the study; add one, or leave it out"
        for name in self.of_kind("toy"):
            asked = self.models[name].tasks or self.benchmarks.tasks
            if "benchmarks" in self.models[name].analyses and not set(asked) & set(OKAPI):
                yield f"models.{name}.tasks: a toy is asked about its world, too; add one of {', '.join(OKAPI)}"

    def benchmark_languages(self, task: str) -> list[str]:
        """The languages in which a benchmark task is asked, in the order of the language table."""
        return self._languages_of(self.benchmarks.tasks[task])

    def latent_languages(self, task: str) -> list[str]:
        """The languages in which a data set of parallel questions is asked, in the order of the language table."""
        return self._languages_of(self.latent.tasks[task])

    def _languages_of(self, questions: QuestionSource) -> list[str]:
        if questions.languages is not None:
            return questions.languages
        every = self.languages.all
        return every if questions.lm_eval is None else list(task_names(questions.lm_eval, every))

    def of_world(self, name: str, task: str) -> bool:
        """Whether a model's parallel questions are the toy world's, which are in HellaSwag's layout."""
        settings = self.latent.tasks[task]
        return settings.source == "world" or (settings.data == "hellaswag" and self.models[name].kind == "toy")

    def benchmark_of_world(self, name: str, task: str) -> bool:
        """Whether a model's questions of a benchmark task are the toy world's, which are in Okapi's layout."""
        of_world = [of for of, source in self.benchmarks.sources.items() if source == "world"]
        return task in OKAPI and (self.models[name].kind == "toy" or task in of_world)

    @property
    def uses_toy_world(self) -> bool:
        """Whether anything of the study is the toy world's."""
        asked = {name: model.tasks or self.benchmarks.tasks for name, model in self.models.items()}
        return (
            super().uses_toy_world
            or any(self.benchmark_of_world(name, task) for name in self._asked("benchmarks") for task in asked[name])
            or any(self.of_world(name, task) for name in self._asked("latent") for task in self.latent.tasks)
        )

    def _asked(self, analysis: str) -> list[str]:
        return [name for name, model in self.models.items() if analysis in model.analyses]

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
            instructed = codes if self.latent.instruction == "native" else [self.languages.reference]
            lacking = [code for code in instructed if code not in instruction_languages()]
            if settings.prompt == "letters" and lacking:
                yield (
                    f"{path}.prompt: no instruction in {', '.join(lacking)} for letters; set cloze, or add it to"
                    " resources/prompts.yaml"
                )
            for name in latent_models:
                if not self.of_world(name, task):
                    if settings.source is None and settings.lm_eval is None:
                        yield f"{path}.source: none, which models.{name} needs; give its repository or folder"
                elif settings.languages and (lacking := [code for code in codes if code not in self.world.languages]):
                    yield f"{path}.languages: {not_in_world(lacking, self.world.languages)}"
        for name in latent_models:
            if self.models[name].kind == "toy" and not any(self.of_world(name, task) for task in self.latent.tasks):
                yield f"latent.tasks: none in the toy world, which models.{name} is asked about; add data: hellaswag"
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

    def ablated_layer(self, name: str) -> int:
        """The layer of a model at which features of a language are ablated."""
        return middle(self.models[name].layer_list) if self.causal.layer is None else self.causal.layer

    def _causal(self) -> Iterator[str]:
        for name in self._asked("causal"):
            if self.parallel_provider is None:
                yield f"models.{name}.analyses: causal reads the same texts in every language; give parallel"
            if self.ablated_layer(name) not in (layers := self.models[name].layer_list):
                yield (
                    f"causal.layer: models.{name} has no SAE at layer {self.causal.layer}; allowed:"
                    f" {', '.join(map(str, layers))}"
                )
            if len(self.languages.all) < 2:
                yield f"languages: models.{name} has the analysis causal, which needs two or more; add one"
