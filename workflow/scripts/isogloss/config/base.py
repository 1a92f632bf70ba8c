"""What every section of the configuration is made of: base class, number types, checks of language codes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from isogloss.languages import language_table

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def known_language(code: str) -> str:
    if code not in language_table():
        raise ValueError(f"unknown language {code!r}; allowed: {', '.join(language_table())}")
    return code


def distinct(codes: list[str]) -> list[str]:
    doubled = sorted({str(code) for code in codes if codes.count(code) > 1})
    if doubled:
        raise ValueError(f"named twice: {', '.join(doubled)}; name each once")
    return codes
