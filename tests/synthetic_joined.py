"""Synthetic tables of what joins the papers, and of several models."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from isogloss.joined.instruments import INSTRUMENTS
from isogloss.languages import language
from isogloss.tables.contract import rows_of
from isogloss.tables.joined import (
    JOINED,
    JOINED_CORRELATIONS,
    JOINED_INCREMENTAL,
    MODELS,
    SIZE_REGRESSION,
    SIZES,
)

FEW = "needs 6 languages beside the reference, has 1"


def joined_tables(codes: Sequence[str], layers: Sequence[int]) -> dict[str, pl.DataFrame]:
    """Every measure falls along the languages; centred cosine alone predicts, mixed features cannot be tested."""
    rows = [
        {"layer": layer, "lang": code, "accuracy": 0.9 - 0.05 * index, "token_ratio": 1 + 0.1 * index, "n_tasks": 2}
        | {one.column: 0.8 - 0.07 * index for one in INSTRUMENTS if one.column != "mixed_share"}
        | {"script": language(code).script, "same_script": index < 3, "family": language(code).top_family}
        for layer in (None, *layers)
        for index, code in enumerate(codes)
    ]
    n, k = len(codes) - 1, len(INSTRUMENTS) - 1
    correlations, incremental = [], []
    for one in INSTRUMENTS:
        key = {"instrument": one.column}
        if one.column == "mixed_share":
            why = {"n": 1, "partial_n": 1, "family_size": k, "partial_family_size": k}
            correlations.append(key | why | {"reason": FEW, "partial_reason": FEW})
            incremental.append(key | {"n": 1, "reason": FEW})
            continue
        clear = one.column == "centred"
        r, p = (0.9, 0.01) if clear else (0.3, 0.6)
        values = {"r": r, "ci_low": r - 0.4, "ci_high": 0.98, "p": p / k, "p_adjusted": p, "n": n, "family_size": k}
        values |= {"n_undefined": 3}
        correlations.append(
            key | values | {f"partial_{name}": value for name, value in values.items()} | {"n_orders": 10_001}
        )
        gain = 0.25 if clear else -0.05
        r2 = {"r2_controls": 0.6, "r2": 0.7, "r2_left_out_controls": 0.5, "r2_left_out": 0.5 + gain}
        incremental.append(key | r2 | {"gain_left_out": gain, "n": n})
    return {
        "joined": rows_of(rows, JOINED),
        "joined_correlations": rows_of(correlations, JOINED_CORRELATIONS),
        "joined_incremental": rows_of(incremental, JOINED_INCREMENTAL),
    }


def models_tables(config: Mapping[str, Any], sizes: Sequence[int] | None = None) -> dict[str, pl.DataFrame]:
    """The tables over a study's models, of a size alike or of `sizes`; each model fares better than the one before."""
    names = list(config["models"])
    sizes = sizes or [1_500_000] * len(names)
    behaviour, features = [], []
    for index, (model, size) in enumerate(zip(names, sizes, strict=True)):
        key = {"model": model, "n_parameters": size}
        for analysis in ("benchmarks", "latent"):
            row = key | {"analysis": analysis, "task": "hellaswag", "accuracy_chance": 0.25, "interval": "languages"}
            shown = ("accuracy", "consistency", "positive_transfer") if analysis == "latent" else ("accuracy",)
            for name in shown:
                value = 0.5 + 0.02 * index
                row |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
            behaviour.append(row | {"accuracy_common": 0.5, "n_languages": 10, "n_common": 10, "n": 80})
        for measure, value in (("mixed_share", 0.3), ("monosemanticity", 0.8), ("span_length", 1.1)):
            bounds = {"value": value, "value_low": value - 0.03, "value_high": value + 0.03}
            where = {"step": 1328, "layer": 2, "measure": measure, "class": "all", "n_features": 400}
            features.append(key | where | bounds)
    slopes: list[dict[str, Any]] = [{"measure": "mixed_share", "n_models": len(names), "n_sizes": len({*sizes})}]
    if len({*sizes}) > 2:
        slopes[0] |= {"slope": 0.05, "ci_low": 0.01, "ci_high": 0.09, "p": 0.02}
    else:
        slopes[0] |= {"reason": "needs 3 sizes of model, has 1"}
    return {
        "models": rows_of(behaviour, MODELS),
        "sizes": rows_of(features, SIZES),
        "size_regression": rows_of(slopes, SIZE_REGRESSION),
    }
