"""No empty picture: a panel in which nothing is drawn says so in words."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from isogloss.report.figures.style import INK, canvas


def in_words(why: str) -> Figure:
    """A figure that has nothing to draw, and says why."""
    figure, axes = canvas(height=1.2)
    axes[0, 0].set_axis_off()
    _write(axes[0, 0], why)
    return figure


def fill_blanks(figure: Figure) -> None:
    """Write `not defined` into each panel that has axes but neither a finite value nor words in it."""
    for axes in figure.axes:
        shown = axes.get_visible() and axes.get_label() != "<colorbar>" and axes.axison
        if shown and not axes.texts and not _drawn(axes):
            _write(axes, "not defined")


def _write(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=INK)


def _drawn(axes: Axes) -> bool:
    """Whether any value stands in a panel; lines across it, as at zero, are none."""
    parts = [line.get_xydata() for line in axes.lines if line.get_transform() is axes.transData]
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            parts.append(np.ma.filled(collection.get_offsets(), np.nan))
        else:
            parts += [path.vertices for path in collection.get_paths()]
    parts += [[bar.get_x(), bar.get_height()] for bar in axes.patches if isinstance(bar, Rectangle)]
    parts += [np.ma.filled(np.ma.asarray(image.get_array(), float).reshape(-1, 1), np.nan) for image in axes.images]
    return any(np.isfinite(np.atleast_2d(np.asarray(part, float))).all(axis=1).any() for part in parts if np.size(part))
