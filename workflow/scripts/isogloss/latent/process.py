"""What language the hidden layers work in, and whether that predicts accuracy and transfer (paper B, sec. 4.2)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl

from isogloss.config.measures import Statistics
from isogloss.latent.answers import by_task, log_ratios, proportion, read_layers, shared_questions
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.stats import adjust, family_size, pearson
from isogloss.tables import read_table, write_table
from isogloss.tables.latent import LATENT, LATENT_CORRELATION

logger = logging.getLogger(__name__)

TARGETS = ("accuracy", "consistency", "positive_transfer")
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_LATENT = {
    "task": pl.String,
    "layer": pl.Int32,
    "lang": pl.String,
    **{
        f"{name}{end}": pl.Float64
        for name in ("log_ratio", "accuracy_native", "accuracy_reference")
        for end in ("", "_low", "_high")
    },
    "accuracy_letters": pl.Float64,
    "n": pl.Int32,
    "chance": pl.Float64,
}


def latent_process(
    *,
    scores: Sequence[str],
    tasks: Sequence[str],
    langs: Sequence[str],
    reference: str,
    aggregation: Literal["sum", "mean"],
    answers: str,
    transfer: str,
    latent: str,
    latent_correlation: str,
    statistics: Statistics,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write log ratio and latent accuracies of each layer (Fig. 2), and what the log ratio correlates with (Table 2).

    `log_ratio` is in nats, averaged over questions, above 0 where the layer prefers the choices in the prompt's own
    language; null for the reference. Its intervals bootstrap questions, the same for all languages of a task;
    those of the accuracies (of the choices' native texts, of their reference texts) are Wilson's.
    `accuracy_letters` is null where no letters were scored.

    `latent_correlation` has Pearson's r over languages, the reference left out, between the log ratio averaged over
    the probed layers and a target: the language's accuracy, mean consistency with all other languages, or mean
    positive transfer into it from all others (`answers` and `transfer` are the tables of `transfer.transfer`).
    The interval is Fisher's; p is two-sided and corrected over all tasks and targets (`family_size` tests); stars mark
    the uncorrected p, as the paper prints them. r is null for fewer than three languages or without spread.

    Raises `IsoglossError` if a task's languages share no question, or disagree about an answer.
    """
    bootstrap, confidence = statistics.bootstrap, statistics.confidence
    frames: list[pl.DataFrame] = []
    for task, tables in by_task(scores, tasks, langs):
        shared = shared_questions(list(tables.values()), task)
        resamples = Resamples(len(shared.questions), replicates=bootstrap, seed=seed, task=task)
        rows: list[dict[str, Any]] = []
        for lang, path in tables.items():
            read = read_layers(path, shared)
            ratios = log_ratios(read.native, read.reference, aggregation)
            columns = with_intervals("log_ratio", resamples.means(ratios), confidence)
            for number, layer in enumerate(read.layers):
                row: dict[str, Any] = {"task": task, "layer": layer, "lang": lang, "n": len(shared.questions)}
                row["chance"] = 1 / read.native.shape[-1]
                if lang != reference:
                    row |= {name: float(values[number]) for name, values in columns.items()}
                for text, of_layers in (("native", read.native), ("reference", read.reference)):
                    right = of_layers[number].argmax(axis=-1) == shared.answer
                    row |= proportion(f"accuracy_{text}", right, confidence)
                if read.letters is not None:
                    row["accuracy_letters"] = float((read.letters[number].argmax(axis=-1) == shared.answer).mean())
                rows.append(row)
        frame = pl.DataFrame(rows, schema=_LATENT).fill_nan(None)
        frames.append(frame.sort("layer", maintain_order=True))
    table = pl.concat(frames)
    write_table(latent, table, {**metadata, "log_ratio": aggregation}, LATENT)
    points = _points(table, read_table(answers), read_table(transfer), reference)
    write_table(
        latent_correlation,
        _correlations(points, confidence, statistics.correction),
        metadata,
        LATENT_CORRELATION,
    )


def _points(latent: pl.DataFrame, answers: pl.DataFrame, transfer: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Per task and language but the reference: log ratio over the probed layers, and the targets."""
    ratios = latent.group_by("task", "lang", maintain_order=True).agg(pl.col("log_ratio").mean())
    key = ["task", "lang"]
    others = transfer.group_by("task", pl.col("lang_b").alias("lang")).agg(
        pl.col("consistency", "positive_transfer").mean()
    )
    points = ratios.join(answers.select(*key, "accuracy"), on=key, how="left", maintain_order="left")
    return points.join(others, on=key, how="left", maintain_order="left").filter(pl.col("lang") != reference)


def _correlations(points: pl.DataFrame, confidence: float, correction: Literal["holm", "bh"]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for (task,), of_task in points.group_by("task", maintain_order=True):
        for target in TARGETS:
            both = of_task.select("log_ratio", target).drop_nulls()
            if len(both) < len(of_task):
                logger.warning("%s: %s is undefined in %d language(s)", task, target, len(of_task) - len(both))
            fit = pearson(both["log_ratio"].to_numpy(), both[target].to_numpy(), confidence)
            if fit.r is None:
                logger.warning("%s: no correlation of log ratio and %s over %d language(s)", task, target, len(both))
            measured = {"r": fit.r, "r_low": fit.low, "r_high": fit.high, "p": fit.p}
            rows.append({"task": task, "target": target, **measured, "n": len(both)})
    corrected = adjust([row["p"] for row in rows], correction)
    tested = {"family_size": family_size(corrected)}
    rows = [row | {"p_adjusted": p, "stars": stars(row["p"])} | tested for row, p in zip(rows, corrected, strict=True)]
    numbers = dict.fromkeys(["r", "r_low", "r_high", "p", "p_adjusted"], pl.Float64)
    counts = {"n": pl.Int32, "family_size": pl.Int32}
    schema = {"task": pl.String, "target": pl.String, **numbers, "stars": pl.String, **counts}
    return pl.DataFrame(rows, schema=schema)


def stars(p: float | None) -> str | None:
    """The paper's marks of significance: * p < .05, ** p < .01, *** p < .001; None without a test."""
    return None if p is None else next((mark for bound, mark in STARS if p < bound), "")
