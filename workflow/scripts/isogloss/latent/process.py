"""What language the hidden layers work in, and whether that predicts accuracy and transfer (paper B, sec. 4.2)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl

from isogloss.config.measures import Statistics
from isogloss.latent.answers import VARIANTS, by_task, log_ratios_by_length, proportion, read_layers, shared_questions
from isogloss.latent.correlation import correlations, points_of
from isogloss.latent.resampling import Resamples, with_intervals
from isogloss.tables import read_table, write_table
from isogloss.tables.latent import LATENT, LATENT_CORRELATION

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
    **{f"{name}{end}": pl.Float64 for name in VARIANTS[1:] for end in ("", "_low", "_high")},
    "token_ratio": pl.Float64,
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
    language; null for the reference. It is length-normalised by tokens, as the paper has it; `log_ratio_total` is not,
    `log_ratio_character` by characters. `token_ratio` is the tokens of all native choices by those of the reference's,
    the same at every layer. Intervals of log ratios bootstrap questions, the same for all languages of a task;
    those of the accuracies (of the choices' native texts, of their reference texts) are Wilson's.
    `accuracy_letters` is null where no letters were scored.

    `latent_correlation` has Pearson's r over languages, the reference left out, between the log ratio averaged over
    the probed layers and a target: the language's accuracy, mean consistency with all other languages, or mean
    positive transfer into it from all others (`answers` and `transfer` are the tables of `transfer.transfer`).
    The interval is Fisher's; p is two-sided and corrected over all tasks and targets (`family_size` tests); stars mark
    the uncorrected p, as the paper prints them. What length has to do with it: `correlation.correlations`.

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
            columns: dict[str, Any] = {}
            for name, ratios in log_ratios_by_length(read, aggregation).items():
                columns |= with_intervals(name, resamples.means(ratios), confidence)
            token_ratio = float(read.tokens.native.sum() / read.tokens.reference.sum())
            for number, layer in enumerate(read.layers):
                row: dict[str, Any] = {"task": task, "layer": layer, "lang": lang, "n": len(shared.questions)}
                row |= {"chance": 1 / read.native.shape[-1], "token_ratio": token_ratio}
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
    points = points_of(table, read_table(answers), read_table(transfer), reference)
    made = correlations(points, confidence, statistics.correction, seed)
    write_table(latent_correlation, made, metadata, LATENT_CORRELATION)
