"""Whether facts taught in the reference language alone are known in the others: measured against facts never taught."""

from typing import NamedTuple

import numpy as np
import polars as pl

from isogloss.stats import proportion_interval


class Transfer(NamedTuple):
    """One task, over all languages but the reference; accuracies and their difference are shares."""

    task: str
    reference_only: float  # accuracy on facts taught in the reference only
    untaught: float  # accuracy on facts taught in no language
    difference: float  # what the teaching in the reference gave to the other languages
    low: float  # interval of the difference
    high: float
    languages: int


class Pooled(NamedTuple):
    """Accuracy on one way of teaching, over all languages but the reference, as shares."""

    taught: str
    accuracy: float
    low: float  # Wilson's interval
    high: float
    questions: int  # asked in every language, so counted once: the interval errs on the wide side
    languages: int


def pooled(frame: pl.DataFrame, reference: str, confidence: float) -> list[Pooled]:
    """The base model's accuracy in one task's rows of `accuracy_by_teaching`, by where a fact was taught."""
    others = frame.filter(pl.col("lang") != reference, adapter="base")
    means = others.group_by("taught", maintain_order=True).agg(
        accuracy=(pl.col("accuracy") * pl.col("n")).sum() / pl.col("n").sum(),
        questions=pl.col("n").max(),
        languages=pl.col("lang").n_unique(),
    )
    out: list[Pooled] = []
    for taught, accuracy, questions, languages in means.iter_rows():
        low, high = proportion_interval(round(accuracy * questions), questions, confidence)
        if low is not None and high is not None:
            out.append(Pooled(taught, accuracy, min(low, accuracy), max(high, accuracy), questions, languages))
    return out


def transfers(frame: pl.DataFrame, reference: str, confidence: float) -> list[Transfer]:
    """The base model's transfer by task, from `accuracy_by_teaching`; empty where no fact was left untaught.

    Guessing is not chance: a model that learned which answers are common is off 1 / choices on facts that it never
    read. Hence the untaught facts as the null. The interval of the difference is Newcombe's for independent
    proportions. A question is asked in every language, so its answers are pooled into one mean, and questions are
    counted, not answers: the interval errs on the wide side unless the languages' answers agree.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep  # seconds, which only this figure waits for

    others = frame.filter(pl.col("lang") != reference, adapter="base")
    pooled = others.group_by("task", "taught", maintain_order=True).agg(
        accuracy=(pl.col("accuracy") * pl.col("n")).sum() / pl.col("n").sum(),
        questions=pl.col("n").max(),
        languages=pl.col("lang").n_unique(),
    )
    by_class = {(row["task"], row["taught"]): row for row in pooled.iter_rows(named=True)}
    out: list[Transfer] = []
    for task in others["task"].unique(maintain_order=True):
        taught, untaught = by_class.get((task, "reference")), by_class.get((task, "none"))
        if not (taught and untaught):
            continue
        right = [part for row in (taught, untaught) for part in (row["accuracy"] * row["questions"], row["questions"])]
        bounds = confint_proportions_2indep(*right, method="newcomb", compare="diff", alpha=1 - confidence)
        low, high = (float(np.asarray(bound)) for bound in bounds)
        shares = (taught["accuracy"], untaught["accuracy"])
        out.append(Transfer(task, *shares, shares[0] - shares[1], low, high, taught["languages"]))
    return out
