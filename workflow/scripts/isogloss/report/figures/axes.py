"""Axes of the figures: their units and ticks, rows of languages, titles and the legend below all axes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from isogloss.report.figures.style import DASHED, FAINT, INK, RULE, canvas
from isogloss.report.shared.context import Context
from isogloss.report.shared.wording import named

LAYER_AXIS = "decoder layer (0-based)"
STEP_AXIS = "training step (log scale)"


def tasks_of(frame: pl.DataFrame) -> list[str]:
    """The tasks of a table in its order."""
    return frame["task"].unique(maintain_order=True).to_list()


def task_panels(
    frame: pl.DataFrame, context: Context, tasks: Sequence[str] | None = None, **shape: Any
) -> tuple[Figure, list[tuple[Axes, pl.DataFrame]]]:
    """A figure with a titled panel a task side by side, and each panel with its task's rows."""
    tasks = tasks_of(frame) if tasks is None else tasks
    figure, axes = canvas(1, max(1, len(tasks)), **shape)
    for panel, task in zip(axes[0], tasks, strict=False):
        panel.set_title(task_heading(task, context, len(tasks)))
    return figure, [(panel, frame.filter(task=task)) for panel, task in zip(axes[0], tasks, strict=False)]


def task_heading(task: str, context: Context, columns: int = 1) -> str:
    """How a panel calls a task; in two lines where three or more stand side by side."""
    return context.task(task).replace(" (", "\n(" if columns > 2 else " (")


def layer_axis(axes: Axes, layers: Iterable[int], panels: int = 0) -> None:
    """Label the x axis as decoder layers and tick whole layers that were measured.

    Where so many panels stand side by side, as many are labelled as fit, the last among them.
    """
    present = sorted(set(layers))
    step = -(-len(present) * (panels or 1) // 13)
    axes.set_xticks(present[::-1][::step][::-1] if panels else present[::step])
    axes.set_xlim(min(present) - 0.4, max(present) + 0.4)
    axes.set_xlabel(LAYER_AXIS)


def step_axis(axes: Axes, steps: Iterable[int]) -> None:
    """Make the x axis one of training steps: logarithmic from 1 on, linear below; ticks at steps that were measured.

    As many have a label as fit beside one another, the first and the last before the others.
    """
    present = sorted(set(steps))
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    scale = axes.xaxis.get_transform()
    position = dict(zip(present, scale.transform(np.asarray(present, float)).tolist(), strict=True))
    first, length = position[present[0]], (position[present[-1]] - position[present[0]]) or 1.0
    bounds = np.array([first - 0.05 * length, first + 1.05 * length])
    axes.set_xlim(*scale.inverted().transform(bounds))
    inches = axes.get_figure(root=True).get_size_inches()[0] * axes.get_position().width / 1.1  # pyright: ignore
    labelled: dict[int, float] = {}
    for step in [present[-1], present[0], *present]:
        at = inches * (position[step] - first) / length
        if all(abs(at - other) > 0.04 * len(f"{step:,}{taken:,}") + 0.08 for taken, other in labelled.items()):
            labelled[step] = at
    axes.set_xticks(sorted(labelled), [f"{step:,}" for step in sorted(labelled)])
    axes.set_xticks([step for step in present if step not in labelled], minor=True)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(STEP_AXIS)


def percent_axis(axes: Axes, which: str = "y", label: str = "") -> None:
    """Ticks of an axis that is in percent carry the sign; with a label where one is given."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    if label:
        axis.set_label_text(label)
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %".replace("-", "−")))


def accuracy_axis(axes: Axes, ticks: Sequence[int] = (0, 25, 50, 75, 100)) -> None:
    """Make the x axis one of accuracies in percent."""
    percent_axis(axes, "x")
    axes.set_xlim(0, 104)
    axes.set_xticks(ticks)


def zero_line(axes: Axes, which: str = "y") -> None:
    """Mark zero, which an interval has to exclude."""
    (axes.axhline if which == "y" else axes.axvline)(0, color=INK, linewidth=0.9, zorder=1)


def dashed_line(axes: Axes, value: float, which: str = "y", **look: Any) -> None:
    """Mark a value to compare with, such as the accuracy of guessing."""
    mark = axes.axhline if which == "y" else axes.axvline
    mark(value, **{"color": INK, "linewidth": 1.1, "linestyle": DASHED, "zorder": 1} | look)


def row_axis(axes: Axes, labels: Sequence[str], **look: Any) -> None:
    """Use the y axis for labelled rows, the first on top."""
    axes.set_yticks(range(len(labels)), labels, **look)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def percent_by_layer(axes: Axes, layers: Iterable[int], label: str = "") -> None:
    """Axes of gaps in percent over layers, zero marked."""
    zero_line(axes)
    layer_axis(axes, layers)
    percent_axis(axes, label=label)


def language_rows(axes: Axes, codes: Sequence[str], context: Context, labelled: bool = True) -> dict[str, int]:
    """Use the y axis for languages, the first on top, the high-resource ones ruled off from the others, if both are.

    Returns the row of each.
    """
    row_axis(axes, [named(code) for code in codes])
    if not labelled:
        axes.set_yticklabels([])
    high = [code in context.groups.get("high-resource", ()) for code in codes]
    if 0 < sum(high) < len(codes) and all(high[: sum(high)]):
        divide(axes, sum(high))
    return {code: row for row, code in enumerate(codes)}


def divide(axes: Axes, row: int) -> None:
    """Rule off the rows from `row` on from those above."""
    axes.axhline(row - 0.5, color=FAINT, linewidth=0.8, linestyle=RULE, zorder=1)


def headed(axes: Axes, title: str, note: str = "") -> None:
    """A title with a note beneath it in plain type."""
    axes.set_title(title, pad=18 if note else None)
    if note:
        axes.text(0.0, 1.015, note, transform=axes.transAxes, fontsize=7.5, va="bottom")


def shared_legend(figure: Figure, axes: Iterable[Axes], *, columns: int) -> None:
    """One legend below all axes, without doubles and without the intervals' own entries."""
    entries: dict[str, Any] = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        entries |= {
            label: handle
            for handle, label in zip(handles, labels, strict=True)
            if label not in entries and not label.startswith("interval ")
        }
    legend(figure, list(entries.values()), list(entries), columns)


def shape_legend(figure: Figure, shapes: Mapping[str, tuple[str, bool]]) -> None:
    """A legend below all axes of what shapes mean, whatever their colour: label to (marker or dash, filled)."""
    handles = [
        Line2D([], [], color=INK, linestyle=DASHED)
        if shape == "--"
        else Line2D([], [], color=INK, linestyle="none", marker=shape, markerfacecolor=INK if filled else "white")
        for shape, filled in shapes.values()
    ]
    legend(figure, handles, list(shapes), len(handles))


def legend(figure: Figure, handles: list[Any], labels: list[str], columns: int) -> None:
    """One legend below all axes of these handles."""
    columns = min(columns, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.0, columnspacing=1.6)
