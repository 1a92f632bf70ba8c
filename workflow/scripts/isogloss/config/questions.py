"""Where questions come from: data sets with a layout of their own, or a task of lm-eval by its name."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from string import Formatter
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, field_validator

from isogloss.config.base import LONGEST_NAME, Positive, Section, distinct, known_language, not_taken
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.languages import in_order, language

TaskName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=LONGEST_NAME), AfterValidator(not_taken)]
PLACEHOLDERS = ("code", "flores", "name")
LMEval = str | dict[str, str]


class Tasks(NamedTuple):
    """What is known of lm-eval's tasks."""

    known: Callable[[Collection[str]], Mapping[str, str]]  # those of some names that exist: why not to be asked, or ""
    nearest: Callable[[str], list[str]]  # names that are spelled much alike


class QuestionSource(Section):
    """Questions in some languages, and where they are."""

    languages: list[str] | None = Field(
        default=None,
        description="languages that have the questions; absent: those of the study, of lm_eval those with a task",
    )
    questions: Positive | None = Field(
        default=None, description="questions asked, the first by a hash of their ids; absent: all"
    )
    lm_eval: LMEval | None = Field(
        default=None,
        description="multiple-choice tasks or groups of lm-eval: a name in which {code}, {flores} or {name} (English,"
        " lower case) stands for the language, belebele_{flores} say, or a name by language",
    )
    source: Source | None = Field(
        default=None,
        description="repository or folder of the questions; absent, with lm_eval: the repository that the task names",
    )
    id_column: str | None = Field(
        default=None,
        description="lm_eval: column that holds a question's id, or row: its number; absent: the usual ones",
    )

    @field_validator("languages")
    @classmethod
    def _known(cls, codes: list[str] | None) -> list[str] | None:
        return None if codes is None else in_order(distinct([known_language(code) for code in codes]))

    @field_validator("lm_eval")
    @classmethod
    def _by_language(cls, given: LMEval | None) -> LMEval | None:
        if isinstance(given, dict):
            return {known_language(code): name for code, name in given.items()}
        try:
            parsed = list(Formatter().parse(given or "{code}"))
            fields = ["" if spec or how else field for _, field, spec, how in parsed if field is not None]
        except ValueError:
            fields = [""]
        if unknown := [field for field in fields if field not in PLACEHOLDERS]:
            raise ValueError(f"{{{unknown[0]}}} in {given!r}; allowed: {{code}}, {{flores}}, {{name}}")
        if not fields:
            raise ValueError(
                f"{given!r} is one task for every language; put {{code}}, {{flores}} or {{name}} where the language"
                " stands, or give a task by language: {en: ...}"
            )
        return given


def task_names(lm_eval: LMEval, languages: Iterable[str]) -> dict[str, str]:
    """lm-eval's task of each language that has one by its codes, `{flores}` say, or in the mapping."""
    if isinstance(lm_eval, dict):
        return {lang: lm_eval[lang] for lang in languages if lang in lm_eval}
    names: dict[str, str] = {}
    for lang in languages:
        known = language(lang)
        codes = {"code": lang, "flores": known.flores, "name": known.name.lower().replace(" ", "_")}
        if all(codes[field] for _, field, _, _ in Formatter().parse(lm_eval) if field):
            names[lang] = lm_eval.format(**codes)
    return names


def settle_languages(
    sets: Mapping[str, QuestionSource], languages: Sequence[str], path: str, tasks: Tasks
) -> dict[str, list[str]]:
    """The languages of each set that is lm-eval's: its own, else those of `languages` that lm-eval has it in.

    `path` is the key of the sets. Raises `IsoglossError` with
    a line for every task that lm-eval has not, or that cannot be asked here.
    """
    settled: dict[str, list[str]] = {}
    lines: list[str] = []
    for name, task in sets.items():
        if task.lm_eval is None:
            continue
        names = task_names(task.lm_eval, task.languages or languages)
        there = tasks.known(list(names.values()))
        odd = {of: why for of, why in there.items() if why}
        have = [lang for lang in names if names[lang] in there]
        lacking = [lang for lang in task.languages or names if lang not in have]
        if odd:
            other = next(iter(odd))
            lines.append(f"{path}.{name}.lm_eval: {other} {odd[other]}; take a task of multiple choices")
        elif lacking and (task.languages or isinstance(task.lm_eval, dict) or not have):
            of = names.get(lacking[0], str(task.lm_eval))
            near = tasks.nearest(of)
            like = f", but {', '.join(near)}" if near else ""
            mend = f"set languages: [{', '.join(have)}]" if have else "correct the name"
            lines.append(f"{path}.{name}.lm_eval: lm-eval has no {of} ({', '.join(lacking)}){like}; {mend}")
        else:
            settled[name] = have
    if lines:
        raise IsoglossError("\n  ".join([f"{len(lines)} mistake(s) in the configuration", *lines]))
    return settled
