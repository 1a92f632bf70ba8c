"""Figures of answers and transfer (paper B, sec. 2.1 and 4.1): accuracy, consistency and positive transfer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from isogloss.report.figures.axes import headed, tasks_of
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.marks import square
from isogloss.report.figures.ranking import Shown, ranking
from isogloss.report.figures.scripts import MOST_NAMED, blocks, rule_off
from isogloss.report.figures.style import INK, canvas
from isogloss.report.shared.answered import FEW, with_counts
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number

MOST_WRITTEN = 12
"""Up to so many languages, the cells of a matrix have room for their numbers."""


class _Matrix(NamedTuple):
    """What the cells of a matrix show."""

    column: str
    label: str  # of the colour bar, with the unit
    rows: str  # what the rows are, and the columns
    columns: str
    factor: float = 1
    digits: int = 2
    unit: str = ""
    symmetric: bool = False  # a pair has one value: it is shown once


def answers(tables: Tables, context: Context) -> Figure:
    """Accuracy of every language with its interval, sorted, a panel a task (the spread behind Table 1)."""
    frame = tables["answers"]
    chance = {task: 100 * chance for task, chance in frame.select("task", "chance").drop_nulls().iter_rows()}
    return ranking(frame, Shown("accuracy", "accuracy (%)", lines=chance, line_label="chance", n="n"), context)


def transfer(tables: Tables, context: Context) -> Figure:
    """Positive transfer from the row's to the column's language, a matrix a task (eq. 2, Fig. 1).

    Beside a row's language stands on how many questions it rests: those answered rightly in it.
    """
    label = "right in the row's language,\nright in the column's, too (%)"
    shown = _Matrix("positive_transfer", label, "from (n questions right in it)", "to", 100, 0, "%")
    return _matrices(with_counts(tables["transfer"], tables["answers"]), shown, context)


def consistency(tables: Tables, context: Context) -> Figure:
    """Consistency of every pair of languages, a matrix a task (eq. 1)."""
    label = "consistency (Spearman's ρ of the choices' ranks)"
    shown = _Matrix("consistency", label, "language", "language", symmetric=True)
    return _matrices(tables["transfer"].with_columns(rests_on=pl.col("n")), shown, context)


def _matrices(frame: pl.DataFrame, shown: _Matrix, context: Context) -> Figure:
    """A matrix a task, one scale for all; cells that rest on few questions are hatched."""
    if not frame.height:
        return in_words("No two languages were asked the same questions.")
    frame = frame.with_columns(pl.col(shown.column).cast(pl.Float64) * shown.factor)
    tasks = tasks_of(frame)
    codes = {task: context.ordered(frame.filter(task=task)["lang_a"]) for task in tasks}
    values = frame[shown.column].drop_nulls().to_list()
    low = min(values, default=0.0)
    norm = Normalize(low, max([*values, low + 0.01 * shown.factor]))  # of one value, too, a scale with two ends
    figure, panels = _panels([len(codes[task]) for task in tasks])
    image = None
    for task, panel in zip(tasks, panels, strict=True):
        rows = frame.filter(task=task)
        image = _matrix(panel, rows, codes[task], shown, norm)
        n = f"{len(codes[task])} languages, by script and family" if len(codes[task]) > MOST_NAMED else ""
        few = _hatch(panel, rows, codes[task])
        headed(panel, context.task(task), "; ".join(part for part in (n, _beside_chance(rows, shown)) if part))
        panel.set_ylabel(shown.rows)
        panel.set_xlabel("\n".join(part for part in (shown.columns, few) if part))
    if image is not None:
        figure.colorbar(image, ax=panels, label=shown.label, shrink=0.6, aspect=30, location="right")
    return figure


def _beside_chance(rows: pl.DataFrame, shown: _Matrix) -> str:
    """The mean over pairs, and what it would be with the questions shuffled."""
    column = f"{shown.column}_chance"
    mean, chance = rows[shown.column].mean(), rows[column].mean() if column in rows.columns else None
    if mean is None or chance is None:
        return ""
    unit = f" {shown.unit}" if shown.unit else ""
    values = [f"{number(value, shown.digits)}{unit}" for value in (mean, shown.factor * chance)]  # pyright: ignore
    return f"mean {values[0]}, questions shuffled {values[1]}"


def _hatch(panel: Axes, rows: pl.DataFrame, codes: list[str]) -> str:
    """Hatch the cells that rest on fewer than 30 questions; returns what it means, nothing where there are none."""
    few = rows.filter(pl.col("rests_on") < FEW)
    position = {code: at for at, code in enumerate(codes)}
    if few.height > MOST_NAMED**2:
        return f"{few.height:,} of {rows.height:,} cells: fewer than {FEW} questions"
    for a, b in few.select("lang_a", "lang_b").iter_rows():
        corner = (position[b] - 0.5, position[a] - 0.5)
        look = {"fill": False, "hatch": "////", "edgecolor": "white", "linewidth": 0, "alpha": 0.55}
        panel.add_patch(Rectangle(corner, 1, 1, **look))
    return f"hatched: fewer than {FEW} questions" if few.height else ""


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
    heights = [3.2 if single else 6.2 if large[row[0]] else 3.7 for row in rows]
    figure, axes = canvas(1, 1, height=0.4 + sum(heights))
    figure.set_dpi(200)  # matrices are pictures within the SVG
    axes[0, 0].remove()
    grid = figure.add_gridspec(len(rows), 2, height_ratios=heights)
    return figure, [
        figure.add_subplot(grid[down, :] if large[i] else grid[down, across])
        for down, row in enumerate(rows)
        for across, i in enumerate(row)
    ]


def _matrix(panel: Axes, rows: pl.DataFrame, codes: list[str], shown: _Matrix, norm: Normalize) -> AxesImage:
    matrix = square(rows.select("lang_a", "lang_b", shown.column).iter_rows(), codes)
    if shown.symmetric:
        matrix[np.triu_indices(len(codes))] = np.nan  # the first row and the last column are empty
    image = panel.imshow(np.ma.masked_invalid(matrix), cmap="cividis", norm=norm, interpolation="nearest")
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    counts = dict(rows.select("lang_a", "rests_on").iter_rows()) if not shown.symmetric else {}
    _name(panel, codes, counts)
    if shown.symmetric and len(codes) > 1:
        panel.set_xlim(-0.5, len(codes) - 1.5)
        panel.set_ylim(len(codes) - 0.5, 0.5)
    rule_off(panel, codes)
    if len(codes) <= MOST_WRITTEN:
        for (row, at), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                text = number(value, shown.digits).replace("0.", "." if shown.digits else "0.", 1)
                paint = "white" if norm(value) < 0.55 else INK
                halo = [withStroke(linewidth=3, foreground=image.to_rgba(value))]  # a hatch leaves it legible
                panel.text(at, row, text, ha="center", va="center", fontsize=7, color=paint, path_effects=halo)
    return image


def _name(panel: Axes, codes: list[str], counts: dict[str, int | None]) -> None:
    """Every language on both axes, with the questions that its row rests on; of many, the scripts."""
    if len(codes) <= MOST_NAMED:
        size = 8 if len(codes) <= 16 else 6
        turned = any(len(code) > 3 for code in codes) or len(codes) > 16
        labels = [code if counts.get(code) is None else f"{code}  {counts[code]:,}" for code in codes]
        panel.set_xticks(range(len(codes)), codes, fontsize=size, rotation=90 if turned else 0)
        panel.set_yticks(range(len(codes)), labels, fontsize=size)
        return
    runs = blocks(codes)
    middles = [(first + last) / 2 for _, first, last in runs]
    titles = [f"{title} ({last - first + 1})" for title, first, last in runs]
    panel.set_xticks(middles, titles, fontsize=8, rotation=40, ha="right", rotation_mode="anchor")
    panel.set_yticks(middles, titles, fontsize=8)
