"""Figure of the causal test: what the ablation of a language's features does to the loss of every language."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isogloss.report.figures.marks import square
from isogloss.report.figures.style import FAINT, INK, canvas
from isogloss.report.shared.ablated import METHOD_TITLES
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import number

MOST_WRITTEN = 6  # languages up to which cells have room for numbers
_COLOURS = "PuOr_r"
_ROWS = {
    "language": "language whose features are off",
    "random": "language whose features the\nrandom ones off are matched to",
}


def ablation(tables: Tables, context: Context) -> Figure:
    """Change of loss, ablated language by measured language, a column a method; below it random features.

    Dots mark changes whose interval excludes zero. A language without features by a method has an empty row.
    """
    frame = tables["ablation"]
    codes = context.by_group(frame["lang"])
    methods = [method for method in METHOD_TITLES if method in set(frame["method"])]
    size = min(3.4, 6.0 / len(methods))
    figure, axes = canvas(len(_ROWS), len(methods), height=0.7 + len(_ROWS) * (size + 0.4))
    changes = frame.group_by("method", "features", "ablated", "lang", maintain_order=True).agg(
        pl.col("change", "ci_low", "ci_high").mean()
    )
    largest = changes["change"].abs().max()
    norm = Normalize(-(largest or 1.0), largest or 1.0)  # pyright: ignore[reportOperatorIssue, reportArgumentType]
    for row, (features, title) in enumerate(_ROWS.items()):
        for panel, method in zip(axes[row], methods, strict=True):
            _matrix(panel, changes.filter(method=method, features=features), codes, norm, features == "language")
            panel.set_title(METHOD_TITLES[method] if row == 0 else "", fontsize="small")
            panel.set_xlabel("loss measured in" if row else "")
        axes[row, 0].set_ylabel(title)
    figure.colorbar(ScalarMappable(norm, _COLOURS), ax=axes, label="change of loss (nats a token)", shrink=0.6)
    return figure


def _matrix(panel: Axes, rows: pl.DataFrame, codes: Sequence[str], norm: Normalize, dots: bool) -> None:
    values = square(rows.select("ablated", "lang", "change").drop_nulls().iter_rows(), codes)
    panel.imshow(np.ma.masked_invalid(values), norm=norm, cmap=_COLOURS)
    panel.grid(visible=False)
    panel.set_xticks(range(len(codes)), codes)
    panel.set_yticks(range(len(codes)), codes)
    panel.tick_params(length=0)
    empty = np.isnan(values).all(axis=1)
    if empty.all():
        middle = (len(codes) - 1) / 2
        panel.text(middle, middle, "no language has\nfeatures", ha="center", va="center", color=FAINT)
    else:
        for at in np.flatnonzero(empty).tolist():
            panel.text((len(codes) - 1) / 2, at, "no features", ha="center", va="center", color=FAINT, fontsize=7)
    if len(codes) <= MOST_WRITTEN:
        for (ablated, lang), value in np.ndenumerate(values):
            if not np.isnan(value):
                dark = abs(norm(value) - 0.5) > 0.35
                panel.text(
                    lang, ablated, number(value, 2), ha="center", va="center", fontsize=7, color="w" if dark else INK
                )
    elif dots:
        apart = rows.drop_nulls("ci_low").filter((pl.col("ci_low") > 0) | (pl.col("ci_high") < 0))
        places = {code: at for at, code in enumerate(codes)}
        for ablated, lang in apart.select("ablated", "lang").iter_rows():
            panel.plot(places[lang], places[ablated], marker=".", color=INK, markersize=3, linestyle="none")
