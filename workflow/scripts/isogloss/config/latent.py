"""Paper B: how alike a model answers in different languages, which language its layers work in, and steering."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from isogloss.config.base import Positive, Section, distinct
from isogloss.config.files import read_texts
from isogloss.config.pretrained import Source
from isogloss.config.questions import QuestionSource, TaskName
from isogloss.errors import IsoglossError, several
from isogloss.resources import RESOURCES

DataSet = Literal["belebele", "mmmlu", "hellaswag", "lm_eval"]
DATA_SETS = get_args(DataSet)
REFERENCE = "-reference"  # ends the name of the folder with MMMLU's English questions
_WORDS = ("instruction", "question", "answer")
_PARTS = ("passage", "text", "choices")
Layer = Annotated[int, Field(ge=0)]


class LatentTask(QuestionSource):
    """Parallel questions, asked in every language."""

    data: DataSet = Field(
        description="layout of the questions: facebook/belebele, openai/MMMLU, alexandrainst/m_hellaswag, or tasks of"
        " lm_eval; absent: the task's name, if it is one of these, or lm_eval, if that is given",
    )
    prompt: Literal["letters", "cloze"] = Field(
        default="letters",
        description="letters: lettered choices in the prompt, ranked by the next token (paper B, table 3); cloze: the"
        " question alone, of lm_eval its doc_to_text, its choices ranked by the length-normalised probability of their"
        " text",
    )
    source: Literal["world"] | Source | None = Field(
        default=None,
        description="repository or folder of the questions, or world: the toy world's, in HellaSwag's layout, which"
        " models that are trained on it are asked anyway; absent, with lm_eval: the repository that the task names",
    )
    reference_source: Source | None = Field(
        default=None, description="mmmlu: English questions in the layout of cais/mmlu, which MMMLU lacks"
    )

    @model_validator(mode="after")
    def _of_its_data(self) -> Self:
        if (self.data == "lm_eval") != (self.lm_eval is not None):
            raise ValueError("lm_eval: lm-eval's name of the task belongs to data: lm_eval, and to no other")
        if self.source == "world" and self.data != "hellaswag":
            raise ValueError(f"source: the toy world has questions in HellaSwag's layout, not in that of {self.data}")
        if self.id_column and self.lm_eval is None:
            raise ValueError("id_column: is of data: lm_eval; the other layouts have ids of their own")
        if self.data == "mmmlu" and self.source and not self.reference_source:
            raise ValueError("reference_source: none; English MMLU is not in MMMLU, give cais/mmlu")
        return self


class Generation(Section):
    """Greedy answers with the steering vector on (beyond the paper)."""

    layer: Layer = Field(description="layer after which the vector is added, 0-based")
    gammas: list[float] = Field(min_length=1, description="multipliers of the vector; 0 is the unsteered answer")
    questions: Positive = Field(default=20, description="questions answered, the first of those not held out")
    new_tokens: Positive = Field(default=32, description="tokens generated at most")


class Steering(Section):
    """Activations moved towards the reference at the last prompt token (paper B, sec. 4)."""

    layers: list[Layer] | None = Field(
        default=None, min_length=1, description="layers after which the vector is added, 0-based; absent: the probed"
    )
    gammas: list[float] = Field(
        default=[-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], min_length=1, description="multipliers of the vector; not 0"
    )
    gamma_shown: float | None = Field(
        default=None,
        description="multiplier, one of gammas, at which figures show layers and languages, with the same below 0;"
        " absent: the largest (paper B, Figs. 5 and 8 to 11: 2)",
    )
    random: bool = Field(default=True, description="control: a random direction as long as the vector")
    other: bool = Field(default=True, description="control: the vector of the next language")
    directions: Annotated[int, Field(ge=0)] = Field(
        default=20,
        description="control: so many random directions at the settings that one half of the questions chooses for the"
        " vectors, on the other half; 0: none",
    )
    directions_questions: Positive | None = Field(
        default=None, description="questions on which these are tried, by a hash of their ids; absent: all"
    )
    shared: bool = Field(default=False, description="one vector for all languages, the mean of all, too")
    generation: Generation | None = Field(default=None, description="absent: no answers are generated")

    @field_validator("gammas")
    @classmethod
    def _moves(cls, gammas: list[float]) -> list[float]:
        if 0 in gammas:
            raise ValueError("0 changes nothing and is measured anyway; leave it out")
        distinct([str(gamma) for gamma in gammas])
        return sorted(gammas)

    @model_validator(mode="after")
    def _shows_what_is_measured(self) -> Self:
        if self.gamma_shown is not None and (self.gamma_shown <= 0 or self.gamma_shown not in self.gammas):
            raise ValueError(
                f"gamma_shown {self.gamma_shown:g}: allowed is one of gammas above 0; add it there, or leave it out"
            )
        return self


class Latent(Section):
    """Answers, latent language and steering on parallel questions (paper B)."""

    tasks: dict[TaskName, LatentTask] = Field(
        default={"hellaswag": LatentTask(data="hellaswag", prompt="cloze")},
        min_length=1,
        description="question sets by a free name, each with its data and prompt; the toy world has hellaswag",
    )
    instruction: Literal["reference", "native"] = Field(
        default="reference", description="language of the prompt's instruction: the reference (paper) or the question's"
    )
    every: Positive = Field(
        default=4, description="the logit lens reads every k-th layer, ending at the last (paper B, sec. 2.2)"
    )
    final_norm: bool = Field(
        default=True, description="whether the lens applies the final norm to the layers before the last"
    )
    softcap: bool = Field(default=True, description="whether the lens applies the model's soft-cap of logits")
    log_ratio: Literal["sum", "mean"] = Field(
        default="sum",
        description="native to reference answers: log ratio of the sums of their probabilities, or mean over choices of"
        " log ratios (open in the paper)",
    )
    held_out: Annotated[int, Field(ge=2)] = Field(
        default=50, description="parallel questions for steering vectors and projection, drawn by the seed"
    )
    steering: Steering | None = Field(default=Steering(), description="null: none")

    @field_validator("tasks", mode="before")
    @classmethod
    def _named_by_their_data(cls, tasks: Any) -> Any:
        if not isinstance(tasks, dict):
            return tasks
        return {name: _with_data(name, task) if isinstance(task, dict) else task for name, task in tasks.items()}

    @field_validator("tasks")
    @classmethod
    def _names(cls, tasks: dict[str, LatentTask]) -> dict[str, LatentTask]:
        for name in tasks:
            if name.endswith(REFERENCE):
                raise ValueError(f"{name}: names that end in {REFERENCE} are taken; choose another")
        return tasks


def _with_data(name: Any, task: dict[str, Any]) -> dict[str, Any]:
    """A task whose data are what its name or its keys say, unless it says itself."""
    if "data" in task:
        return task
    if task.get("lm_eval"):
        return {"data": "lm_eval", **task}
    if name in DATA_SETS:
        return {"data": name, **task}
    raise ValueError(f"{name}: what it is is not said; give data ({', '.join(DATA_SETS)}) or lm_eval")


@cache
def instruction_languages() -> frozenset[str]:
    """The languages that `resources/prompts.yaml` has an instruction in."""
    return frozenset(read_prompts(RESOURCES / "prompts.yaml")["words"])


def read_prompts(path: Path) -> dict[str, Any]:
    """The layouts of prompts and the words in them by language, as `resources/prompts.yaml` has them.

    Raises `IsoglossError` for a file that is no YAML, lacks one of them, or has a layout with other parts.
    """
    content = read_texts(path)
    layouts, words = content.get("layouts"), content.get("words")
    for lang, given in _entries(words, f"{path}: words"):
        lacking = [name for name in _WORDS if not isinstance(given, dict) or not isinstance(given.get(name), str)]
        if lacking:
            raise IsoglossError(
                f"{path}: words.{several([str(lang)])} has no text as {', '.join(lacking)}; add it, as en has it"
            )
    for prompt, patterns in _entries(layouts, f"{path}: layouts"):
        for name, pattern in _entries(patterns, f"{path}: layouts.{several([str(prompt)])}"):
            try:
                pattern.format(**dict.fromkeys((*_WORDS, *_PARTS), ""))
            except (LookupError, ValueError, AttributeError) as error:
                where = f"{path}: layouts.{several(map(str, (prompt, name)))}"
                parts, reason = ", ".join((*_WORDS, *_PARTS)), f"{type(error).__name__}: {several([str(error)])}"
                raise IsoglossError(f"{where} is no text of {parts}, each in braces ({reason}); mend it") from None
    return content


def _entries(value: Any, where: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise IsoglossError(f"{where}: nothing by name there; take it from the project's own file")
    return value.items()
