"""Figure of steering where nothing chose its setting, beside the gain that the choice promised."""

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.report.figures.axes import legend, row_axis, task_panels, tasks_of, zero_line
from isogloss.report.figures.blank import in_words
from isogloss.report.figures.marks import bars, spot
from isogloss.report.figures.style import INK, PALETTE
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import VECTOR_TITLES

_MARKS = {
    "change_chosen": ("questions that chose layer and γ", "o", "white"),
    "change_judged": ("the other questions", "o", PALETTE[0]),
    "at_own": ("the other questions, where the own vectors are judged", "D", PALETTE[1]),
}


def steering_judged(tables: Tables, context: Context) -> Figure:
    """Change of accuracy by vector, mean over languages: chosen, judged, and judged in the own vectors' settings."""
    frame = tables["steering_judged"].filter(pl.col("lang").is_null())
    if not frame.height:
        return in_words("Steering was not judged.")
    vectors = [vector for vector in VECTOR_TITLES if vector in set(frame["vector"])]
    tasks = tasks_of(frame)
    height = 1.5 + 0.42 * max(3, len(vectors))
    figure, panels = task_panels(frame, context, tasks, height=height, sharey=True)
    for panel, rows in panels:
        for at, vector in enumerate(vectors):
            row = next(rows.filter(vector=vector).iter_rows(named=True), {})
            for offset, (column, (_, marker, colour)) in zip((-0.2, 0.0, 0.2), _MARKS.items(), strict=True):
                if row.get(column) is None:
                    continue
                if column == "change_chosen":
                    edge = {"markeredgecolor": INK, "markersize": 6, "zorder": 4}
                    spot(panel, 100 * row[column], at + offset, marker=marker, color=colour, **edge)
                else:
                    bars(panel, at + offset, row, column, factor=100, colour=colour, marker=marker)
        row_axis(panel, [VECTOR_TITLES[vector] for vector in vectors])
        zero_line(panel, "x")
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel("change of accuracy (points)")
    handles = [
        Line2D(
            [], [], linestyle="none", marker=marker, color=colour, markeredgecolor=INK if colour == "white" else colour
        )
        for _, marker, colour in _MARKS.values()
    ]
    legend(figure, handles, [label for label, _, _ in _MARKS.values()], 1)
    return figure
