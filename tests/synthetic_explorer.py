"""Synthetic tables of the feature explorer: as many features and texts as a real study has, in scripts of all kinds."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from isogloss.languages import language
from isogloss.tables.contract import Contract
from isogloss.tables.explorer import EXPLORER, EXPLORER_FEATURES

KINDS: dict[str, Any] = {
    "string": pl.String, "int32": pl.Int32, "double": pl.Float64, "list<item: string>": pl.List(pl.String),
    "list<item: float>": pl.List(pl.Float32), "list<item: int32>": pl.List(pl.Int32),
}  # fmt: skip
TOKENS = {  # by script; tokens may cut a word, and a character that combines with the one before
    "Latn": ["The", " curren", "cy", " of", " Austria", " is", " Euro", "."],
    "Arab": ["عم", "لة", " النم", "سا", " هي", " اليو", "رو"],
    "Hebr": ["המט", "בע", " של", " אוסטריה", " הוא", " אירו"],
    "Deva": ["ऑस्ट्र", "िया", " की", " मु", "◌", "द्रा", " यूरो", " है"],
    "Hans": ["奥", "地利", "的", "货币", "是", "欧元"],
}
LISTS = ("largest_gap", "smallest_gap", "one_language")


def frame(rows: list[dict[str, Any]], contract: Contract) -> pl.DataFrame:
    """Rows as a table of the explorer; what a row lacks is null."""
    schema = {column: KINDS[str(kind)] for column, kind in contract.items()}
    return pl.DataFrame([{column: row.get(column) for column in contract} for row in rows], schema=schema)


def explorer_tables(config: Mapping[str, Any], model: str) -> dict[str, pl.DataFrame]:
    """`explorer` and `explorer_features` of a model at its middle layer."""
    generator = np.random.default_rng(len(model))
    groups, number = config["languages"], config["explorer"]["features"]
    codes = [*groups["high_resource"], *groups["medium_low_resource"]] or [groups["reference"], *groups["others"]]
    layer = (config["models"][model]["architecture"]["layers"] - 1) // 2
    spans: list[dict[str, Any]] = []
    features: list[dict[str, Any]] = []
    for feature in range(len(LISTS) * number):
        key = {"sae": "phrases", "layer": layer, "feature": feature}
        means = {code: float(mean) for code, mean in zip(codes, generator.uniform(0, 2, len(codes)), strict=True)}
        gap = 100 - 50 * means[codes[1]] if len(codes) > 1 else None
        known = key | {"lists": [LISTS[feature // number]], "class": "several", "largest_share": 0.3, "gap_pct": gap}
        known |= {"measured": "phrases", "n": 3, "n_texts": 200, "n_fired": 20, "histogram_max": 2.5}
        for code, mean in means.items():
            interval = {"mean_activation": mean, "ci_low": 0.5 * mean, "ci_high": 1.2 * mean}
            counts = generator.integers(0, 9, 12).tolist()
            features.append(known | interval | {"lang": code, "share": 1 / len(codes), "histogram": counts})
        spans += _spans(key, codes, config["explorer"], generator)
    return {"explorer": frame(spans, EXPLORER), "explorer_features": frame(features, EXPLORER_FEATURES)}


def _spans(
    key: Mapping[str, Any], codes: list[str], settings: Mapping[str, int], generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """A feature's phrases in every language, the last without a translation in the last one; then contexts."""
    for kind, items in (("phrase", settings["phrases"]), ("context", settings["contexts"])):
        for item in range(items):
            for code in codes:
                row = {**key, "kind": kind, "item": item, "lang": code, "origin": codes[0], "name": str(item)}
                if kind == "phrase" and item and code == codes[-1] != codes[0]:
                    yield row
                    continue
                words = TOKENS.get(language(code).script, TOKENS["Latn"])
                tokens = [*words, f" {key['feature']}{item}", *words]
                values = generator.uniform(0, 2.5, len(tokens)) * (generator.random(len(tokens)) < 0.2)
                yield row | {
                    "text": "".join(tokens), "activation": float(values.max()), "n_tokens": len(tokens) + 3, "first": 3,
                    "tokens": tokens, "activations": values.tolist(),
                }  # fmt: skip
