"""The rows of the table of gains that figures and sentences show: at the layer that a run aligned."""

import polars as pl

from isogloss.report.shared.context import Context
from isogloss.report.wanted import runs_for


def at_target(frame: pl.DataFrame, context: Context, kind: str) -> pl.DataFrame:
    """The rows of a kind's runs at each run's target layer, for the languages that it aligned and the reference."""
    aligned = [
        (run, context.runs[run]["target_layer"], code)
        for run in runs_for(context.settings, kind)
        for code in [context.reference, *context.runs[run]["languages"]]
    ]
    keys = {"run": pl.String, "layer": frame["layer"].dtype, "lang": pl.String}
    return pl.DataFrame(aligned, schema=keys, orient="row").join(frame, on=list(keys), maintain_order="left")
