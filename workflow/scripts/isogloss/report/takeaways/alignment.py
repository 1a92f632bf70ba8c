"""What the figures of activation alignment show (paper A, sec. 2.6 and 3.3), each in a sentence."""

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign_in
from isogloss.report.shared.aligned import at_target
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import name, number
from isogloss.report.takeaways.brief import brief_in, counted, of_how_many, ranged


def alignment_gain(tables: Tables, context: Context) -> Takeaway:
    """How many languages rise on held-out features, by how much at most, and what the reference keeps."""
    frame = at_target(tables["alignment_gain"], context, "several")
    return _gains(frame, context, f"{frame['run'].n_unique()} runs" if frame["run"].n_unique() > 1 else "")


def alignment_gain_layers(tables: Tables, context: Context) -> Takeaway:
    """The same of the runs on a single language, by target layer."""
    frame = at_target(tables["alignment_gain"], context, "single")
    return _gains(frame, context, counted(frame["run"].n_unique(), "run"))


def _gains(frame: pl.DataFrame, context: Context, runs: str) -> Takeaway:
    rows = frame.filter(pl.col("lang") != context.reference).drop_nulls("gain_held_out_pct").sort("gain_held_out_pct")
    n = of_how_many([runs, ranged(rows["n_features_held_out"], "held-out feature"),
                     ranged(rows["n_features"], "feature"), ranged(rows["n_phrases"], "phrase")])  # fmt: skip
    if not rows.height:
        return Takeaway("No feature was held out, or none was active before: no gain of held-out features.", n)
    signs = [sign_in(row, "held_out_ci") for row in rows.iter_rows(named=True)]
    layers = rows["layer"].n_unique() > 1
    what = counted(
        rows.height, "layer" if layers and rows["lang"].n_unique() == 1 else "gain" if layers else "language"
    )
    best = rows.row(-1, named=True)
    where = f", layer {best['layer']}" if layers else ""
    most = f"highest: {name(best['lang'])}{where}, {number(best['gain_held_out_pct'], 0)} %"
    kept = rows["retention_held_out_pct"].drop_nulls()
    keeps = ""
    if len(kept):
        low, high = sorted((round(float(kept.min())), round(float(kept.max()))))  # type: ignore[arg-type]
        keeps = f"; {name(context.reference)} keeps {low if low == high else f'{low} to {high}'} %"
    if rows.height == 1:
        verdict = {1: "they rise", -1: "they fall", 0: "no rise is shown"}[signs[0]]
        gain = brief_in(best, "gain_held_out_pct", "%", interval="held_out_ci")
        return Takeaway(f"Held-out features change by {gain} in {name(best['lang'])}: {verdict}{keeps}.", n)
    falls = f" and fall in {signs.count(-1)}" if signs.count(-1) else ""
    return Takeaway(f"Held-out features rise in {signs.count(1) or 'none'}{falls} of {what} ({most}){keeps}.", n)


def alignment_loss(tables: Tables, context: Context) -> Takeaway:
    """By how much the loss of each run fell from the first to the last tenth of the steps."""
    falls: list[float] = []
    for run in context.runs:
        losses = tables[run].sort("step")["loss"].drop_nulls()
        tenth = max(1, len(losses) // 10)
        start, end = losses.head(tenth).mean(), losses.tail(tenth).mean()
        if start and end is not None:
            falls.append(100 * (1 - float(end) / float(start)))  # type: ignore[arg-type]
    steps = of_how_many([counted(len(context.runs), "run"),
                         ranged(pl.Series([tables[run].height for run in context.runs]), "step")])  # fmt: skip
    if not falls:
        return Takeaway("No run has a loss.", steps)
    fell = [fall for fall in falls if fall > 0]
    ends = sorted(round(fall) for fall in falls)
    by = f"{ends[0]}" if ends[0] == ends[-1] else f"{ends[0]} to {ends[-1]}"
    if len(falls) == 1:
        way = f"fell by {ends[0]}" if falls[0] > 0 else f"rose by {-ends[0]}"
        return Takeaway(f"From the first to the last tenth of the steps the loss {way} %.", steps)
    return Takeaway(
        f"From the first to the last tenth of its steps the loss fell in {len(fell)} of"
        f" {counted(len(falls), 'run')}, by {by.replace('-', '−')} %.",
        steps,
    )
