"""One look for every figure: theme and canvas, lines of languages, files. Colours stand in `report.shared.palette`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from isogloss.report.shared.classes import LOOKS, ClassLook
from isogloss.report.shared.context import Context
from isogloss.report.shared.palette import PALETTE, SHAPES, colour, marker, model_look
from isogloss.report.shared.wording import named
from isogloss.tables import atomic_path

__all__ = ["PALETTE", "SHAPES", "colour", "marker", "model_look"]  # figures take them from here, with the rest

WIDTH = 8.4  # inches; about 800 px, the width of the report's column
INK, FAINT = "#222222", "#767676"
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
RULE = (0, (2, 2))  # divides rows
DASHED = (0, (4, 2))  # what others are compared with: chance, every feature


class Look(NamedTuple):
    """How a line or points are drawn; `_asdict()` gives the arguments of `curve`."""

    colour: str
    marker: str
    dash: Any = "-"
    label: str = ""


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
    """Colour of each layer: viridis (as in paper C) as far as its contrast with white is 3 : 1, dark at the bottom."""
    present = sorted(set(layers))
    ramp = colormaps["viridis"]
    depths = np.linspace(0, 0.59, len(present)) if len(present) > 1 else [0.45]
    return {layer: to_hex(ramp(depth)) for layer, depth in zip(present, depths, strict=True)}


def spaced(items: Sequence[int], most: int) -> list[int]:
    """The items, or of more than `most` so many that lie evenly from the first to the last."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int))
    return [items[at] for at in chosen]


# seaborn's theme "ticks" at 0.82 of its size, with our own colours and grid. DejaVu Sans comes with matplotlib, which
# measures text by it; a viewer without it has Verdana, of the same widths, or another font of its own.
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
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Geneva", "Arial"],
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
    "text.parse_math": False,  # a title may have dollar signs
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


def save(figure: Figure, path: str | Path, picture: str | Path) -> None:
    """Write a figure as SVG, text as text, and as PNG at 200 dots an inch; the same bits each time."""
    with atomic_path(Path(path)) as aside, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "isogloss"}):
        figure.savefig(aside, format="svg", metadata={"Date": None, "Creator": "isogloss"})
    with atomic_path(Path(picture)) as aside:
        figure.savefig(aside, format="png", dpi=200, metadata={"Software": None})
