"""The final tables of paper C's study: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _L, _S = pa.float64(), pa.int32(), pa.int64(), pa.string()

FEATURES: Contract = {
    "step": _L,
    "layer": _I,
    "feature": _I,
    "class": _S,
    "token_entropy": _F,
    "semantic_entropy": _F,
    "monosemanticity": _F,
    "span_length": _F,
    "n_activations": _L,
}
SELECTIVITY: Contract = {
    "step": _L,
    "layer": _I,
    "class": _S,
    "share": _F,
    "monosemanticity": _F,
    "span_length": _F,
    "n_features": _I,
}
INTERVENTION: Contract = {
    "step": _L,
    "class": _S,
    "alpha": _F,
    "n_features": _I,
    "repeat": _I,
    "lang": _S,
    "perplexity": _F,
    "chrf": _F,
    "bleu": _F,
    "comet": _F,
}
