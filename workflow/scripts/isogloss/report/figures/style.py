"""One look for every figure: theme, languages' colours, markers and lines, axes and intervals.

Colour is never the only cue: a language also has its own marker, a group of languages its own line.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from isogloss.languages import in_order, language_table
from isogloss.report.wording import named
from isogloss.tables import atomic_path

WIDTH = 8.4  # inches; about 800 px, the width of the report's column
LAYER_AXIS = "decoder layer (0-based)"
STEP_AXIS = "training step (log scale)"
INK, FAINT = "#222222", "#8a8a8a"
# Okabe and Ito's colours that no language has at the same lightness, for what is not a language.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
SHAPES = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "*", "h")
_SIZES = {"*": 1.6, "d": 1.25}  # shapes that look small, by how much to enlarge them
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))


class Context(NamedTuple):
    """What a drawing must know of the study beside its tables; `settings` is the resolved config."""

    model: str  # name of the model; "" where models are compared
    settings: Mapping[str, Any]

    @property
    def reference(self) -> str:
        """Code of the reference language."""
        return self.settings["languages"]["reference"]

    @property
    def groups(self) -> dict[str, list[str]]:
        """The two groups of languages by the name under which figures show them."""
        languages = self.settings["languages"]
        return {
            "high-resource": in_order(languages["high_resource"]),
            "medium-to-low-resource": in_order(languages["medium_low_resource"]),
        }

    @property
    def languages(self) -> list[str]:
        """Every analysed language, in the order of the language table."""
        return in_order([code for codes in self.groups.values() for code in codes])

    @property
    def variant(self) -> str:
        """The variant of the group gap that the study puts first."""
        return self.settings["gap"]["variant"]

    @property
    def confidence(self) -> float:
        """Coverage of the intervals."""
        return self.settings["statistics"]["confidence"]

    @property
    def runs(self) -> Mapping[str, Any]:
        """The alignment runs by name."""
        return self.settings["alignment"]["runs"]

    def title(self, model: str) -> str:
        """How the study calls a model."""
        return self.settings["models"][model]["title"]

    def dash(self, code: str) -> Any:
        """Line of a language: solid in the high-resource group, dashed in the other."""
        return "-" if code in self.settings["languages"]["high_resource"] else (0, (5, 2))


def colour(code: str) -> str:
    """Hex colour of a language in every figure."""
    return language_table()[code].colour


def marker(code: str) -> str:
    """Marker of a language in every figure."""
    return SHAPES[list(language_table()).index(code) % len(SHAPES)]


# seaborn's theme "ticks" at 0.82 of its size, with our own colours and grid; DejaVu Sans comes with matplotlib.
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
    "font.family": "DejaVu Sans",
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


def layer_axis(axes: Axes, layers: Iterable[int]) -> None:
    """Label the x axis as decoder layers and tick whole layers that were measured."""
    present = sorted(set(layers))
    step = max(1, int(np.ceil(len(present) / 13)))
    axes.set_xticks(present[::step])
    axes.set_xlim(min(present) - 0.4, max(present) + 0.4)
    axes.set_xlabel(LAYER_AXIS)


def step_axis(axes: Axes, steps: Iterable[int]) -> None:
    """Make the x axis one of training steps: logarithmic from 1 on, linear below; ticks at steps that were measured.

    As many have a label as fit beside one another, the first and the last before the others.
    """
    present = sorted(set(steps))
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    scale = axes.xaxis.get_transform()
    places = dict(zip(present, scale.transform(np.asarray(present, float)).tolist(), strict=True))
    first, length = places[present[0]], (places[present[-1]] - places[present[0]]) or 1.0
    bounds = np.array([first - 0.05 * length, first + 1.05 * length])
    axes.set_xlim(*scale.inverted().transform(bounds))
    inches = axes.get_figure(root=True).get_size_inches()[0] * axes.get_position().width / 1.1  # pyright: ignore
    labelled: dict[int, float] = {}
    for step in [present[-1], present[0], *present]:
        at = inches * (places[step] - first) / length
        if all(abs(at - other) > 0.04 * len(f"{step:,}{taken:,}") + 0.08 for taken, other in labelled.items()):
            labelled[step] = at
    axes.set_xticks(sorted(labelled), [f"{step:,}" for step in sorted(labelled)])
    axes.set_xticks([step for step in present if step not in labelled], minor=True)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(STEP_AXIS)


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Ticks of an axis that is in percent carry the sign."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %".replace("-", "−")))


def zero_line(axes: Axes, which: str = "y") -> None:
    """Mark zero, which an interval has to exclude."""
    draw = axes.axhline if which == "y" else axes.axvline
    draw(0, color=INK, linewidth=0.9, zorder=1)


def curve(
    axes: Axes, x: Any, y: Any, low: Any = None, high: Any = None, *, colour: str, marker: str, dash: Any, label: str
) -> Line2D:
    """A line with its interval as a band, and as bars too where the points are few enough to tell apart."""
    every = max(1, len(x) // 9)
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        marker=marker,
        markersize=6.5 * _SIZES.get(marker, 1),
        linestyle=dash,
        label=label,
        markevery=every,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=3,
    )
    if low is not None:
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0, label=f"interval {label}", zorder=2)
    return line


def whiskers(
    axes: Axes,
    x: Any,
    y: Any,
    low: Any,
    high: Any,
    *,
    colour: str,
    marker: str,
    horizontal: bool = False,
    **kwargs: Any,
) -> Any:
    """Points with their intervals (given as bounds, not as lengths) as bars along y, or along x if horizontal."""
    at, value = np.asarray(x, float), np.asarray(y, float)  # None becomes NaN: nothing is drawn
    # A bound may pass the estimate by rounding; matplotlib refuses negative lengths.
    lengths = np.clip([value - np.asarray(low, float), np.asarray(high, float) - value], 0, None)
    places = {"x": value, "y": at, "xerr": lengths} if horizontal else {"x": at, "y": value, "yerr": lengths}
    looks = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.5, "elinewidth": 1.4, "capsize": 2.5}
    kwargs = looks | kwargs
    kwargs["markersize"] *= _SIZES.get(marker, 1)
    return axes.errorbar(**places, fmt=marker, color=colour, ecolor=colour, zorder=3, **kwargs)


def spot(axes: Axes, x: float | None, y: float | None, **look: Any) -> None:
    """One point without an interval; nothing where a value is not defined."""
    if x is not None and y is not None:
        axes.plot(x, y, **{"linestyle": "none", "markersize": 6} | look)


def span(axes: Axes, ends: tuple[float | None, float | None], y: float, colour: str) -> None:
    """A thin line between two values of a row; nothing where one is not defined."""
    start, end = ends
    if start is not None and end is not None:
        axes.plot([start, end], [y, y], color=colour, linewidth=1.2, zorder=2)


def language_rows(axes: Axes, codes: list[str]) -> dict[str, int]:
    """Use the y axis for languages, the first on top; returns the row of each."""
    axes.set_yticks(range(len(codes)), [named(code) for code in codes])
    axes.set_ylim(len(codes) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return {code: row for row, code in enumerate(codes)}


def divide_groups(axes: Axes, codes: list[str], context: Context) -> None:
    """Rule off the high-resource rows from the others, where both are shown."""
    high = [row for row, code in enumerate(codes) if code in context.groups["high-resource"]]
    low = [row for row, code in enumerate(codes) if code not in context.groups["high-resource"]]
    if high and low and max(high) < min(low):
        axes.axhline(max(high) + 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)


def by_group(codes: Iterable[str], context: Context) -> list[str]:
    """The codes, high-resource languages first, each group in the order of the language table."""
    present = set(codes)
    return [code for group in context.groups.values() for code in group if code in present]


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
        Line2D([], [], color=INK, linestyle=(0, (4, 2)))
        if shape == "--"
        else Line2D([], [], color=INK, linestyle="none", marker=shape, markerfacecolor=INK if filled else "white")
        for shape, filled in shapes.values()
    ]
    legend(figure, handles, list(shapes), len(handles))


def legend(figure: Figure, handles: list[Any], labels: list[str], columns: int) -> None:
    """One legend below all axes of these handles."""
    columns = min(columns, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.0, columnspacing=1.6)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG: text as outlines (no font is needed to view it), same bits each time."""
    with atomic_path(Path(path)) as aside, mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "isogloss"}):
        figure.savefig(aside, format="svg", metadata={"Date": None, "Creator": "isogloss"})
