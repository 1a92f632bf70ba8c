"""What is known of each feature of a layer: language, concept, span, and their rivals (paper C, secs. 3.2 to 3.4)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from isogloss.bilingual.classes import classify, language_shares
from isogloss.bilingual.clusters import Clustering
from isogloss.bilingual.embeddings import TokenSpace
from isogloss.bilingual.entropy import Entropies, entropies, permuted_entropy
from isogloss.bilingual.patterns import Patterns, Tally, tallies
from isogloss.bilingual.spans import span_length

_COUNTS = ("n_activations", "n_tokens_distinct", "n_firings")
_ADDED = tuple(
    f"{metric}{threshold}{part}"
    for threshold, parts in (("", ("_null", "_excess")), ("_calibrated", ("", "_null", "_excess")))
    for metric in ("semantic_entropy", "monosemanticity")
    for part in parts
)


class Described(NamedTuple):
    """The features of one layer."""

    classes: list[str]
    classes_firings: list[str]
    shares: Float[np.ndarray, "features languages"]
    shares_firings: Float[np.ndarray, "features languages"]
    columns: Mapping[str, Float[np.ndarray, " features"] | Int[np.ndarray, " features"]]  # NaN where never counted


def describe_layer(
    patterns: Patterns,
    languages: Sequence[str],
    space: TokenSpace,
    *,
    threshold: float,
    clustering: Clustering,
    single_token: float,
) -> Described:
    """What the counted entries of a layer, and all firings, say of each of its features."""
    parts: list[dict[str, np.ndarray]] = []
    shares: list[np.ndarray] = []
    for tally in tallies(patterns, languages=len(languages), vocabulary=len(space.embeddings)):
        n = tally.by_language.sum(axis=1)
        shares.append(language_shares(tally.by_language))
        parts.append(
            {
                **_concepts(tally, space, clustering, single_token),
                "span_length": span_length(n, tally.runs),
                "n_activations": n,
                "n_tokens_distinct": np.bincount(tally.feature, minlength=len(n)),
            }
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns |= {"maximum": patterns.maximum.astype(np.float64), "n_firings": patterns.firings.sum(axis=1)}
    counted, firings = np.concatenate(shares), language_shares(patterns.firings)
    return Described(
        classify(counted, languages, threshold), classify(firings, languages, threshold), counted, firings, columns
    )


def _concepts(
    tally: Tally, space: TokenSpace, clustering: Clustering, single_token: float
) -> dict[str, Float[np.ndarray, " features"]]:
    """Entropies and monosemanticity at the paper's similarity and at the calibrated one, each with its null."""
    columns: dict[str, np.ndarray] = {}
    for suffix, similarity in (("", space.similarity), ("_calibrated", space.calibrated)):
        pairs = (tally.feature, tally.token, tally.count)
        how: dict[str, Any] = {
            "features": len(tally.by_language),
            "embeddings": space.embeddings,
            "similarity": similarity,
            "clustering": clustering,
        }
        own = entropies(*pairs, **how)
        chance = Entropies(own.token, permuted_entropy(*pairs, permutations=space.permutations, **how))
        several = np.where(own.token > 0, 1.0, np.nan)  # of one token, a feature has the same under any embedding
        values = {
            "semantic_entropy": (own.semantic, chance.semantic * several),
            # The mean over permutations of 1 - SE / TE, since TE is the same in all.
            "monosemanticity": (own.monosemanticity(single_token), chance.monosemanticity(np.nan)),
        }
        for metric, (value, null) in values.items():
            name = f"{metric}{suffix}"
            columns |= {name: value, f"{name}_null": null, f"{name}_excess": value - null}
        if not suffix:
            columns["token_entropy"] = own.token
            columns["monosemanticity_other_reading"] = own.monosemanticity(1 - single_token)
    return columns


def features_schema(languages: Sequence[str]) -> Any:
    """Columns of the table of features; shares, entropies and spans are null for silent ones."""
    import pyarrow as pa

    names = (
        *("token_entropy", "semantic_entropy", "monosemanticity", "monosemanticity_other_reading", "span_length"),
        *("n_activations", "n_tokens_distinct", "maximum"),
        *_ADDED,
        "n_firings",
    )
    return pa.schema(
        {
            "step": pa.int64(),
            "layer": pa.int32(),
            "feature": pa.int32(),
            "class": pa.string(),
            **{f"p_{lang}": pa.float64() for lang in languages},
            **{name: pa.int64() if name in _COUNTS else pa.float64() for name in names},
            **{f"p_firings_{lang}": pa.float64() for lang in languages},
            "class_firings": pa.string(),
        }
    )


def feature_rows(described: Described, step: int, layer: int, languages: Sequence[str]) -> Any:
    """A layer's rows of the table of features."""
    import polars as pl

    frame = pl.DataFrame(
        {
            "feature": np.arange(len(described.classes)),
            "class": described.classes,
            "class_firings": described.classes_firings,
            **{f"p_{lang}": described.shares[:, number] for number, lang in enumerate(languages)},
            **{f"p_firings_{lang}": described.shares_firings[:, number] for number, lang in enumerate(languages)},
            **described.columns,
        }
    )
    return frame.with_columns(pl.lit(step).alias("step"), pl.lit(layer).alias("layer")).fill_nan(None)
