"""The language table: names, scripts, families and one fixed order and colour for every figure."""

import csv
from functools import cache
from typing import NamedTuple

from isogloss.resources import RESOURCES

LANGUAGE_TABLE = RESOURCES / "languages.tsv"


class Language(NamedTuple):
    """A row of `resources/languages.tsv`.

    The table begins with the eleven languages of the toy world and of papers A and C, which have a colour
    each. The others of Belebele follow by script, family and name. With 122 languages no colour tells one
    from another, so theirs tells the script, in groups and colours of Tol's colour-blind safe muted scheme:
    Latin, Arabic, Cyrillic, northern Indic, southern Indic, mainland South-East Asian and Tibetan, East
    Asian, Ethiopic, and grey for alphabets of a single language (Armenian, Georgian, Greek, Hebrew).
    """

    code: str  # ISO 639-1, else 639-3, as CLDR and the benchmarks write it; -Script where a language has several
    name: str  # English name
    script: str  # ISO 15924 code of the usual script
    family: str  # genus-level family, for grouping in figures
    colour: str  # hex colour of the language in every figure
    flores: str  # code in FLORES-200, which Belebele's files are named by


@cache
def language_table() -> dict[str, Language]:
    """Every language that isogloss knows, by code, in the order in which figures show them."""
    with LANGUAGE_TABLE.open(encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle, delimiter="\t")
        return {row["code"]: Language(**row) for row in rows}


def told_languages() -> list[str]:
    """The languages that the toy world can be told in: those with templates in `resources/world`."""
    return [code for code in language_table() if (RESOURCES / "world" / f"{code}.yaml").is_file()]


def in_order(codes: list[str]) -> list[str]:
    """The codes in the order of the language table: one order in every table, figure and report."""
    position = {code: index for index, code in enumerate(language_table())}
    return sorted(codes, key=position.__getitem__)
