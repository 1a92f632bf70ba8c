"""Synthetic tables of the feature explorer: features of a list each, in phrases of every language and in contexts."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from isogloss.tables.explorer import EXPLORER, EXPLORER_FEATURES

TEXTS = {
    "en": "The capital of Spain is Madrid , and its largest <b>port</b> & {{ city }} is Barcelona .",
    "zh": "西班牙的首都是马德里，最大的港口城市是巴塞罗那。",
    "hi": "स्पेन की राजधानी मैड्रिड है और सबसे बड़ा बंदरगाह बार्सिलोना है ।",
    "ml": "സ്പെയിനിന്റെ തലസ്ഥാനം മാഡ്രിഡ് ആണ് , ഏറ്റവും വലിയ തുറമുഖം ബാഴ്സലോണ .",
    "ar": "عاصمة إسبانيا هي مدريد وأكبر ميناء فيها هو برشلونة .",
}
LISTS = ("largest_gap", "smallest_gap", "one_language", "monosemantic")
_KINDS = {
    "string": pl.String, "int32": pl.Int32, "double": pl.Float64, "list<item: string>": pl.List(pl.String),
    "list<item: float>": pl.List(pl.Float32), "list<item: int32>": pl.List(pl.Int32),
}  # fmt: skip


def explorer_tables(codes: Sequence[str], layer: int, features: int = 12, texts: int = 2) -> dict[str, pl.DataFrame]:
    """`features` a list, each with so many phrases and contexts a language; the last lacks a translation."""
    spans: list[dict[str, Any]] = []
    measured: list[dict[str, Any]] = []
    for feature in range(features * len(LISTS)):
        key = {"sae": "phrases", "layer": layer, "feature": 10 * feature}
        for index, lang in enumerate(codes):
            for item in range(texts):
                for kind in ("phrase", "context"):
                    lacks = kind == "phrase" and item == texts - 1 and lang == codes[-1]
                    spans.append(key | _span(kind, item, lang, feature, lacks))
            measured.append(key | _measured(feature, index, lang, LISTS[feature % len(LISTS)]))
    return {"explorer": _frame(spans, EXPLORER), "explorer_features": _frame(measured, EXPLORER_FEATURES)}


def _span(kind: str, item: int, lang: str, shift: int, lacks: bool) -> dict[str, Any]:
    row = {"kind": kind, "item": item, "lang": lang, "origin": "en" if kind == "phrase" else lang, "name": f"t{item}"}
    if lacks:
        return row
    text = f"{item} {TEXTS.get(lang, TEXTS['en'])}"
    tokens = [text[at : at + 3] for at in range(0, len(text), 3)]
    activations = [0.0] * len(tokens)
    activations[(3 + shift) % len(tokens)] = 2.0 / (1 + item)
    activations[(4 + shift) % len(tokens)] = 0.5
    return row | {
        "text": text, "activation": 2.0 / (1 + item), "n_tokens": len(tokens), "n_characters": len(text), "first": 0,
        "tokens": tokens, "activations": activations,
    }  # fmt: skip


def _measured(feature: int, index: int, lang: str, in_list: str) -> dict[str, Any]:
    mean = None if feature == 1 and index else 1.5 / (1 + index)
    return {
        "lists": [in_list], "class": "several", "largest_share": 0.4, "gap_pct": 50.0 - feature,
        "class_bilingual": None, "monosemanticity": 0.8, "monosemanticity_excess": 0.3, "neuronpedia": None,
        "lang": lang,
        "mean_activation": mean, "ci_low": mean and mean - 0.1, "ci_high": mean and mean + 0.1, "n": 12,
        "measured": "phrases", "share": 0.2, "n_fired": 40, "n_texts": 200,
        "histogram": [12, 9, 8, 5, 3, 1, 1, 1, 0, 0, 0, 0], "histogram_max": 2.0,
    }  # fmt: skip


def _frame(rows: list[dict[str, Any]], contract: dict[str, Any]) -> pl.DataFrame:
    schema = {column: _KINDS[str(kind)] for column, kind in contract.items()}
    return pl.DataFrame([{column: row.get(column) for column in contract} for row in rows], schema=schema)
