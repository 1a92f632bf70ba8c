"""What alignment did (paper A, sec. 3.3), in sentences: what held-out features gain first, in-sample beside it."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from isogloss.report.findings.sentences import estimate_in, of_language, sign_in
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name


def alignment(tables: Tables, context: Context) -> list[str]:
    """Per run, at its target layer: what held-out features gain, what all do, in-sample, and the retention."""
    return [_run(tables["alignment_gain"], run, context) for run in context.runs]


def _run(frame: pl.DataFrame, run: str, context: Context) -> str:
    settings = context.runs[run]
    layer, aligned = settings["target_layer"], pl.col("lang").is_in(settings["languages"])
    loss = f", inactive: {settings['inactive']}" if settings["inactive"] else ""
    rows = frame.filter(aligned, run=run, layer=layer)
    where = f"{run} (target layer {layer}{loss})"
    if not len(rows.drop_nulls("gain_pct")):
        return f"{where}: no gain is defined: nothing was active there before."
    held = _gains(rows, "gain_held_out_pct", "held_out_ci", _CARRIES_OVER)
    apart = int(rows["n_features_held_out"].max() or 0)  # type: ignore[arg-type]
    unseen = f"gain of {apart} features held out of training: {held}" if held else "no gain of held-out features"
    return (
        f"{where}: {unseen}. In-sample, all {rows['n_features'].max()} features:"
        f" {_gains(rows, 'gain_pct', 'ci')}. {_retention(rows.row(0, named=True), context)}"
    )


_CARRIES_OVER = {
    1: ", so alignment carries over",
    -1: ", so they fall",
    0: ", so that alignment carries over is not shown",
}


def _gains(rows: pl.DataFrame, column: str, interval: str, verdicts: Mapping[int, str] | None = None) -> str:
    """The smallest and the largest gain of a run's languages, and what their intervals show; nothing without any."""
    defined = rows.drop_nulls(column).sort(column).to_dicts()
    if not defined:
        return ""
    first, last = (of_language(row, column, interval=interval) for row in (defined[0], defined[-1]))
    signs = [sign_in(row, interval) for row in defined]
    if len(signs) == 1:
        return f"{last}{(verdicts or {}).get(signs[0], '')}"
    return (
        f"from {first} to {last} ({signs.count(1)} of {len(signs)} languages rise, {signs.count(-1)} fall"
        " by their intervals)"
    )


def _retention(row: Mapping[str, Any], context: Context) -> str:
    """What the reference keeps, on held-out features and on all."""
    reference = name(context.reference)
    held = estimate_in(row, "retention_held_out_pct", interval="retention_held_out_ci")
    every = estimate_in(row, "retention_pct", interval="retention_ci")
    return f"{reference} retains {held} on held-out features, {every} on all."
