"""Languages by script and family: one order for matrices, colours and markers of scripts for points and lines."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.languages import in_order, language
from isogloss.report.figures.axes import legend
from isogloss.report.figures.style import FAINT, PALETTE, Look

MOST_NAMED = 40
"""Up to so many languages, a matrix names each; of more, it names the scripts."""

_SHAPES = ("o", "s", "D", "^", "v", "P")
_OTHER = "other scripts"
_NAMES = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cyrl": "Cyrillic", "Deva": "Devanagari",
    "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek", "Gujr": "Gujarati", "Guru": "Gurmukhi",
    "Hang": "Hangul", "Hans": "Han, simplified", "Hant": "Han, traditional", "Hebr": "Hebrew", "Jpan": "Japanese",
    "Khmr": "Khmer", "Knda": "Kannada", "Kore": "Hangul", "Laoo": "Lao", "Latn": "Latin", "Mlym": "Malayalam",
    "Mymr": "Burmese", "Orya": "Odia", "Sinh": "Sinhala", "Taml": "Tamil", "Telu": "Telugu", "Thai": "Thai",
    "Tibt": "Tibetan",
}  # fmt: skip


def script_title(script: str) -> str:
    """English name of an ISO 15924 script; the code where it is not known here."""
    return _NAMES.get(script, script)


def by_script(codes: Iterable[str]) -> list[str]:
    """The languages by script, then family, larger ones first, then the language table's order."""
    present = in_order(set(codes))
    scripts = Counter(language(code).script for code in present)
    families = Counter((language(code).script, language(code).family) for code in present)
    order = list(scripts)

    def key(code: str) -> tuple[int, int, int, str]:
        script, family = language(code).script, language(code).family
        return -scripts[script], order.index(script), -families[script, family], family

    return sorted(present, key=key)


def script_looks(codes: Iterable[str]) -> dict[str, Look]:
    """Look of each language by its script, titled, the same in every panel that is given the same languages.

    The scripts of most languages have looks of their own, as many as the palette has; the others share a grey.
    """
    ordered = by_script(codes)
    scripts = list(dict.fromkeys(language(code).script for code in ordered))
    looks = {
        script: Look(paint, shape, label=script_title(script))
        for script, paint, shape in zip(scripts, PALETTE, _SHAPES, strict=False)
    }
    other = Look(FAINT, "h", label=_OTHER)
    return {code: looks.get(language(code).script, other) for code in ordered}


def script_legend(figure: Figure, looks: Mapping[str, Look], *more: Line2D, lines: bool = False) -> None:
    """One legend below all axes of the scripts, then of `more` handles that have labels."""
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": "-" if lines else "none"}
    handles = {
        look.label: Line2D([], [], color=look.colour, marker="" if lines else look.marker, **edge)
        for look in looks.values()
    }
    handles |= {str(handle.get_label()): handle for handle in more}
    legend(figure, list(handles.values()), list(handles), 4)


def blocks(codes: list[str]) -> list[tuple[str, int, int]]:
    """Runs of one script in the order `by_script`: title, first and last place; of many, the small ones are one."""
    runs: list[tuple[str, int, int]] = []
    for at, code in enumerate(codes):
        title = script_title(language(code).script)
        if runs and runs[-1][0] == title:
            runs[-1] = (title, runs[-1][1], at)
        else:
            runs.append((title, at, at))
    least = 1 if len(codes) <= MOST_NAMED else max(3, len(codes) // 20)
    large = [run for run in runs if run[2] - run[1] + 1 >= least]
    rest = [run for run in runs if run not in large]
    return large + ([(_OTHER, rest[0][1], rest[-1][2])] if rest and large else rest)


def rule_off(axes: Axes, codes: list[str]) -> None:
    """White lines between the scripts of a matrix whose rows and columns are `codes`."""
    for _, first, _ in blocks(codes)[1:]:
        axes.axhline(first - 0.5, color="white", linewidth=1.4)
        axes.axvline(first - 0.5, color="white", linewidth=1.4)
