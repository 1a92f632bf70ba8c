"""The final tables of paper B's study: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _S = pa.float64(), pa.int32(), pa.string()

TRANSFER: Contract = {
    "task": _S,
    "lang_a": _S,
    "lang_b": _S,
    "consistency": _F,
    "consistency_low": _F,
    "consistency_high": _F,
    "positive_transfer": _F,
    "positive_transfer_low": _F,
    "positive_transfer_high": _F,
    "negative_transfer": _F,
    "negative_transfer_low": _F,
    "negative_transfer_high": _F,
    "n": _I,
    "consistency_chance": _F,
    "positive_transfer_chance": _F,
    "negative_transfer_chance": _F,
}
LATENT: Contract = {
    "task": _S,
    "layer": _I,
    "lang": _S,
    "log_ratio": _F,
    "log_ratio_low": _F,
    "log_ratio_high": _F,
    "accuracy_native": _F,
    "accuracy_native_low": _F,
    "accuracy_native_high": _F,
    "accuracy_reference": _F,
    "accuracy_reference_low": _F,
    "accuracy_reference_high": _F,
    "accuracy_letters": _F,
    "n": _I,
}
LATENT_CORRELATION: Contract = {
    "task": _S,
    "target": _S,
    "r": _F,
    "r_low": _F,
    "r_high": _F,
    "p": _F,
    "p_adjusted": _F,
    "stars": _S,
    "n": _I,
    "family_size": _I,
}
STEERING: Contract = {
    "task": _S,
    "lang": _S,
    "vector": _S,
    "layer": _I,
    "gamma": _F,
    "accuracy": _F,
    "accuracy_change": _F,
    "accuracy_change_low": _F,
    "accuracy_change_high": _F,
    "consistency": _F,
    "consistency_change": _F,
    "consistency_change_low": _F,
    "consistency_change_high": _F,
    "positive_transfer": _F,
    "positive_transfer_change": _F,
    "positive_transfer_change_low": _F,
    "positive_transfer_change_high": _F,
    "n": _I,
}
PROJECTION: Contract = {
    "task": _S,
    "layer": _I,
    "lang": _S,
    "question": _S,
    "pc1": _F,
    "pc2": _F,
    "explained_1": _F,
    "explained_2": _F,
}
