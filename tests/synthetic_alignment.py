"""Synthetic tables of alignment: each run raises its languages' activation by more the larger their gap."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from synthetic_disparity import Planted, interval


def alignment_tables(world: Planted, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """What the runs gain at their target layers, and what of the other activations they retain; no runs, no tables."""
    gain = [
        {"run": name, "layer": layer, "lang": code, **_gained(world.gaps[layer, code], code)}
        | {"target_layer": layer, "is_target": True}
        for name, run in runs.items()
        for layer in (run["target_layer"],)
        for code in ["en", *run["languages"]]
    ]
    if not gain:
        return {}
    table = pl.DataFrame(gain)
    return {
        "alignment_gain": table,
        "alignment_retention": table.filter(pl.col("lang") != "en").select(
            "run", "layer", "lang", "retention_held_out_pct", "retention_pct", "n_features_held_out", "n_features",
            "n_phrases", held_out_ci_low="retention_held_out_ci_low", held_out_ci_high="retention_held_out_ci_high",
            ci_low="retention_ci_low", ci_high="retention_ci_high",
        ),
    }  # fmt: skip


def _gained(gap: float, code: str) -> dict[str, float]:
    g = -6.0 if code == "en" else 1.6 * gap + 5
    before = 1 - gap / 100
    return {
        "before": before,
        "after": before * (1 + g / 100),
        "gain_pct": g,
        **interval(g, 4.0),
        "retention_pct": 94.0,
        "retention_ci_low": 92.5,
        "retention_ci_high": 95.5,
        "gain_held_out_pct": g - 3,
        "held_out_ci_low": g - 8,
        "held_out_ci_high": g + 2,
        "retention_held_out_pct": 96.0,
        "retention_held_out_ci_low": 93.0,
        "retention_held_out_ci_high": 98.5,
        "n_features_held_out": 12,
        "n_features": 50,
        "n_phrases": 180,
    }


def make_losses(config: Mapping[str, Any], seed: int = 0) -> dict[str, pl.DataFrame]:
    """The loss tables of the alignment runs by run."""
    rng = np.random.default_rng(seed)
    steps = np.arange(1, 151)
    frames = {}
    for i, run in enumerate(config["alignment"]["runs"]):
        alignment = (2 + i) * np.exp(-steps / 50) + 0.3 + rng.gamma(2, 0.05, len(steps))
        retention = 0.4 * (1 - np.exp(-steps / 30)) + rng.gamma(2, 0.02, len(steps))
        frames[run] = pl.DataFrame(
            {
                "step": steps,
                "loss": alignment + retention,
                "alignment_term": alignment,
                "retention_term": retention,
                "inactive_share": 0.3 * np.exp(-steps / 80),
                "learning_rate": np.full(len(steps), 1e-3),
            }
        )
    return frames
