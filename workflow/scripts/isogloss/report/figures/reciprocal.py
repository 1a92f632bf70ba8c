"""Figure of the gap chosen both ways: in the reference, in each other language, and what is left of it."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isogloss.report.figures.axes import layer_axis, percent_axis, shared_legend, zero_line
from isogloss.report.figures.looks import MOST_OWN
from isogloss.report.figures.marks import curve, estimates
from isogloss.report.figures.scripts import pooled_by_script
from isogloss.report.figures.style import DASHES, FAINT, INK, PALETTE, Look, canvas
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, named


def reciprocal_gap(tables: Tables, context: Context) -> Figure:
    """Both gaps by layer, a panel a language, the one that it chose drawn downwards; midway the symmetric one.

    Of more languages than have looks of their own a panel is a script, with means over its languages.
    """
    frame = tables["reciprocal_gap"].sort("layer")
    codes = context.by_group(frame["lang"])
    titles = {code: named(code) for code in codes}
    if len(codes) > MOST_OWN:
        frame = by_script(frame, context, "layer")
        titles = {
            title: title if title.endswith("(1)") else title.replace(")", " languages)")
            for title in frame["lang"].unique(maintain_order=True)
        }
        codes = list(titles)
    columns = 2 if len(codes) in (2, 4) else min(len(codes), 3)
    rows = -(-len(codes) // columns)
    figure, axes = canvas(rows, columns, height=1.5 + 1.95 * rows, sharex=True, sharey=True)
    for panel in axes.flat[len(codes) :]:
        panel.set_visible(False)
    for number, (panel, code) in enumerate(zip(axes.flat, codes, strict=False)):
        panel.set_title(titles[code])
        _both_ways(panel, frame.filter(lang=code), name(context.reference))
        layer_axis(panel, frame["layer"], columns)
        lowest = number + columns >= len(codes)
        panel.xaxis.set_tick_params(labelbottom=lowest)
        if not lowest:
            panel.set_xlabel("")
    figure.supylabel(
        f"gap (%):  ←  {name(context.reference)} is weaker        the language is weaker  →", fontsize=9.84
    )
    shared_legend(figure, [axes[0, 0]], columns=2)
    return figure


def by_script(frame: pl.DataFrame, context: Context, *by: str) -> pl.DataFrame:
    """The table reciprocal_gap with scripts in place of languages."""
    columns = [f"{name}_pct" for name in ("gap_from_reference", "gap_from_lang", "symmetric_gap", "ceiling", "floor")]
    measures = {column: f"{column.removesuffix('_pct')}_ci" for column in columns if column in frame.columns}
    return pooled_by_script(frame, measures, context, *by)


def _both_ways(panel: Axes, rows: pl.DataFrame, reference: str) -> None:
    """The gaps of one language, and the bounds that a perfect translation keeps within."""
    looks = {
        "gap_from_reference": (1, Look(PALETTE[0], "o", "-", f"features and texts chosen in {reference}")),
        "gap_from_lang": (-1, Look(PALETTE[1], "s", DASHES[1], "chosen in the language")),
        "symmetric_gap": (1, Look(INK, "D", "-", "half the difference: the symmetric gap")),
    }
    zero_line(panel)
    for measure, (side, look) in looks.items():
        values = estimates(rows, f"{measure}_pct", f"{measure}_ci", side)
        curve(panel, rows["layer"], *values, **look._asdict())
    bounds = {
        "ceiling_pct": ((0, (1, 1.5)), f"ceiling: another wording in {reference}"),
        "floor_pct": ((0, (6, 2)), "floor: the language reads another text"),
    }
    for column, (dash, label) in bounds.items():
        if rows[column].drop_nulls().len():
            panel.plot(rows["layer"], rows[column], color=FAINT, linestyle=dash, label=label, zorder=2)
    percent_axis(panel)
