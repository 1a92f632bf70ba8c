"""Labels that stand beside what they name, kept apart from one another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from isogloss.report.figures.style import FAINT

HALO = [withStroke(linewidth=2.5, foreground="white")]
_TURNS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
_BESIDE: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "path_effects": HALO}


def end_labels(figure: Figure, axes: Axes, ends: Mapping[str, tuple[float, float, str]], size: float = 7.5) -> None:
    """Name lines at their right ends, outside the axes; `ends` gives x, y and colour by label.

    Labels of ends that lie close are moved apart, in their order, and joined to their ends. The layout must stand.
    """
    placed = [(label, *end) for label, end in ends.items() if np.isfinite(end[1])]
    if not placed:
        return
    placed.sort(key=lambda end: end[2])
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / figure.dpi
    step = 1.25 * size / 72 / inches * (high - low)
    spots = spread([end[2] for end in placed], step)
    for (label, x, y, colour), spot in zip(placed, spots, strict=True):
        moved = abs(spot - y) > 0.4 * step
        line = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3} if moved else None
        look: dict[str, Any] = {"fontsize": size, "color": colour, "va": "center", "arrowprops": line}
        position, across = (1.045 if moved else 1.015, spot), axes.get_yaxis_transform()
        axes.annotate(label, (x, y), xytext=position, textcoords=across, annotation_clip=False, **look)


def spread(wanted: Sequence[float], step: float) -> list[float]:
    """Ascending positions at least `step` apart, as near as may be to the ascending `wanted`."""
    clusters: list[list[float]] = []
    for value in wanted:
        clusters.append([value])
        while len(clusters) > 1 and _ends(clusters[-1], step)[0] < _ends(clusters[-2], step)[1] + step:
            last = clusters.pop()
            clusters[-1] += last
    return [_ends(cluster, step)[0] + step * i for cluster in clusters for i in range(len(cluster))]


def _ends(cluster: Sequence[float], step: float) -> tuple[float, float]:
    """First and last position of a cluster: `step` apart round its mean."""
    middle, half = float(np.mean(cluster)), step * (len(cluster) - 1) / 2
    return middle - half, middle + half


def free_labels(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float, str]], size: float = 7.5) -> None:
    """Write each label beside its point (x, y and colour) where no label stands yet; none where there is no room."""
    scale = figure.dpi / 72
    taken: list[tuple[np.ndarray, np.ndarray]] = []
    for label, (x, y, colour) in points.items():
        half = np.array([0.32 * size * len(label), 0.62 * size]) * scale
        spot = axes.transData.transform((x, y))
        reach = half + 4 * scale
        for turn in [(a * far, b * far) for far in (1.0, 1.8) for a, b in _TURNS]:
            centre = spot + np.array(turn) * reach
            if _free(axes, centre, half, taken):
                taken.append((centre, half))
                offset = tuple((centre - spot) / scale)
                axes.annotate(label, (x, y), xytext=offset, fontsize=size, color=colour, zorder=5, **_BESIDE)
                break


def label_points(figure: Figure, axes: Axes, x: pl.Series, y: pl.Series, labels: pl.Series) -> None:
    """Write each label beside its point at the nearest of several places that is free of points and labels."""
    spots = axes.transData.transform(np.column_stack([x, y])) if len(x) else np.empty((0, 2))
    scale = figure.dpi / 72
    half = np.array([8.0, 6.0]) * scale  # half the size of a two-letter label
    taken = [(spot, np.array([5.0, 5.0]) * scale) for spot in spots]
    for i, label in enumerate(labels):
        others = [box for j, box in enumerate(taken) if j != i]
        step = np.array([12.5, 11.0])
        tries = [spots[i] + np.array(turn) * step * reach * scale for reach in (1, 1.6, 2.3) for turn in _TURNS]
        spot = next((spot for spot in tries if _free(axes, spot, half, others)), tries[0])
        taken.append((spot, half))
        offset = (spot - spots[i]) / scale
        far = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.7} if np.hypot(*offset) > 18 else None
        axes.annotate(label, (x[i], y[i]), xytext=tuple(offset), fontsize=8.5, arrowprops=far, **_BESIDE)


def _free(axes: Axes, centre: np.ndarray, half: np.ndarray, taken: list[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether a box lies within the axes and apart from others, each given by its centre and half its size."""
    inside = np.all(axes.bbox.min + half < centre) and np.all(centre < axes.bbox.max - half)
    return bool(inside) and all(np.any(np.abs(centre - other) > half + extent) for other, extent in taken)
