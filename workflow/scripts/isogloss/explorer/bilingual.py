"""What paper C measured of features: classes and monosemanticity, and its examples where its SAEs are others."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import polars as pl

from isogloss.explorer.choice import MONOSEMANTIC
from isogloss.explorer.spans import CONTEXT
from isogloss.tables import read_table
from isogloss.tables.layers import iter_layers

MEASURED = ("class", "monosemanticity", "monosemanticity_excess")


def described(path: str | None, layers: Collection[int]) -> pl.DataFrame:
    """The finished model's features in paper C's table `features` (None: there is none): layer, feature, `MEASURED`.

    Shares of all firings, p_firings_LANGUAGE, come along. One layer's rows are held for each of `layers`.
    """
    empty = pl.DataFrame(schema={"step": pl.Int64, "layer": pl.Int32, "feature": pl.Int32, "class": pl.String})
    if path is None:
        return empty.with_columns(pl.lit(None, pl.Float64).alias(name) for name in MEASURED[1:])
    rows = pl.concat([empty.clear(), *iter_layers([path], layers)], how="diagonal_relaxed")
    return rows.filter(pl.col("step") == pl.col("step").max())


def excess(rows: pl.DataFrame, features: np.ndarray) -> np.ndarray:
    """The excess of monosemanticity of `features` in a layer's rows; NaN where it is not defined."""
    known = dict(rows.select("feature", "monosemanticity_excess").drop_nulls().iter_rows())
    return np.array([known.get(feature, np.nan) for feature in features.tolist()])


def measured(rows: pl.DataFrame, feature: int) -> dict[str, Any]:
    """What is known of a feature in a layer's rows."""
    own = rows.filter(feature=feature)
    if not own.height:
        return {}
    known = own.row(0, named=True)
    return {"class_bilingual" if name == "class" else name: known[name] for name in MEASURED}


def example_spans(path: str, layers: Collection[int]) -> Iterator[dict[str, Any]]:
    """Rows of the explorer's table from paper C's `examples` of the finished model at `layers`."""
    examples = read_table(path)
    last = examples.filter(pl.col("step") == pl.col("step").max(), pl.col("layer").is_in(list(layers)))
    for row in last.iter_rows(named=True):
        fired = row["activations"]
        yield {
            "sae": "bilingual",
            "layer": row["layer"],
            "feature": row["feature"],
            "kind": CONTEXT,
            "item": row["rank"],
            "lang": row["lang"],
            "origin": row["lang"],
            "name": row["document"],
            "text": "".join(row["tokens"]),
            "activation": max(fired, default=0.0),
            "n_tokens": len(fired),
            "n_characters": None,
            "first": 0,
            "tokens": row["tokens"],
            "activations": fired,
        }


def example_features(rows: pl.DataFrame, shown: Collection[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Rows of the table of features, one a language, of the features that `shown` names by layer and number."""
    shares = [name for name in rows.columns if name.startswith("p_firings_")]
    for row in rows.iter_rows(named=True):
        if (row["layer"], row["feature"]) not in shown:
            continue
        own = [row[name] for name in shares if row[name] is not None]
        for name in shares:
            yield {
                "sae": "bilingual",
                "layer": row["layer"],
                "feature": row["feature"],
                "lists": [MONOSEMANTIC],
                "class": row["class"],
                "largest_share": max(own, default=None),
                "class_bilingual": row["class"],
                "monosemanticity": row["monosemanticity"],
                "monosemanticity_excess": row["monosemanticity_excess"],
                "lang": name.removeprefix("p_firings_"),
                "share": row[name],
            }
