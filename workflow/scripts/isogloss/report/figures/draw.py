"""The stage that draws a figure of the catalogue from its tables, under its title and what it shows."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.collections import PolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from isogloss.report.entry import Takeaway, load
from isogloss.report.figures.blank import fill_blanks
from isogloss.report.figures.style import INK, save
from isogloss.report.shared.context import Context
from isogloss.tables import read_table

_TITLE, _TEXT, _SMALL = 12.5, 9.8, 8.2  # points
HEADER = "header-"
"""What the id of each line above the axes begins with; the height of them all follows, in points."""
_LONGEST = 400  # characters of what stands above a figure, so that it never takes the figure's room


def figure(
    *,
    tables: Sequence[str],
    output: str,
    picture: str,
    drawing: str,
    title: str,
    takeaway: str,
    model: str,
    settings: Mapping[str, Any],
) -> None:
    """Draw a figure of `model` ("" where models are compared) from its tables: an SVG at `output`, a PNG at `picture`.

    `drawing`, `title` and `takeaway` are its entry's, `tables` are paths results/{model}/tables/{table}.parquet or
    results/{model}/alignment/{run}.parquet.
    """
    paths = [Path(path) for path in tables]
    frames = {path.stem if model else f"{path.parts[-3]}/{path.stem}": read_table(path) for path in paths}
    context = Context(model=model, settings=settings)
    drawn = load(drawing)(frames, context)
    said = load(takeaway)(frames, context) if takeaway else Takeaway("")
    fill_blanks(drawn)
    headed(drawn, title, said, context)
    save(drawn, output, picture)


def headed(figure: Figure, title: str, said: Takeaway, context: Context) -> Figure:
    """Put title, takeaway, model, n and coverage of the intervals above all axes, in room of their own.

    The axes keep their sizes, so that what was placed beside points stays there.
    """
    width, height = figure.get_size_inches()
    models = [context.model] if context.model else list(context.settings["models"])
    interval = f"{100 * context.confidence:g} % intervals" if _has_intervals(figure) or "[" in said.text else ""
    who = context.title(models[0]) if len(models) == 1 else f"{len(models)} models"
    below = " · ".join(part for part in (who, said.n, interval) if part)
    blocks = [(title, _TITLE, "bold", INK), (said.text, _TEXT, "normal", INK), (below, _SMALL, "normal", "#555555")]
    lines: list[tuple[str, float, str, str]] = []
    for text, size, weight, paint in blocks:
        # A character of DejaVu Sans is about 0.54 em wide, a bold one 0.62.
        fits = int((width - 0.2) * 72 / (size * (0.66 if weight == "bold" else 0.56)))
        shown = textwrap.shorten(text, _LONGEST, placeholder=" …") if len(text) > _LONGEST else text
        lines += [(line, size, weight, paint) for line in textwrap.wrap(shown, fits)]
    room = sum(1.32 * size for _, size, _, _ in lines) / 72 + 0.16
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, height / (height + room)))  # pyright: ignore[reportCallIssue]
    at = height + room - 0.08
    for line, size, weight, paint in lines:
        look: dict[str, Any] = {
            "fontsize": size,
            "fontweight": weight,
            "color": paint,
            "va": "top",
            "parse_math": False,
        }
        # The page has these words beside the picture and cuts them off there by this name (page.markup.headless).
        figure.text(0.08 / width, at / (height + room), line, in_layout=False, gid=f"{HEADER}{72 * room:.1f}", **look)
        at -= 1.32 * size / 72
    return figure


def _has_intervals(figure: Figure) -> bool:
    """Whether anything is drawn with its interval: a band, or bars."""
    return any(
        any(isinstance(one, ErrorbarContainer) for one in axes.containers)
        or any(isinstance(one, PolyCollection) for one in axes.collections)
        for axes in figure.axes
    )
