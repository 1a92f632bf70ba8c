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
