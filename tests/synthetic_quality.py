"""Synthetic tables of what measurements rest on: SAEs, peaks, translations, phrases and the training of the model."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl


def quality_tables(codes: Sequence[str], layers: Sequence[int]) -> dict[str, pl.DataFrame]:
    """Each layer's SAE is a little worse than the one before, and each language's translations."""
    return {
        "sae_quality": _sae_quality(layers),
        "reproduction": _reproduction(layers),
        "translation_quality": _translation_quality(codes),
        "phrase_counts": _phrase_counts(layers),
    }


def _sae_quality(layers: Sequence[int]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "layer": layer,
                "fvu": 0.1 + 0.02 * layer,
                "l0": 16.0,
                "dead_features": 10 * layer,
                "features": 512,
                "k": 16,
                "n_tokens": 16384,
            }
            for layer in layers
        ]
    )


def _reproduction(layers: Sequence[int]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "layer": layer,
                "records": 16,
                "same_peak_pct": 100 - 6.25 * layer,
                "median_correlation": 0.999 - layer / 1000,
                "lowest_correlation": 0.98,
                "median_scale": 0.99,
            }
            for layer in layers
        ]
    )


def _translation_quality(codes: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "lang": lang,
                "n": 800,
                "ok": 800 - 10 * index,
                "empty": 4 * index,
                "runaway": 3 * index,
                "too_long": 2 * index,
                "low_chrf": index,
                "kept_pct": 100 - 10 * index / 8,
                "chrf": 60.0 - index if index else None,
                "ci_low": 58.0 - index if index else None,
                "ci_high": 62.0 - index if index else None,
                "characters_ratio": 1 + index / 10,
            }
            for index, lang in enumerate(codes)
        ]
    )


def _phrase_counts(layers: Sequence[int]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "layer": layer,
                "features_sampled": 256,
                "features_with_phrases": 200,
                "windows": 1200,
                "duplicates_dropped": 37,
                "n_phrases": 800,
                "documents": 1500,
                "tokens": 38_000,
            }
            for layer in layers
        ]
    )


def training_table(shares: Mapping[str, float], rng: np.random.Generator) -> pl.DataFrame:
    """The model's loss by step, and its languages' shares of the tokens."""
    steps = np.arange(1, 251)
    return pl.DataFrame(
        {
            "step": steps,
            "tokens": steps * 4096,
            "loss": 7 * np.exp(-steps / 60) + 1 + rng.normal(0, 0.05, len(steps)),
            "learning_rate": np.full(len(steps), 3e-3),
        }
        | {f"share_{c}": np.full(len(steps), s) for c, s in shares.items()}
    )
