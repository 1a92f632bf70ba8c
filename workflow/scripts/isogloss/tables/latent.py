"""The final tables of paper B's study: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _S = pa.float64(), pa.int32(), pa.string()


def _bounded(*names: str) -> list[str]:
    """Columns, each followed by the ends of its interval."""
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


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
    **dict.fromkeys(_bounded("transfer_above_chance"), _F),
}
TRANSFER_LAYERS: Contract = {
    "task": _S,
    "layer": _I,
    **dict.fromkeys(_bounded("consistency", "positive_transfer", "negative_transfer", "transfer_above_chance"), _F),
    **dict.fromkeys(_bounded("accuracy"), _F),
    "consistency_chance": _F,
    "positive_transfer_chance": _F,
    "negative_transfer_chance": _F,
    "n_languages": _I,
    "n": _I,
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
    **dict.fromkeys(_bounded("log_ratio_total", "log_ratio_character"), _F),
    "token_ratio": _F,
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
    **dict.fromkeys(("p_permutation", "partial_r", "partial_p", "length_r"), _F),
    **{
        f"{prefix}_{name}": _F
        for prefix in ("total", "character")
        for name in ("r", "p_permutation", "partial_r", "partial_p", "length_r")
    },
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
STEERING_JUDGED: Contract = {
    "task": _S,
    "vector": _S,
    "lang": _S,
    "layer_first": _I,
    "gamma_first": _F,
    "layer_second": _I,
    "gamma_second": _F,
    "change_chosen": _F,
    **dict.fromkeys(_bounded("change_judged", "at_own", "own_less"), _F),
    "n_directions": _I,
    "n_as_large": _I,
    "p": _F,
    "n_settings": _I,
    "n_languages": _I,
    "n": _I,
    "reason": _S,
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
