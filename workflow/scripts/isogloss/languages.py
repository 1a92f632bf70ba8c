"""Languages by BCP 47 code: names, scripts, families, and one fixed order for every table and figure.

`resources/languages.tsv` says these of the languages of the toy world, of the papers and of Belebele; of all others
CLDR does (Unicode Technical Standard 35, in Babel): English names and likely scripts. No list has their families.
"""

import difflib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from isogloss.errors import IsoglossError, shown
from isogloss.resources import RESOURCES

LANGUAGE_TABLE = RESOURCES / "languages.tsv"

# language[-Script][-REGION][-variant]... (RFC 5646, sec. 2.1), neither extensions nor private use.
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(-(?P<script>[a-z]{4}))?(-(?P<region>[a-z]{2}|\d{3}))?"
    r"(?P<variants>(-([a-z0-9]{5,8}|\d[a-z0-9]{3}))*)",
    re.IGNORECASE | re.ASCII,
)
# Several, none and unknown ones; "all" (Allar, ISO 639-3) stands for every class in the tables of paper C.
_NO_LANGUAGES = {"all", "mis", "mul", "root", "und", "zxx"}
# No space between sentences: Han and Japanese. Thai, Lao, Khmer and Burmese have none between words, but one here.
_UNSPACED = frozenset({"Bopo", "Hani", "Hans", "Hant", "Hira", "Hrkt", "Jpan", "Kana"})
# None between words either: line breaking class SA (Unicode Standard Annex 14), and Tibetan, which parts syllables.
_UNSPACED_WORDS = _UNSPACED | {"Ahom", "Khmr", "Lana", "Laoo", "Mymr", "Tale", "Talu", "Tavt", "Thai", "Tibt"}
# ISO 639-2's codes for bibliographies: each of these languages has another one, which data sets use.
_BIBLIOGRAPHIC = frozenset(
    "alb arm baq bur chi cze dut fre geo ger gre ice mac mao may per rum slo tib wel".split()  # noqa: SIM905
)


class Language(NamedTuple):
    """A row of `resources/languages.tsv`, or what CLDR says instead of one.

    The table begins with the eleven languages of the toy world and of papers A and C; the others of Belebele follow by
    script, family and name.
    """

    code: str  # BCP 47, canonical: ISO 639-1, else 639-3; -Script and -REGION only where not the usual ones
    name: str  # English name; the code where CLDR has none
    script: str  # ISO 15924 code of the usual script
    family: str  # genus-level family, for grouping in figures; the language's own name where it is in no list
    flores: str | None  # code in FLORES-200, which Belebele's files are named by; None where it is not known
    top_family: str | None  # top-level family under Glottolog's name; None where it is in no list


@cache
def language_table() -> dict[str, Language]:
    """The languages of `resources/languages.tsv` by code, in the order in which figures show them."""
    return read_languages(LANGUAGE_TABLE)


def read_languages(path: Path) -> dict[str, Language]:
    """The languages of a table of that form, by code: tab-separated, in UTF-8, with the columns of `Language`.

    Raises `IsoglossError` with the line for other columns, a row of another length, and a code that comes twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IsoglossError(f"{path}: no table of languages ({error}); save it in UTF-8") from None
    columns, languages = list(Language._fields), dict[str, Language]()
    for number, line in enumerate(lines, start=1):
        row = line.split("\t")
        if (number == 1) != (row == columns) or len(row) != len(columns):
            raise IsoglossError(
                f"{path}:{number}: {shown(line)} has not the columns {', '.join(columns)}, a tab between them; mend it"
            )
        if number > 1:
            if row[0] in languages or not _TAG.fullmatch(row[0]):
                raise IsoglossError(f"{path}:{number}: {shown(row[0])} is no code or comes twice; mend it")
            languages[row[0]] = Language(*row)
    return languages


@cache
def language(code: str) -> Language:
    """A language by its canonical code: of the table, or any other that CLDR knows.

    Raises `ValueError` for another spelling, and as `canonical_code`.
    """
    right = canonical_code(code)
    if right != code:
        raise ValueError(f"language {code!r} is written {right} (BCP 47 in CLDR's canonical form); write that")
    return language_table().get(code) or _by_cldr(code)


def canonical_code(text: str) -> str:
    """The one code of a language, however it is spelt: PT_br is pt-BR, iw is he, eng_Latn is en, zh-Hans is zh.

    Raises `ValueError` with what may be meant for what CLDR doesn't know.
    """
    if text in language_table():
        return text
    tag = _TAG.fullmatch(text.replace("_", "-"))
    if tag is None:
        raise ValueError(_unknown(text))
    code, script, region = tag["language"].lower(), (tag["script"] or "").title(), (tag["region"] or "").upper()
    if code not in language_table():  # CLDR calls Tagalog Filipino; data sets don't
        code, *of_alias = _cldr("language_aliases").get(code, code).split("_")
        script = script or next((part for part in of_alias if len(part) == 4), "")
        region = region or next((part for part in of_alias if len(part) < 4), "")
    if code in _NO_LANGUAGES or not (code in _names("languages") or code in _cldr("likely_subtags")):
        raise ValueError(_unknown(text))
    for part, names in ((script, _names("scripts")), (region, _names("territories"))):
        if part and part not in names:
            raise ValueError(f"unknown language {text!r}: CLDR has no {part}; write {code}, or mend it")
    if script in (_usual_script(code, region), "" if region else _likely(code).script):
        script = ""
    return "-".join(part for part in (code, script, region, tag["variants"].lower().strip("-")) if part)


def _by_cldr(code: str) -> Language:
    """What CLDR says of a language by its canonical code; the family is that of the table's language without region."""
    own, *parts = code.split("-")
    region = next((part for part in parts if re.fullmatch(r"[A-Z]{2}|\d{3}", part)), "")
    script = next((part for part in parts if re.fullmatch(r"[A-Z][a-z]{3}", part)), _usual_script(own, region))
    base = language_table().get(own)
    name = base.name if base else _names("languages").get(own, own)
    known = {**_names("scripts"), **_names("territories")}
    details = ", ".join(known.get(part, part) for part in parts)
    return Language(
        code=code,
        name=f"{name} ({details})" if details else name,
        script=script,
        family=base.family if base else name,
        flores=_flores(own, script) if {*parts} <= {script, _likely(f"{own}_{script}").region} else None,
        top_family=base.top_family if base else None,
    )


