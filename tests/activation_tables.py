"""Synthetic activation tables with a planted gap."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from isogloss.tables import write_table


def activation_frame(
    gap: float,
    *,
    layers: tuple[int, ...] = (0, 1),
    features: int = 30,
    phrases: int = 3,
    noise: float = 0.1,
    tokens: float = 1.0,
    seed: int = 0,
    noise_seed: int = 0,
) -> pl.DataFrame:
    """Phrases whose own feature responds `1 - gap` times as strongly as in the reference.

    `seed` fixes the features' strengths and the reference's token counts (shared by languages),
    `noise_seed` a language's own noise.
    """
    shared, own = np.random.default_rng([1, seed]), np.random.default_rng([2, seed, noise_seed])
    n = len(layers) * features * phrases
    feature = np.tile(np.repeat(np.arange(features) * 7, phrases), len(layers))
    strength = np.repeat(shared.gamma(4.0, 1.0, size=len(layers) * features) + 1, phrases)
    reference_tokens = shared.integers(5, 20, size=n)
    activation = strength * (1 - gap) * np.exp(noise * own.standard_normal(n) - noise**2 / 2)
    return pl.DataFrame(
        {
            "phrase": np.arange(n),
            "layer": np.repeat(layers, features * phrases).astype(np.int32),
            "feature": feature.astype(np.int32),
            "activation": activation.astype(np.float32),
            "pre_activation": activation.astype(np.float32),
            "n_tokens": np.ceil(reference_tokens * tokens).astype(np.int32),
            "n_characters": (reference_tokens * 4).astype(np.int32),
            "shuffled_activation": (0.05 * own.random(n)).astype(np.float32),
            "random_activation": (0.02 * own.random(n)).astype(np.float32),
        }
    ).with_columns(chrf=pl.lit(None, dtype=pl.Float32))


def without_translation(frame: pl.DataFrame, phrases: Collection[int]) -> pl.DataFrame:
    """`frame` as `encode` writes it where some phrases have no usable translation: null, but for their keys."""
    absent = pl.col("phrase").is_in(list(phrases))
    return frame.with_columns(pl.when(~absent).then(pl.exclude("phrase", "layer", "feature")))


def write_activations(
    folder: Path, frames: Mapping[str, pl.DataFrame], blocks: tuple[tuple[int, ...], ...] | None = None
) -> tuple[list[str], list[str]]:
    """Write `frames` (by language), split into blocks of layers; return the paths and their languages."""
    layers = tuple(next(iter(frames.values()))["layer"].unique().sort().to_list())
    paths, langs = [], []
    for block in blocks or (layers,):
        for lang, frame in frames.items():
            path = folder / f"{block[0]}-{block[-1]}" / f"{lang}.parquet"
            write_table(path, frame.filter(pl.col("layer").is_in(block)))
            paths.append(str(path))
            langs.append(lang)
    return paths, langs
