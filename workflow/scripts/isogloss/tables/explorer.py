"""The tables of the feature explorer: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _S = pa.float64(), pa.int32(), pa.string()

EXPLORER: Contract = {
    "sae": _S,
    "layer": _I,
    "feature": _I,
    "kind": _S,
    "item": _I,
    "lang": _S,
    "origin": _S,
    "name": _S,
    "text": _S,
    "activation": _F,
    "n_tokens": _I,
    "n_characters": _I,
    "first": _I,
    "tokens": pa.list_(_S),
    "activations": pa.list_(pa.float32()),
}
EXPLORER_FEATURES: Contract = {
    "sae": _S,
    "layer": _I,
    "feature": _I,
    "lists": pa.list_(_S),
    "class": _S,
    "largest_share": _F,
    "gap_pct": _F,
    "class_bilingual": _S,
    "monosemanticity": _F,
    "monosemanticity_excess": _F,
    "neuronpedia": _S,
    "lang": _S,
    "mean_activation": _F,
    "ci_low": _F,
    "ci_high": _F,
    "n": _I,
    "measured": _S,
    "share": _F,
    "n_fired": _I,
    "n_texts": _I,
    "histogram": pa.list_(_I),
    "histogram_max": _F,
}
