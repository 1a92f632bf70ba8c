"""How the toy world's facts are told in a language: `resources/world/LANGUAGE.yaml`, which a user may add to."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from isogloss.config.files import read_texts
from isogloss.errors import IsoglossError, several, shown
from isogloss.resources import RESOURCES

WORDINGS = RESOURCES / "world"


class Wording(NamedTuple):
    """How one relation is told in one language."""

    label: str  # HellaSwag's activity label
    question: str  # with {subject}
    statements: list[str]  # each with {subject}; the answer follows after a space


def wordings_of(language: str, relations: Iterable[str]) -> dict[str, Wording]:
    """The wordings of a language; raises `IsoglossError` for one that has no file, and as `read_wordings`."""
    path = WORDINGS / f"{language}.yaml"
    if not path.is_file():
        available = ", ".join(sorted(file.stem for file in WORDINGS.glob("*.yaml")))
        raise IsoglossError(
            f"world.languages: the toy world has no wording in {language!r}; there are: {available}; or add {path}"
        )
    return read_wordings(path, relations)


def read_wordings(path: Path, relations: Iterable[str]) -> dict[str, Wording]:
    """The wordings of `relations` in a language's file.

    Raises `IsoglossError` for a file that is no YAML, lacks one, or has one that is no text with one `{subject}`.
    """
    loaded = read_texts(path)
    try:
        wordings = {relation: Wording(**loaded[relation]) for relation in relations}
    except (KeyError, TypeError) as error:
        reason = several([str(error)])
        raise IsoglossError(
            f"{path}: a relation lacks its label, question or statements ({reason}); see en.yaml for all of them"
        ) from None
    for relation, wording in wordings.items():
        if not isinstance(wording.label, str) or not isinstance(wording.statements, list) or not wording.statements:
            raise IsoglossError(f"{path}: {relation}: label must be a text, statements a list of texts; see en.yaml")
        for text in (wording.question, *wording.statements):
            if not isinstance(text, str) or re.findall("{subject}|[{}]", text) != ["{subject}"]:
                raise IsoglossError(
                    f"{path}: {relation}: {shown(text)} must contain {{subject}} exactly once, and no other brace"
                )
    return wordings
