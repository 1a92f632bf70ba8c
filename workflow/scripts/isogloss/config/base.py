"""What every section of the configuration is made of: base class, number types, checks of language codes."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from isogloss.languages import language

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
LONGEST_NAME = 64  # characters; several stand in a file's name, which has 255 bytes
_TAKEN = "constructor"  # what every object of JavaScript has, alone among names in small letters; charts look names up
_LARGEST = 2**63 - 1  # int64
_LONGEST = 4096  # characters of a text, and bytes of a path on Linux
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # controls and surrogates; line breaks may be


def not_taken(name: str) -> str:
    """The name; raises for one that a script of the report would find where there is nothing of that name."""
    if name == _TAKEN:
        raise ValueError(f"{name!r} is what scripts of the report have of their own; take another name")
    return name


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=LONGEST_NAME), AfterValidator(not_taken)]


def _printed(text: str) -> str:
    """The text; raises for one that shows otherwise than it reads.

    Line breaks, marks that turn the direction round, and tags: Snakemake writes titles into a script of report.html.
    """
    odd = [f"U+{ord(mark):04X}" for mark in text if not mark.isprintable() and mark not in "\u200c\u200d"]
    if odd:
        raise ValueError(f"{text!r} holds {', '.join(odd)}, which cannot be seen; leave it out")
    if tag := re.search(r"<[a-zA-Z/!?]\S*", text):
        raise ValueError(f"{text!r} holds {tag[0]}, a tag to the page that shows it; leave it out")
    return text


Title = Annotated[str, Field(min_length=1), AfterValidator(_printed)]


def _folder(text: str) -> str:
    """The path, a home written out; raises for one that no file system has, and for what Snakemake does not see as one.

    No file system has an empty one, a longer name, or a home that is not there.
    """
    if not text.strip() or any(len(part.encode()) > 255 for part in PurePath(text).parts):
        raise ValueError(f"{text[:80]!r} can be no folder; give its path")
    if brace := re.search("[{}]", text):
        raise ValueError(f"{text!r} holds {brace[0]}, which Snakemake takes for a wildcard; rename the folder")
    try:
        return text if text[0] != "~" else str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError(f"{PurePath(text).parts[0]} is no user's home here; write the path out") from None


Folder = Annotated[str, AfterValidator(_folder)]


def _within(pattern: str) -> str:
    """The glob; raises for one that leaves its folder, and for what pathlib takes for no glob."""
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or ".." in parts:
        raise ValueError(f"{pattern!r} leaves the source's folder; name files within it")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError(f"{pattern!r}: ** stands for whole folders; write * within a name")
    return pattern


Glob = Annotated[str, AfterValidator(_within)]

SPEED_ONLY: JsonDict = {"changes_numbers": False}  # `json_schema_extra` of a field that no table depends on


def middle(layers: Iterable[int]) -> int:
    """The middle one of the layers, the earlier of two (paper C: of 28 the 14th, which is 13 counted from 0)."""
    present = sorted(set(layers))
    return present[(len(present) - 1) // 2]


class Section(BaseModel):
    """A part of the config: unknown keys and numbers given as text are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Numbers that YAML 1.1 and JSON have as text only: 1e-3, which Snakemake wants as 1.0e-3, and keys."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, dict) and _has(annotation, int, of_keys=True):
            value = {int(key) if re.fullmatch(r"-?\d+", str(key)) else key: part for key, part in value.items()}
        return _with_exponents(value) if _has(annotation, float) else value

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_held(cls, value: Any) -> Any:
        """What no table, file name or random generator can hold fails here, not in the middle of a run."""
        for part in _plain_values(value):
            if isinstance(part, int) and abs(part) > _LARGEST:
                raise ValueError(f"{str(part)[:20]}… has {len(str(part))} digits; numbers end at {_LARGEST}")
            if isinstance(part, str) and (odd := _UNSEEN.search(part)):
                raise ValueError(f"{part[:80]!r} holds U+{ord(odd[0]):04X}, which cannot be seen; leave it out")
            if isinstance(part, str) and len(part) > _LONGEST:
                raise ValueError(f"a text of {len(part)} characters, {part[:40]!r}…; at most {_LONGEST}")
        return value

    def numbers(self) -> dict[str, Any]:
        """The section as plain values, here and in the sections within without the fields that change no number."""
        return _numbers(self, self.model_dump(mode="json"))

    def without(self, *fields: str) -> Self:
        """The section for a rule that doesn't depend on these fields: reading one is an AttributeError."""
        part = self.model_copy()
        for field in fields:
            object.__delattr__(part, field)  # a section is frozen
        return part

    def only(self, *fields: str) -> Self:
        """The section for a rule that depends on these fields alone."""
        return self.without(*(type(self).model_fields.keys() - fields))


def _plain_values(value: Any) -> Iterator[Any]:
    """The texts and numbers in a field's value, but for those of sections in it, which check their own."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _plain_values(part)
    elif isinstance(value, list):
        for part in value:
            yield from _plain_values(part)
    elif not isinstance(value, BaseModel):
        yield value


def _numbers(value: Any, plain: Any) -> Any:
    """`plain`, the dump of `value`, without the fields marked `SPEED_ONLY`."""
    if isinstance(value, Section):
        fields = type(value).model_fields
        kept = [name for name in plain if fields[name].json_schema_extra != SPEED_ONLY]
        return {name: _numbers(getattr(value, name), plain[name]) for name in kept}
    if isinstance(value, dict):
        return {key: _numbers(part, plain[key]) for key, part in zip(plain, value.values(), strict=True)}
    return plain


def _has(annotation: Any, kind: type, of_keys: bool = False) -> bool:
    """Whether a type, or one within it, is `kind`; of mappings the values, or the keys alone."""
    if get_origin(annotation) is dict:
        key, value = get_args(annotation)
        return _has(key, kind) if of_keys else _has(value, kind)
    return (annotation is kind and not of_keys) or any(_has(part, kind, of_keys) for part in get_args(annotation))


def _with_exponents(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_exponents(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_exponents(item) for key, item in value.items()}
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value)
    return float(value) if is_number else value


def known_language(code: str) -> str:
    """The code itself; raises as `language` for one that is unknown or not spelt as it is everywhere else."""
    return language(code).code


Language = Annotated[str, AfterValidator(known_language)]


def distinct(codes: list[str]) -> list[str]:
    doubled = sorted({str(code) for code in codes if codes.count(code) > 1})
    if doubled:
        raise ValueError(f"named twice: {', '.join(doubled)}; name each once")
    return codes
