"""The final tables across models and studies: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _S = pa.float64(), pa.int32(), pa.string()

PLANTED_TRUTH: Contract = {
    "measure": _S,
    "layer": _I,
    "expected": _I,
    "slope": _F,
    "ci_low": _F,
    "ci_high": _F,
    "null_slope": _F,
    "null_ci_low": _F,
    "null_ci_high": _F,
    "rho": _F,
    "n": _I,
    "n_languages": _I,
    "n_seeds": _I,
    "n_undefined": _I,
    "verdict": _S,
    "reason": _S,
}

JOINED: Contract = {
    "layer": _I,
    "lang": _S,
    **dict.fromkeys(("gap_pct", "gap_from_reference_pct", "gap_from_lang_pct", "symmetric_gap_pct"), _F),
    **dict.fromkeys(("retrieval", "centred", "log_ratio", "mixed_share", "steering_gain"), _F),
    **dict.fromkeys(("accuracy", "positive_transfer", "token_ratio"), _F),
    "script": _S,
    "same_script": pa.bool_(),
    "family": _S,
    "n_tasks": _I,
}
_R = ("r", "ci_low", "ci_high", "p", "p_adjusted")
JOINED_CORRELATIONS: Contract = {
    "instrument": _S,
    **dict.fromkeys(_R, _F),
    **dict.fromkeys([f"partial_{name}" for name in _R], _F),
    **dict.fromkeys(("n", "family_size", "n_undefined", "partial_n", "partial_family_size", "partial_n_undefined"), _I),
    "n_orders": _I,
    "reason": _S,
    "partial_reason": _S,
}
JOINED_INCREMENTAL: Contract = {
    "instrument": _S,
    **dict.fromkeys(("r2_controls", "r2", "r2_left_out_controls", "r2_left_out", "gain_left_out"), _F),
    "n": _I,
    "reason": _S,
}
_BOUNDED = ("accuracy", "consistency", "positive_transfer", "negative_transfer")
_RELATED = ("accuracy_r", "consistency_r", "positive_transfer_r")
MODELS: Contract = {
    "model": _S,
    "n_parameters": pa.int64(),
    "analysis": _S,
    "task": _S,
    **{f"{name}{end}": _F for name in _BOUNDED for end in ("", "_low", "_high", "_chance")},
    "accuracy_sd": _F,
    **{f"{name}{end}": _F for name in _RELATED for end in ("", "_low", "_high")},
    "accuracy_common": _F,
    "n_languages": _I,
    "n_common": _I,
    "n": _I,
    "interval": _S,
    "reason": _S,
}
SIZES: Contract = {
    "model": _S,
    "n_parameters": pa.int64(),
    "step": pa.int64(),
    "layer": _I,
    "measure": _S,
    "class": _S,
    "value": _F,
    "value_low": _F,
    "value_high": _F,
    "n_features": _I,
    "reason": _S,
}
SIZE_REGRESSION: Contract = {
    "measure": _S,
    "analysis": _S,
    "task": _S,
    "slope": _F,
    "ci_low": _F,
    "ci_high": _F,
    "p": _F,
    "n_models": _I,
    "n_sizes": _I,
    "reason": _S,
}
