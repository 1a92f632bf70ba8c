"""What the page over all models reads: every model's tables, and those that compare models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isogloss.report.entry import Entry
from isogloss.report.shared.context import Context, Tables
from isogloss.tables import read_table

COMPARISON = "comparison"  # the folder of results/ of what compares models; no model may be called so


class Study(NamedTuple):
    """The tables of a study, by model and name, and its resolved configuration."""

    settings: Mapping[str, Any]
    tables: Mapping[str, Tables]  # by model, as results/{model}/tables/{name}.parquet
    compared: Tables  # as results/comparison/tables/{name}.parquet
    losses: Mapping[str, Tables]  # by model and alignment run

    def context(self, model: str = "") -> Context:
        """What figures and sentences on a model must know; "" where models are compared."""
        return Context(model, self.settings)

    def title(self, model: str) -> str:
        """How the study calls a model."""
        return self.settings["models"][model]["title"]

    def having(self, *names: str) -> list[str]:
        """The models, in the study's order, that have all of these tables, none of them without a row."""
        return [
            model
            for model, frames in self.tables.items()
            if all(name in frames and frames[name].height for name in names)
        ]

    def control(self, model: str) -> str:
        """The model in which nothing was planted that `model` is held against, if it was measured; else ""."""
        control = self.settings["models"][model].get("control") or ""
        return control if control in self.tables else ""

    def of_entry(self, entry: Entry, model: str) -> Tables | None:
        """The tables of an entry under the names that its drawing reads; None where the study lacks one."""
        if entry.loss:
            return self.losses.get(model) or None
        frames = self.tables.get(model, {}) if model else self.compared
        if not all(name in frames for name in entry.tables):
            return None
        return {name if model else f"{COMPARISON}/{name}": frames[name] for name in entry.tables}


def banner_kind(settings: Mapping[str, Any]) -> str:
    """`synthetic` where every model was trained here on the toy world, `real` where none was, else `both`."""
    toys = [model["kind"] == "toy" for model in settings["models"].values()]
    return "synthetic" if all(toys) else "both" if any(toys) else "real"


def read_study(paths: Sequence[str], settings: Mapping[str, Any]) -> Study:
    """The study of the tables results/{model}/tables/{name}.parquet and results/{model}/alignment/{run}.parquet."""
    tables: dict[str, dict[str, Any]] = {model: {} for model in (*settings["models"], COMPARISON)}
    losses: dict[str, dict[str, Any]] = {model: {} for model in settings["models"]}
    for path in map(Path, paths):
        model, folder = path.parts[-3:-1]
        (losses if folder == "alignment" else tables)[model][path.stem] = read_table(path)
    compared = tables.pop(COMPARISON)
    return Study(settings, tables, compared, losses)
