"""Synthetic tables of the causal test: features taken away raise the loss of the language that they are of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from isogloss.causal.effects import Ablation, Losses, ablation_rows, resampled_changes, summary_rows


def ablation_tables(
    languages: Sequence[str], layer: int = 2, *, own: float = 0.4, spread: float = 0.02, draws: int = 2
) -> dict[str, pl.DataFrame]:
    """The causal test's: no language has features by share; by the others its own loss rises, those of others hardly.

    Random features change every loss alike. The last language's features by entropy are none.
    """
    rng = np.random.default_rng(len(languages))
    ablations, nats = [], []
    for method in ("share", "entropy", "monolinguality"):
        for lang in languages:
            none = method == "share" or (method == "entropy" and lang == languages[-1])
            features = np.arange(0 if none else 20)
            reason = f"no feature has more than 90 % of its firings in {lang}" if none else None
            for draw in (None, *range(0 if none else draws)):
                ablations.append(Ablation(lang, method, draw, features, reason))
                rise = [own if draw is None and other == lang else 0.01 for other in languages]
                nats.append(np.array(rise)[:, None] + rng.normal(0, spread, (len(languages), 40)))
    tokens = np.full((len(languages), 40), 12)
    plain = 3.0 * tokens
    losses = Losses(plain, plain + np.array(nats) * tokens, 0.2 * np.ones((len(nats), *tokens.shape)) * tokens, tokens)
    changes = resampled_changes(losses, replicates=200, seed=[0])
    common: dict[str, Any] = {"layer": layer, "confidence": 0.95}
    return {
        "ablation": ablation_rows(ablations, languages, losses, changes, **common),
        "ablation_summary": summary_rows(ablations, languages, changes, n_texts=40, **common),
    }
