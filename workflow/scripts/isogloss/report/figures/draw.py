"""The stage that draws a figure of the catalogue from its tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isogloss.report.entry import load
from isogloss.report.figures.style import save
from isogloss.report.shared.context import Context
from isogloss.tables import read_table


def figure(*, tables: Sequence[str], output: str, drawing: str, model: str, settings: Mapping[str, Any]) -> None:
    """Draw a figure of `model` ("" where models are compared) from its tables into an SVG at `output`.

    `drawing` is its entry's, `tables` are paths results/{model}/tables/{table}.parquet or
    results/{model}/alignment/{run}.parquet.
    """
    paths = [Path(path) for path in tables]
    frames = {path.stem if model else f"{path.parts[-3]}/{path.stem}": read_table(path) for path in paths}
    save(load(drawing)(frames, Context(model=model, settings=settings)), output)
