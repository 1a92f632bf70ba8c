"""Readers of the project's own resources, which a user may add to: languages, instructions, wordings of the world."""

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import yaml

import damage
from isogloss.config.latent import read_prompts
from isogloss.languages import read_languages
from isogloss.resources import RESOURCES
from isogloss.sources.world.facts import KINDS
from isogloss.sources.world.wording import read_wordings
from readers import Reader

LANGUAGES = "\n".join((RESOURCES / "languages.tsv").read_text(encoding="utf-8").splitlines()[:6]) + "\n"


def _yaml(name: str, rng: Random) -> bytes:
    """A file of the resources with other values, or other lines."""
    text = (RESOURCES / name).read_text(encoding="utf-8")
    if rng.random() < 0.4:
        return damage.lines(text.encode(), rng)
    value = damage.mutated(yaml.safe_load(text), rng)
    return damage.in_bytes(yaml.dump(value, allow_unicode=rng.random() < 0.5), rng)


def _read_languages(folder: Path) -> Iterable[Any]:
    languages = read_languages(folder / "languages.tsv")
    assert all(code == row.code for code, row in languages.items())
    return [part for row in languages.values() for part in row]


def _read_prompts(folder: Path) -> Iterable[Any]:
    content = read_prompts(folder / "prompts.yaml")
    words = [text for given in content["words"].values() for text in given.values() if isinstance(text, str)]
    return [*words, *(text for layout in content["layouts"].values() for text in layout.values())]


def _read_wordings(folder: Path) -> Iterable[Any]:
    for wording in read_wordings(folder / "es.yaml", KINDS).values():
        for text in (wording.question, *wording.statements):
            assert "{" not in text.format(subject="x")
        yield from (wording.label, wording.question, *wording.statements)


READERS = {
    "languages.tsv": Reader("languages.tsv", lambda rng: damage.table(LANGUAGES.encode(), rng, "\t"), _read_languages),
    "prompts.yaml": Reader("prompts.yaml", lambda rng: _yaml("prompts.yaml", rng), _read_prompts),
    "world's wordings": Reader("es.yaml", lambda rng: _yaml("world/es.yaml", rng), _read_wordings),
}
