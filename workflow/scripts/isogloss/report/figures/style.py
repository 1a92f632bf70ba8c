"""One look for every figure: theme, palette, languages' colours, markers and lines.

Colour is never the only cue: a language also has its own marker, a group of languages its own line.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from isogloss.languages import language, language_table
from isogloss.report.shared.classes import LOOKS, ClassLook
from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import named
from isogloss.tables import atomic_path

WIDTH = 8.4  # inches; about 800 px, the width of the report's column
INK, FAINT = "#222222", "#8a8a8a"
# Okabe and Ito's colours that no language has at the same lightness, for what is not a language.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
SHAPES = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "*", "h")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
RULE = (0, (2, 2))  # divides rows
DASHED = (0, (4, 2))  # what others are compared with: chance, every feature


class Look(NamedTuple):
    """How a line or points are drawn; `_asdict()` gives the arguments of `curve`."""

    colour: str
    marker: str
    dash: Any = "-"
    label: str = ""


@cache
def language_looks(codes: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each language, no two the same: its own, or where taken the next marker, the next colour."""
    order = list(language_table())
    colours = list(dict.fromkeys(row.colour for row in language_table().values()))
    taken: dict[tuple[str, str], str] = {}
    for code in codes:
        own, first = language(code).colour, order.index(code) if code in order else sum(code.encode())
        shapes = [SHAPES[(first + step) % len(SHAPES)] for step in range(len(SHAPES))]
        looks = ((paint, shape) for paint in (own, *colours) for shape in shapes)
        taken[next((look for look in looks if look not in taken), (own, shapes[0]))] = code
    return {code: look for look, code in taken.items()}


def colour(code: str, context: Context) -> str:
    """Hex colour of a language in every figure of a study."""
    return _look(code, context)[0]


def marker(code: str, context: Context) -> str:
    """Marker of a language in every figure of a study."""
    return _look(code, context)[1]


def _look(code: str, context: Context) -> tuple[str, str]:
    return language_looks((*context.shown, *({code} - {*context.shown})))[code]


def language_look(code: str, context: Context) -> dict[str, Any]:
    """Colour and marker of a language, as arguments of `curve` and `whiskers`."""
    return {"colour": colour(code, context), "marker": marker(code, context)}


def language_line(code: str, context: Context) -> dict[str, Any]:
    """Look and label of a language, as arguments of `curve`: dashed in the medium-to-low-resource group, else solid."""
    low = code in context.settings["languages"]["medium_low_resource"]
    return {**language_look(code, context), "dash": DASHES[1] if low else "-", "label": named(code)}


def class_look(code: str, context: Context) -> ClassLook:
    """Colour and marker of a class of features."""
    return LOOKS.get(code) or ClassLook(**language_look(code, context))


def depth_colours(layers: Iterable[int]) -> dict[int, str]:
    """Colour of each layer: viridis without its palest end (as in paper C), dark at the bottom of the model."""
    present = sorted(set(layers))
    ramp = colormaps["viridis"]
    depths = np.linspace(0, 0.88, len(present)) if len(present) > 1 else [0.45]
    return {layer: to_hex(ramp(depth)) for layer, depth in zip(present, depths, strict=True)}


def spaced(items: Sequence[int], most: int) -> list[int]:
    """The items, or of more than `most` so many that lie evenly from the first to the last."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int))
    return [items[at] for at in chosen]


# seaborn's theme "ticks" at 0.82 of its size, with our own colours and grid; DejaVu Sans comes with matplotlib.
THEME: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.84,
    "axes.linewidth": 1.25,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 9.84,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9.02,
    "legend.frameon": False,
    "legend.title_fontsize": 9.84,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "text.color": ".15",
    "xtick.color": INK,
    "xtick.labelsize": 9.02,
    "xtick.major.size": 6,
    "xtick.major.width": 1.25,
    "ytick.color": INK,
    "ytick.labelsize": 9.02,
    "ytick.major.size": 6,
    "ytick.major.width": 1.25,
}


def canvas(
    rows: int = 1, columns: int = 1, *, height: float, width: float = WIDTH, **kwargs: Any
) -> tuple[Figure, Any]:
    """A figure in the project's theme with a grid of axes (always two-dimensional); sizes in inches.

    The figure is not registered with pyplot: nothing stays behind in a long process.
    """
    mpl.rcParams.update(THEME)  # pyright: ignore[reportArgumentType, reportCallIssue]
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03))
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG: text as outlines (no font is needed to view it), same bits each time."""
    with atomic_path(Path(path)) as aside, mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "isogloss"}):
        figure.savefig(aside, format="svg", metadata={"Date": None, "Creator": "isogloss"})
