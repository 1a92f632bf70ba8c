"""What the figure of the causal test shows, in one sentence."""

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign_in
from isogloss.report.shared.ablated import METHOD_TITLES
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.wording import listed
from isogloss.report.takeaways.brief import brief_in, counted, of_how_many, ranged, sentence


def ablation(tables: Tables, _: Context) -> Takeaway:
    """By which methods a language's features matter to its own loss more than to the others', beyond random ones."""
    summary = tables["ablation_summary"]
    means = summary.filter(pl.col("ablated").is_null()).to_dicts()
    n = of_how_many(
        [
            ranged(summary.filter(pl.col("ablated").is_null())["n_languages"], "language"),
            ranged(summary["n_texts"], "text"),
            f"layer {summary['layer'][0]}",
        ]
    )
    measured = [row for row in means if row["difference"] is not None]
    if not measured:
        return Takeaway("No language has features by any method, so nothing was ablated.", n)
    against = "beyond_random" if all(row["beyond_random"] is not None for row in measured) else "difference"
    interval = "beyond_random" if against == "beyond_random" else "ci"
    shown = [row for row in measured if sign_in(row, interval) > 0]
    parts = [f"{METHOD_TITLES[row['method']]} {brief_in(row, against, interval=interval)}" for row in shown or measured]
    beyond = ", beyond random features" if against == "beyond_random" else ""
    what = f"a language's features matter more to its own loss than to the others'{beyond},"
    if shown:
        text = f"{what} if chosen by {listed(parts)} nats a token ({len(shown)} of {counted(len(means), 'method')})"
    else:
        text = f"it is not shown that {what} by any method: {listed(parts)} nats a token"
    return Takeaway(sentence(text), n)
