"""Figures of answers and transfer (paper B, sec. 2.1 and 4.1): accuracy, consistency and positive transfer."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from isogloss.report.figures.axes import headed, tasks_of
from isogloss.report.figures.marks import square
from isogloss.report.figures.ranking import Shown, ranking
from isogloss.report.figures.scripts import MOST_NAMED, blocks, rule_off
from isogloss.report.figures.style import INK, canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import TASK_TITLES, number

MOST_WRITTEN = 12
"""Up to so many languages, the cells of a matrix have room for their numbers."""


def answers(tables: Tables, context: Context) -> Figure:
    """Accuracy of every language with its interval, sorted, a panel a task (the spread behind Table 1)."""
    frame = tables["answers"]
    chance = {task: 100 * chance for task, chance in frame.select("task", "chance").drop_nulls().iter_rows()}
    return ranking(frame, Shown("accuracy", "accuracy (%)", lines=chance, line_label="chance"), context)


def transfer(tables: Tables, context: Context) -> Figure:
    """Positive transfer from the row's to the column's language, a matrix a task (eq. 2, Fig. 1)."""
    label = "right in the row's language,\nright in the column's, too (%)"
    return _matrices(tables["transfer"], context, ("positive_transfer", 100, 0), (label, "from", "to"), "%")


def consistency(tables: Tables, context: Context) -> Figure:
    """Consistency of every pair of languages, a matrix a task (eq. 1)."""
    label = "consistency (Spearman's ρ of the choices' ranks)"
    return _matrices(tables["transfer"], context, ("consistency", 1, 2), (label, "language", "language"))


def _matrices(
    frame: pl.DataFrame,
    context: Context,
    shown: tuple[str, float, int],
    labels: tuple[str, str, str],
    unit: str = "",
) -> Figure:
    """`shown`: column, factor, digits; `labels`: of the colour bar, of rows, of columns. One scale for all tasks."""
    column, factor, _ = shown
    frame = frame.with_columns(pl.col(column).cast(pl.Float64) * factor)
    tasks = tasks_of(frame)
    codes = {task: context.ordered(frame.filter(task=task)["lang_a"]) for task in tasks}
    values = frame[column].drop_nulls().to_list()
    norm = Normalize(min(values, default=0.0), max([*values, min(values, default=0.0) + 1e-9]))
    figure, panels = _panels([len(codes[task]) for task in tasks])
    image = None
    for task, panel in zip(tasks, panels, strict=True):
        image = _matrix(panel, frame.filter(task=task), codes[task], shown, norm)
        n = f"{len(codes[task])} languages, by script and family" if len(codes[task]) > MOST_NAMED else ""
        note = [part for part in (n, _beside_chance(frame.filter(task=task), shown, unit)) if part]
        headed(panel, TASK_TITLES[task], "; ".join(note))
        panel.set_ylabel(labels[1])
        panel.set_xlabel(labels[2])
    if image is not None:
        figure.colorbar(image, ax=panels, label=labels[0], shrink=0.6, aspect=30, location="right")
    return figure


def _beside_chance(rows: pl.DataFrame, shown: tuple[str, float, int], unit: str) -> str:
    """The mean over pairs, and what it would be with the questions shuffled."""
    column, factor, digits = shown
    mean, chance = rows[column].mean(), rows[f"{column}_chance"].mean()
    if mean is None or chance is None:
        return ""
    values = [f"{number(value, digits)}{' ' + unit if unit else ''}" for value in (mean, factor * chance)]  # pyright: ignore
    return f"mean {values[0]}, questions shuffled {values[1]}"


def _panels(sizes: Sequence[int]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each matrix: large ones in rows of their own, others in pairs."""
    large = [size > MOST_NAMED or len(sizes) == 1 for size in sizes]
    rows: list[list[int]] = []
    for i in range(len(sizes)):
        if rows and not large[i] and len(rows[-1]) == 1 and sizes[rows[-1][0]] <= MOST_NAMED:
            rows[-1].append(i)
        else:
            rows.append([i])
    single = len(sizes) == 1 and sizes[0] <= 4
    heights = [3.2 if single else 6.6 if large[row[0]] else 3.5 for row in rows]
    figure, axes = canvas(1, 1, height=0.4 + sum(heights))
    figure.set_dpi(200)  # matrices are pictures within the SVG
    axes[0, 0].remove()
    grid = figure.add_gridspec(len(rows), 2, height_ratios=heights)
    return figure, [
        figure.add_subplot(grid[down, :] if large[i] else grid[down, across])
        for down, row in enumerate(rows)
        for across, i in enumerate(row)
    ]


def _matrix(
    panel: Axes, rows: pl.DataFrame, codes: list[str], shown: tuple[str, float, int], norm: Normalize
) -> AxesImage:
    column, _, digits = shown
    matrix = square(rows.select("lang_a", "lang_b", column).iter_rows(), codes)
    image = panel.imshow(np.ma.masked_invalid(matrix), cmap="cividis", norm=norm, interpolation="nearest")
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    _name(panel, codes)
    rule_off(panel, codes)
    if len(codes) <= MOST_WRITTEN:
        for (row, at), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                text = number(value, digits).replace("0.", "." if digits else "0.", 1)
                paint = "white" if norm(value) < 0.55 else INK
                panel.text(at, row, text, ha="center", va="center", fontsize=7, color=paint)
    return image


def _name(panel: Axes, codes: list[str]) -> None:
    """Every language on both axes; of many, the scripts."""
    if len(codes) <= MOST_NAMED:
        size = 8 if len(codes) <= 16 else 6
        turned = any(len(code) > 3 for code in codes) or len(codes) > 16
        panel.set_xticks(range(len(codes)), codes, fontsize=size, rotation=90 if turned else 0)
        panel.set_yticks(range(len(codes)), codes, fontsize=size)
        return
    runs = blocks(codes)
    middles = [(first + last) / 2 for _, first, last in runs]
    titles = [f"{title} ({last - first + 1})" for title, first, last in runs]
    panel.set_xticks(middles, titles, fontsize=8, rotation=40, ha="right", rotation_mode="anchor")
    panel.set_yticks(middles, titles, fontsize=8)
