"""The final tables of the causal test: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _L, _S = pa.float64(), pa.int32(), pa.int64(), pa.string()

LANGUAGE_FEATURES: Contract = {
    "layer": _I,
    "lang": _S,
    "method": _S,
    "rank": _I,
    "feature": _I,
    "share": _F,
    "entropy": _F,
    "monolinguality": _F,
    "rate": _F,
    "rate_all": _F,
    "n_firings": _L,
    "n_firings_all": _L,
    "reason": _S,
}
ABLATION: Contract = {
    "layer": _I,
    "ablated": _S,
    "method": _S,
    "features": _S,
    "draw": _I,
    "lang": _S,
    "loss": _F,
    "change": _F,
    "ci_low": _F,
    "ci_high": _F,
    "removed_pct": _F,
    "n_features": _I,
    "n_texts": _I,
    "n_tokens": _L,
    "reason": _S,
}
ABLATION_SUMMARY: Contract = {
    "layer": _I,
    "method": _S,
    "ablated": _S,
    "own": _F,
    "others": _F,
    "difference": _F,
    "ci_low": _F,
    "ci_high": _F,
    "own_random": _F,
    "others_random": _F,
    "beyond_random": _F,
    "beyond_random_low": _F,
    "beyond_random_high": _F,
    "n_features": _I,
    "n_texts": _I,
    "n_languages": _I,
    "n_without": _I,
    "reason": _S,
}
