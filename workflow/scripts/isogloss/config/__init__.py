"""The configuration, typed once: defaults, allowed values and cross-field checks live here only.

`workflow/schemas/config.schema.json` and the key reference in `config/README.md` are generated from
these classes (`make schema`).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from pydantic import ValidationError, model_validator

from isogloss.config.latent import Latent, LatentTaskName, instruction_languages
from isogloss.config.measures import (
    Alignment,
    Benchmarks,
    Compute,
    Gap,
    Similarity,
    Statistics,
)
from isogloss.config.model import Shape
from isogloss.config.pretrained import Source
from isogloss.config.texts import StudyTexts
from isogloss.config.toy import not_in_world
from isogloss.errors import IsoglossError

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

# Keys that older study files set, as config/README.md would write them, and what to do instead.
REMOVED: dict[str, str] = {
    "bilingual.documents": "documents, at the top level, has the documents of every language",
}


class Study(StudyTexts):
    """A whole study."""

    compute: Compute = Compute()
    similarity: Similarity = Similarity()
    gap: Gap = Gap()
    statistics: Statistics = Statistics()
    alignment: Alignment = Alignment()
    benchmarks: Benchmarks = Benchmarks()
    latent: Latent = Latent()

    def resolved(self) -> dict[str, Any]:
        """The whole study as plain values, with what the report needs to know besides."""
        plain = self.model_dump(mode="json")
        plain["bilingual"]["languages"] = self.bilingual_languages
        for name, model in plain["models"].items():
            model["traits"] = self.traits(name)
        return plain

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
        }
        for task in sorted(fetched_tasks - set(self.benchmarks.sources)):
            yield f"benchmarks.sources: none for {task}; give its repository or folder"

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
            instructed = codes if self.latent.instruction == "native" else [self.languages.reference]
            lacking = [code for code in instructed if code not in instruction_languages()]
            if settings.prompt == "letters" and lacking:
                yield (
                    f"{path}.prompt: no instruction in {', '.join(lacking)} for letters; set cloze, or add it to"
                    " resources/prompts.yaml"
                )
            for name in latent_models:
                if self.models[name].kind == "pretrained":
                    if settings.source is None:
                        yield f"{path}.source: none, which models.{name} needs; give its repository or folder"
                elif task != "hellaswag":
                    yield f"{path}: models.{name} is a toy, whose world has hellaswag only; leave one of them out"
                elif settings.languages and (lacking := [code for code in codes if code not in self.world.languages]):
                    yield f"{path}.languages: {not_in_world(lacking, self.world.languages)}"
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


def load_study(
    config: Mapping[str, Any], origin: str = "config", shape_of: Callable[[Source], Shape] | None = None
) -> Study:
    """The typed study of a loaded YAML mapping; `shape_of` gives the shape of a model that the mapping leaves open.

    Raises `IsoglossError` naming every mistake at once, a line each: key path, what is wrong, what is allowed.
    """
    plain = _plain(config, origin)
    try:
        if shape_of is not None:
            _complete(plain, shape_of, origin)
        return Study.model_validate(plain)
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _explain(problem)]
        raise IsoglossError(
            f"{len(lines)} mistake(s) in the configuration\n" + "\n".join(f"  {origin}: {line}" for line in lines)
        ) from None


def _plain(config: Mapping[str, Any], origin: str) -> Any:
    def odd(value: Any) -> None:
        raise TypeError(f"{value} is read as a {type(value).__name__}; put it in quotes")

    try:
        return json.loads(json.dumps(config, default=odd))
    except (TypeError, ValueError) as error:  # of keys; of what holds itself
        raise IsoglossError(f"{origin}: {error}") from None


def _complete(config: dict[str, Any], shape_of: Callable[[Source], Shape], origin: str) -> None:
    """Give each fetched model without `architecture` the one of its source."""
    models = config.get("models")
    for name, model in models.items() if isinstance(models, dict) else ():
        if isinstance(model, dict) and model.get("source") and not model.get("architecture"):
            try:
                model["architecture"] = shape_of(Source.model_validate(model["source"])).model_dump()
            except ValidationError:
                continue  # the whole study's validation names the mistake
            except IsoglossError as error:
                raise IsoglossError(
                    f"{origin}: models.{name}.architecture: not given, and not to be read from its source: {error}"
                ) from None


_ADVICE = {
    "string_type": "; put it in quotes",
    "int_type": "; write a whole number, not in quotes",
    "float_type": "; write a number, not in quotes",
    "bool_type": "; write true or false, not in quotes",
    "model_type": "; write its keys, each on a line of its own",
}


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
        message = f"{message} (got {problem['input']!r}){_ADVICE.get(problem['type'], '')}"
    return [f"{path}: {line}" if path else line for line in message.splitlines()]


def _removed(loc: list[str]) -> str | None:
    """What to do about a key that is no longer one; None for a key that never was."""
    for key, advice in REMOVED.items():
        names = key.split(".")
        if len(names) == len(loc) and all(name in ("NAME", part) for name, part in zip(names, loc, strict=True)):
            return f"no longer a key; {advice}"
    return None
