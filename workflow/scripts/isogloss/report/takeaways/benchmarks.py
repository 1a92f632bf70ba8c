"""What the figures of the benchmarks show (paper A, sec. 2.3), each in a sentence."""

import polars as pl

from isogloss.report.entry import Takeaway
from isogloss.report.findings.sentences import sign, sign_in, significant
from isogloss.report.shared.context import Context, Tables
from isogloss.report.shared.teaching import transfers
from isogloss.report.shared.within import within_scripts
from isogloss.report.shared.wording import name, number
from isogloss.report.takeaways.brief import brief, brief_in, counted, of_how_many, ranged


def accuracy(tables: Tables, _: Context) -> Takeaway:
    """Who is right most and least often, and how many accuracies lie above guessing."""
    base = tables["accuracy"].filter(adapter="base").drop_nulls("accuracy")
    n = of_how_many([counted(base["lang"].n_unique(), "language"), counted(base["task"].n_unique(), "task"),
                     f"{ranged(base['n'], 'question')} each"])  # fmt: skip
    if not base.height:
        return Takeaway("No question was asked.", "")
    means = base.group_by("lang", maintain_order=True).agg(pl.col("accuracy").mean()).sort("accuracy")
    above = base.filter(pl.col("ci_low") > pl.col("chance")).height
    ends = [f"{name(row['lang'])} ({number(100 * row['accuracy'], 0)} %)" for row in means.iter_rows(named=True)]
    over = f", mean of {tasks} tasks" if (tasks := base["task"].n_unique()) > 1 else ""
    said = f"Right most often{over}: {ends[-1]}; least: {ends[0]}." if len(ends) > 1 else f"{ends[0]} alone was asked."
    of = f"all {base.height}" if above == base.height else f"{above or 'none'} of {base.height}"
    return Takeaway(f"{said} {of[0].upper()}{of[1:]} accuracies lie above guessing by their intervals.", n)


def accuracy_change(tables: Tables, context: Context) -> Takeaway:
    """How many comparisons with the base model hold after correction."""
    rows = tables["accuracy"].filter(pl.col("adapter") != "base").drop_nulls("difference").sort("difference")
    n = of_how_many([counted(rows["adapter"].n_unique(), "run"), counted(rows["lang"].n_unique(), "language"),
                     ranged(rows["n"], "question")])  # fmt: skip
    if not rows.height:
        return Takeaway("No accuracy was compared with the base model's.", n)
    shown = [row for row in rows.iter_rows(named=True) if significant(row, context.confidence)]
    up, down = (sum(side * row["difference"] > 0 for row in shown) for side in (1, -1))
    low, high = (100 * rows["difference"][at] for at in (0, -1))
    return Takeaway(
        f"Of {counted(rows.height, 'accuracy', 'accuracies')} after alignment {up or 'none'} rose and"
        f" {down or 'none'} fell after correction; changes run from {number(low)} to {number(high)} points.",
        n,
    )


def accuracy_by_teaching(tables: Tables, context: Context) -> Takeaway:
    """Whether other languages know what only the reference was taught, held against facts never taught."""
    frame, reference = tables["accuracy_by_teaching"].filter(adapter="base"), name(context.reference)
    pooled = transfers(frame, context.reference, context.confidence)
    n = of_how_many([counted(max((one.languages for one in pooled), default=None), "other language"),
                     ranged(frame.filter(taught="reference")["n"], "question")])  # fmt: skip
    if not pooled:
        return Takeaway(f"No fact was left untaught, so whether {reference}'s facts reach others cannot be told.", n)
    shown = [one for one in pooled if sign(one.low, one.high) > 0]
    gains = " and ".join(brief(100 * one.difference, 100 * one.low, 100 * one.high, "points") for one in pooled[:2])
    verdict = "no transfer is shown" if not shown else f"transfer is shown in {len(shown)} of {len(pooled)} tasks"
    return Takeaway(f"In other languages, facts taught only in {reference} less untaught ones: {gains}; {verdict}.", n)


def gap_accuracy_correlation(tables: Tables, context: Context) -> Takeaway:
    """r of the first task over all languages, and within scripts."""
    frame, points = tables["gap_accuracy_correlation"], tables["gap_accuracy"]
    defined = frame.drop_nulls("r")
    n = of_how_many([ranged(frame["n"], "language"), counted(frame.height, "task")])
    if not defined.height:
        return Takeaway("Gap and accuracy cannot be correlated over so few languages, or such as are all alike.", n)
    row = defined.row(0, named=True)
    inside = within_scripts(points.filter(task=row["task"]), "mean_gap_pct", "accuracy")
    verdict = {1: "the more accurate", -1: "the less accurate", 0: ""}[sign_in(row)]
    said = f"languages with a larger gap are {verdict}" if verdict else "no relation of gap and accuracy is shown"
    within = f"; within scripts r is {number(inside.r, 2)}" if inside.r is not None else ""
    task = f"{context.task(row['task'])}: " if frame.height > 1 else ""
    return Takeaway(
        f"{task}{said if task else said[0].upper() + said[1:]}, r = {brief_in(row, 'r', interval='ci')}{within}.", n
    )
