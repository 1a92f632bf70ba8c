"""The stage that draws a figure of the catalogue from its tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from isogloss.report.figures import (
    alignment,
    answers,
    benchmarks,
    bilingual,
    comparison,
    gap,
    latent_process,
    latent_teaching,
    projection,
    similarity,
    steering,
    training,
)
from isogloss.report.figures.style import Context, save
from isogloss.tables import read_table

Draw = Callable[[Mapping[str, pl.DataFrame], Context], Figure]

DRAW: dict[str, Draw] = {
    "similarity": similarity.similarity,
    "similarity_pairs": similarity.similarity_pairs,
    "group_gap": gap.group_gap,
    "group_activation": gap.group_activation,
    "language_gap": gap.language_gap,
    "activation_controls": gap.activation_controls,
    "accuracy": benchmarks.accuracy,
    "accuracy_by_teaching": benchmarks.accuracy_by_teaching,
    "gap_accuracy_correlation": benchmarks.gap_accuracy_correlation,
    "alignment_gain": alignment.alignment_gain,
    "alignment_gain_layers": alignment.alignment_gain_layers,
    "accuracy_change": benchmarks.accuracy_change,
    "alignment_loss": alignment.alignment_loss,
    "selectivity": bilingual.selectivity,
    "selectivity_layers": bilingual.selectivity_layers,
    "span_length": bilingual.span_length,
    "intervention": bilingual.intervention,
    "learning_rates": bilingual.learning_rates,
    "sae_training": bilingual.sae_training,
    "answers": answers.answers,
    "transfer": answers.transfer,
    "consistency": answers.consistency,
    "latent": latent_process.latent,
    "latent_accuracy": latent_process.latent_accuracy,
    "latent_correlation": latent_process.latent_correlation,
    "projection": projection.projection,
    "steering": steering.steering,
    "steering_layers": steering.steering_layers,
    "steering_languages": steering.steering_languages,
    "latent_by_teaching": latent_teaching.latent_by_teaching,
    "training": training.training,
    "sae_quality": training.sae_quality,
    "planted_truth": comparison.planted_truth,
}


def figure(*, tables: Sequence[str], output: str, name: str, model: str, settings: Mapping[str, Any]) -> None:
    """Draw the figure `name` of `model` ("" where models are compared) from its tables into an SVG at `output`.

    `tables` are paths results/{model}/tables/{table}.parquet or results/{model}/alignment/{run}.parquet.
    """
    paths = [Path(path) for path in tables]
    frames = {path.stem if model else f"{path.parts[-3]}/{path.stem}": read_table(path) for path in paths}
    save(DRAW[name](frames, Context(model=model, settings=settings)), output)
