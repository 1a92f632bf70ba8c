"""The classes of features of paper C: names, order and colours, the same in figures, tables and sentences.

A class is a language's code, "mixed" (of no language alone) or "silent" (never counted). Three words stand beside
them in the tables: "all" (every feature that is not silent), "random" and "matched" (the intervention's controls)
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from isogloss.languages import in_order
from isogloss.report.shared.wording import name, named


class ClassLook(NamedTuple):
    """How a class is drawn."""

    colour: str
    marker: str
    filled: bool = True


# No language's colours: the violet is the farthest from all of them, also as colour-blind readers see them.
LOOKS = {
    "mixed": ClassLook("#6600cc", "d"),
    "random": ClassLook("#8a8a8a", "s", filled=False),
    "matched": ClassLook("#8a8a8a", "D", filled=False),
    "all": ClassLook("#6b6b6b", ""),
}
_TITLES = {
    "mixed": "mixed",
    "random": "random features (control)",
    "matched": "matched random features (control)",
    "all": "all features",
    "silent": "silent",
}


def class_title(code: str) -> str:
    """How axes, legends and tables call a class."""
    return _TITLES.get(code) or named(code)


def class_phrase(code: str) -> str:
    """How sentences call the features of a class: `Spanish features`, `mixed features`."""
    return f"{code if code in _TITLES else name(code)} features"


def language_order(codes: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """The languages among `codes`, those of `first` ahead, the others in the order of the language table."""
    present = set(codes) - _TITLES.keys() - {"none"}
    ahead = [code for code in first if code in present]
    return ahead + in_order([code for code in present if code not in ahead])


def class_order(codes: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """The classes among `codes`: languages as `language_order`, then mixed, random, matched, all and silent."""
    present = set(codes)
    return language_order(present, first) + [code for code in _TITLES if code in present]
