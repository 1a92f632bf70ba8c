"""Figure of the toy world's latent measures by where a fact was taught."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isogloss.languages import in_order
from isogloss.report.figures.axes import accuracy_axis, headed, language_rows, legend, tasks_of, zero_line
from isogloss.report.figures.marks import bars
from isogloss.report.figures.style import FAINT, PALETTE, canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import TASK_TITLES, signed

MEASURES = {
    "accuracy": ("accuracy (%)", 100),
    "consistency": ("consistency with\nthe reference (ρ)", 1),
    "positive_transfer": ("transfer from\nthe reference (%)", 100),
    "log_ratio": ("log ratio, native to\nreference (nats a token)", 1),
    "steered_accuracy_change": ("change of accuracy\nwhen steered (points)", 100),
}
TAUGHT = {
    "all": ("taught in every language", "o", PALETTE[0]),
    "reference": ("in the reference only", "s", PALETTE[1]),
    "none": ("in no language", "X", FAINT),
}


def latent_by_teaching(tables: Tables, context: Context) -> Figure:
    """Accuracy, consistency, transfer, log ratio and steering's change by language and where the fact was taught."""
    frame = tables["latent_by_teaching"]
    tasks = tasks_of(frame)
    shown = {
        column: measure
        for column, measure in MEASURES.items()
        if column == "accuracy" or (column in frame.columns and frame[column].drop_nulls().len())
    }
    codes = context.by_group(frame["lang"])
    codes += in_order([code for code in set(frame["lang"]) if code not in codes])
    down, across = -(-len(shown) // 3), min(3, max(1, len(shown)))
    rows = max(1, down * len(tasks))
    figure, axes = canvas(rows, across, height=0.7 + rows * (0.85 + 0.3 * max(3, len(codes))))
    for block, task in enumerate(tasks):
        panels = list(axes[block * down : (block + 1) * down].flat)
        for i, (panel, (column, (label, factor))) in enumerate(zip(panels, shown.items(), strict=False)):
            _panel(panel, frame.filter(task=task), column, factor, codes)
            language_rows(panel, codes, context, labelled=not i % across)
            panel.set_xlabel(label)
        headed(panels[0], TASK_TITLES[task] if len(tasks) > 1 else "")
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
    steered = frame.drop_nulls(["steered_accuracy_change", "layer", "gamma"]) if "layer" in frame.columns else frame[:0]
    if steered.height:
        setting = steered.row(0, named=True)
        panel = axes.flat[list(shown).index("steered_accuracy_change")]
        headed(panel, "", f"layer {setting['layer']}, γ = {signed(setting['gamma'])}")
    handles = [
        Line2D([], [], linestyle="none", marker=shape, color=paint, markeredgecolor="white", markeredgewidth=0.5)
        for _, shape, paint in TAUGHT.values()
    ]
    legend(figure, handles, [label for label, _, _ in TAUGHT.values()], len(TAUGHT))
    return figure


def _panel(panel: Axes, rows: pl.DataFrame, column: str, factor: float, codes: list[str]) -> None:
    present = [taught for taught in TAUGHT if taught in set(rows["taught"])]
    for i, taught in enumerate(present):
        _, shape, paint = TAUGHT[taught]
        defined = rows.filter(taught=taught).drop_nulls(column)
        at = [codes.index(code) + 0.24 * (i - (len(present) - 1) / 2) for code in defined["lang"]]
        if at:
            bars(panel, at, defined, column, factor=factor, colour=paint, marker=shape, markersize=5)
    if column in ("log_ratio", "steered_accuracy_change"):
        zero_line(panel, "x")
    elif factor == 100:
        accuracy_axis(panel, (0, 50, 100))
        return
    panel.locator_params(axis="x", nbins=4)
