"""What every section of the configuration is made of: base class, number types, checks of language codes."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from isogloss.languages import language_table

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]

SPEED_ONLY: JsonDict = {"changes_numbers": False}  # `json_schema_extra` of a field that no table depends on


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


def _numbers(value: Any, plain: Any) -> Any:
    """`plain`, the dump of `value`, without the fields marked `SPEED_ONLY`."""
    if isinstance(value, Section):
        fields = type(value).model_fields
        kept = [name for name in plain if fields[name].json_schema_extra != SPEED_ONLY]
        return {name: _numbers(getattr(value, name), plain[name]) for name in kept}
    if isinstance(value, dict):
        return {key: _numbers(part, plain[key]) for key, part in zip(plain, value.values(), strict=True)}
    return plain


def known_language(code: str) -> str:
    if code not in language_table():
        raise ValueError(f"unknown language {code!r}; allowed: {', '.join(language_table())}")
    return code


def distinct(codes: list[str]) -> list[str]:
    doubled = sorted({str(code) for code in codes if codes.count(code) > 1})
    if doubled:
        raise ValueError(f"named twice: {', '.join(doubled)}; name each once")
    return codes