class _Likely(NamedTuple):
    script: str
    region: str


def _likely(code: str, region: str = "") -> _Likely:
    """Script and region that CLDR takes a language for (UTS 35, likely subtags)."""
    subtags = _cldr("likely_subtags")
    full = subtags.get(f"{code}_{region}") or subtags.get(code) or subtags.get(code[:3].strip("_"), f"{code}_Zyyy_ZZ")
    return _Likely(*full.split("_")[1:3])


def _usual_script(code: str, region: str) -> str:
    """The script of a language in a region, as the table calls it."""
    row, script = language_table().get(code), _likely(code, region).script
    return row.script if row and script == _likely(code).script else script


def _flores(code: str, script: str) -> str | None:
    """FLORES-200's code, ISO 639-3 and script; None where several ISO 639-3 codes are one language of ISO 639-1."""
    row = language_table().get(code)
    if row and row.flores:
        return f"{row.flores.partition('_')[0]}_{script}"
    longer = {of for of, alias in _cldr("language_aliases").items() if alias == code and len(of) == 3}
    codes = [code] if len(code) == 3 else sorted(longer - _BIBLIOGRAPHIC)
    return f"{codes[0]}_{script}" if len(codes) == 1 else None


def _unknown(text: str) -> str:
    """What is wrong with something that is no code, and what may be meant: a name, a country's code, a slip."""
    names = {name.casefold(): code for code, name in _names("languages").items() if code.isalpha()}
    names |= {row.name.casefold(): code for code, row in language_table().items()}
    country = _cldr("likely_subtags").get(f"und_{text.upper()}", "").partition("_")[0]
    if text.casefold() in names:
        meant = [names[text.casefold()]]
    elif country:
        meant = [country]
    elif text in _NO_LANGUAGES:
        meant = []
    else:
        close = difflib.get_close_matches(text.casefold(), [*language_table(), *names], n=3)
        meant = list(dict.fromkeys(names.get(match, match) for match in close))
    hint = f"did you mean {' or '.join(meant)}?" if meant else "codes are BCP 47, as sw, pt-BR and zh-Hant are"
    return f"unknown language {text!r}; {hint}"


@cache
def _cldr(kind: str) -> dict[str, str]:
    from babel.core import get_global  # only where a language is not in the table

    return dict(get_global(kind))  # pyright: ignore[reportArgumentType]


@cache
def _names(kind: str) -> dict[str, str]:
    """CLDR's English names of languages, scripts or territories, by code."""
    from babel import Locale

    return dict(getattr(Locale("en"), kind))


def spacing(code: str) -> str:
    """What stands between two sentences of a language: one space, in Chinese and Japanese nothing.

    Raises `ValueError` as `language`.
    """
    return "" if language(code).script in _UNSPACED else " "


def word_spacing(code: str) -> str:
    """What stands between two words of a language, and so before an answer that goes on with a text.

    A space; nothing in Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan. Raises `ValueError` as `language`.
    """
    return "" if language(code).script in _UNSPACED_WORDS else " "


def world_languages() -> list[str]:
    """The languages that the toy world can be told in: those with templates in `resources/world`."""
    return [code for code in language_table() if (RESOURCES / "world" / f"{code}.yaml").is_file()]


def in_order(codes: Iterable[str]) -> list[str]:
    """The codes in the order of the language table, then all others by code: one order everywhere."""
    position = {code: index for index, code in enumerate(language_table())}
    return sorted(codes, key=lambda code: (position.get(code, len(position)), code))
