"""Figures of the synthetic tables, drawn by the catalogue's names."""

from pathlib import Path

import polars as pl
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from isogloss.report import wanted
from isogloss.report.catalogue import FIGURES
from isogloss.report.entry import load
from isogloss.report.shared.context import Context
from synthetic import make_tables, settings
from synthetic_alignment import make_losses

REPOSITORY = Path(__file__).parents[1]
CONFIG = settings()
CONTEXT = Context("skewed", wanted.figure_settings(CONFIG))


def draw(name: str, config: dict | None = None, **changed: pl.DataFrame) -> Figure:
    config = config or CONFIG
    context = Context("skewed", wanted.figure_settings(config))
    return load(FIGURES[name].drawing)(make_tables(config, "skewed") | make_losses(config) | changed, context)


def errorbars(axes) -> list[tuple[float, float, float, str]]:
    """Estimate, low, high and colour of each horizontal error bar."""
    found = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (bars,) = container.lines
            for x, ((low, _), (high, _)) in zip(line.get_xdata(), bars.get_segments(), strict=True):
                found.append((x, low, high, to_hex(line.get_color())))
    return found


def bilingual(name: str, tables: dict[str, pl.DataFrame], languages: list[str]) -> Figure:
    config = settings()
    config["bilingual"]["languages"] = languages
    return load(FIGURES[name].drawing)(tables, Context("skewed", wanted.figure_settings(config)))
