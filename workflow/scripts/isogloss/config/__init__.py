"""The configuration, typed once: defaults, allowed values and cross-field checks live here only.

`workflow/schemas/config.schema.json` and the key reference in `config/README.md` are generated from
these classes (`make schema`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from isogloss.config.model import Shape
from isogloss.config.planted import sown
from isogloss.config.pretrained import Source
from isogloss.config.questions import Tasks, settle_languages
from isogloss.config.study import Study
from isogloss.errors import IsoglossError, shown
from isogloss.redaction import holds_secret

__all__ = ["REMOVED", "Study", "load_study"]

_HALF_PAIR = re.compile("[\ud800-\udfff]")
# Keys that older study files set, as config/README.md would write them, and what to do instead.
REMOVED: dict[str, str] = {
    "bilingual.documents": "documents, at the top level, has the documents of every language",
}


def load_study(
    config: Mapping[str, Any],
    origin: str = "config",
    shape_of: Callable[[Source], Shape] | None = None,
    tasks: Tasks | None = None,
) -> Study:
    """The typed study of a loaded YAML mapping.

    `shape_of` gives the shape of a model that the mapping leaves open, `tasks` knows lm-eval's tasks, and so the
    languages of those that it leaves open.

    Raises `IsoglossError` naming every mistake at once, a line each: key path, what is wrong, what is allowed.
    """
    plain = _plain(config, origin)
    if isinstance(plain, dict) and (lines := [*sown(plain), *_half_pairs(plain), *_secrets(plain)]):
        raise _mistaken(lines, origin)
    try:
        if shape_of is not None:
            _complete(plain, shape_of, origin)
        study = Study.model_validate(plain)
        if tasks is None or not _settle(plain, study, tasks):
            return study
        return Study.model_validate(plain)
    except ValidationError as error:
        raise _mistaken([line for problem in error.errors() for line in _explain(problem)], origin) from None


def _mistaken(lines: Sequence[str], origin: str) -> IsoglossError:
    """The error that names every mistake, a line each."""
    return IsoglossError(
        f"{len(lines)} mistake(s) in the configuration\n" + "\n".join(f"  {origin}: {line}" for line in lines)
    )


def _half_pairs(value: Any, at: str = "the study") -> Iterator[str]:
    """A line for each key that UTF-8 cannot hold; sections look at values themselves."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str) and (half := _HALF_PAIR.search(key)):
                yield f"a key of {at}: U+{ord(half[0]):04X} is half a surrogate pair and no character; mend the key"
            else:
                yield from _half_pairs(inner, f"{at}.{key}".removeprefix("the study."))
    elif isinstance(value, list):
        for inner in value:
            yield from _half_pairs(inner, at)


def _secrets(value: Any, at: str = "") -> Iterator[str]:
    """A line for each text with a token or a password in it, without the text."""
    if isinstance(value, str) and holds_secret(value):
        yield (
            f"{at}: a token or a password stands here, and a study's configuration goes into its tables and its report;"
            " take it out, and set HF_TOKEN, `hf auth login` or ~/.netrc instead"
        )
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(key, f"a key of {at or 'the study'}")
            yield from _secrets(inner, f"{at}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _secrets(inner, f"{at}.{number}")


def _settle(config: dict[str, Any], study: Study, tasks: Tasks) -> bool:
    """Give each question set of lm-eval without `languages` those that lm-eval has it in; whether there is one."""
    settled = False
    for section, questions in (("benchmarks", study.benchmarks.tasks), ("latent", study.latent.tasks)):
        for name, languages in settle_languages(questions, study.languages.all, f"{section}.tasks", tasks).items():
            config[section]["tasks"][name]["languages"] = languages
            settled = True
    return settled


def _plain(config: Mapping[str, Any], origin: str) -> Any:
    def odd(value: Any) -> None:
        raise TypeError(f"{str(value)[:80]} is read as a {type(value).__name__}; put it in quotes")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(mapping := dict(pairs)) < len(pairs):  # 1 and "1"
            names = [key for key, _ in pairs]
            doubled = next(key for key in names if names.count(key) > 1)
            raise ValueError(f"the key {doubled!r} comes twice in one mapping, as number and as text; keep one")
        return mapping

    try:
        return json.loads(json.dumps(config, default=odd), object_pairs_hook=once)
    except (TypeError, ValueError) as error:  # of keys; of what holds itself
        raise IsoglossError(f"{origin}: {error}") from None
    except RecursionError:
        raise IsoglossError(f"{origin}: lists and mappings within each other too deeply; write it as a study") from None


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
                    f"{origin}: models.{name}.architecture: not given, and not to be read from its source; give it, or"
                    f" mend this: {error}"
                ) from None


_ADVICE = {
    "string_type": "; put it in quotes",
    "int_type": "; write a whole number, not in quotes",
    "float_type": "; write a number, not in quotes",
    "bool_type": "; write true or false, not in quotes",
    "model_type": "; write its keys, each on a line of its own",
}


# How pydantic calls alternatives of a key, which is no part of its path.
_ALTERNATIVE = re.compile(r"constrained-int$|\[key\]$|ParallelText$|(literal|dict|list|function-[a-z]+)\[")


def _explain(problem: Any) -> list[str]:
    if problem["loc"][-1:] == ("literal['world']",) and isinstance(problem["input"], dict):
        return []  # of its other alternative, a section, there is a line for each mistake
    loc = [str(part) for part in problem["loc"] if not _ALTERNATIVE.match(str(part))]
    if loc[:1] == ["models"]:  # the kind stands between a model's name and its keys
        loc = [part for index, part in enumerate(loc) if not (index == 2 and part in ("toy", "pretrained"))]
    path = ".".join(part if part.isprintable() and len(part) <= 80 else shown(part) for part in loc)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = _removed(loc) or "unknown key; see config/README.md for every key"
    elif problem["type"] == "union_tag_invalid":
        message = "kind must be toy or pretrained"
    elif problem["type"] == "missing" and len(loc) == 1:
        message += "; a study is whole and replaces the default one"
    elif problem["type"] not in ("value_error", "missing"):
        message = f"{message} (got {shown(problem['input'])}){_ADVICE.get(problem['type'], '')}"
    return [f"{path}: {line}" if path else line for line in message.splitlines()]


def _removed(loc: list[str]) -> str | None:
    """What to do about a key that is no longer one; None for a key that never was."""
    for key, advice in REMOVED.items():
        names = key.split(".")
        if len(names) == len(loc) and all(name in ("NAME", part) for name, part in zip(names, loc, strict=True)):
            return f"no longer a key; {advice}"
    return None
