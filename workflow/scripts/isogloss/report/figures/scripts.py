"""Scripts in figures: their names, looks of languages by script, and blocks of a script in matrices."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.languages import language
from isogloss.report.figures.axes import legend
from isogloss.report.figures.style import Look
from isogloss.report.shared.context import Context
from isogloss.report.shared.means import over_languages
from isogloss.report.shared.order import by_script as by_script
from isogloss.report.shared.palette import rare, script_look, tells_script

MOST_NAMED = 40
"""Up to so many languages, a matrix names each; of more, it names the scripts."""

_INK = "#555555"  # of shapes whose colour says something else
OTHER_SCRIPTS = "other scripts"
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


def script_looks(codes: Iterable[str], context: Context) -> dict[str, Look]:
    """Look of each language where its script is shown, titled with the script, in the one order.

    The shape is the script's. The colour is the language's own; of more languages than have one, the script's.
    """
    looks: dict[str, Look] = {}
    for code in context.ordered(codes):
        script = language(code).script
        title = OTHER_SCRIPTS if rare(script, context.shown) else script_title(script)
        looks[code] = Look(*script_look(code, context), label=title)
    return looks


def pooled_by_script(frame: pl.DataFrame, measures: Mapping[str, str], context: Context, *by: str) -> pl.DataFrame:
    """Means of columns over the languages of a script, whose title and number of languages are in `lang`.

    `measures` gives of each column what its interval begins with; Student's, over languages. Columns: those of `by`,
    `lang`, and of each measure {column}, {interval}_low and {interval}_high.
    """
    titles = {code: look.label for code, look in script_looks(frame["lang"], context).items()}
    counted = {title: f"{title} ({n})" for title, n in Counter(titles.values()).items()}
    order = list(dict.fromkeys(counted[title] for title in titles.values()))
    frame = frame.with_columns(pl.col("lang").replace_strict({code: counted[title] for code, title in titles.items()}))
    keys = [*by, "lang"]
    pooled = frame.select(keys).unique(maintain_order=True)
    for column, interval in measures.items():
        means = over_languages(frame, column, context.confidence, keys).drop("n")
        ends = {"mean": column, "low": f"{interval}_low", "high": f"{interval}_high"}
        pooled = pooled.join(means.rename(ends), on=keys, how="left", maintain_order="left")
    return pooled.sort(pl.col("lang").cast(pl.Enum(order)), maintain_order=True)


def script_legend(figure: Figure, looks: Mapping[str, Look], *more: Line2D, lines: bool = False) -> None:
    """One legend below all axes of the scripts, then of `more` handles that have labels.

    Lines have no shapes: where colour tells languages, not scripts, these are left out.
    """
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": "-" if lines else "none"}
    distinct = all(tells_script(look.colour) for look in looks.values())
    handles = {
        look.label: Line2D([], [], color=look.colour if distinct else _INK, marker="" if lines else look.marker, **edge)
        for look in looks.values()
        if distinct or not lines
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
    return large + ([(OTHER_SCRIPTS, rest[0][1], rest[-1][2])] if rest and large else rest)


def rule_off(axes: Axes, codes: list[str]) -> None:
    """White lines between the scripts of a matrix whose rows and columns are `codes`."""
    for _, first, _ in blocks(codes)[1:]:
        axes.axhline(first - 0.5, color="white", linewidth=1.4)
        axes.axvline(first - 0.5, color="white", linewidth=1.4)
