"""The final tables of paper A's study: columns and types."""

import pyarrow as pa

from isogloss.tables.contract import Contract

_F, _I, _S = pa.float64(), pa.int32(), pa.string()

SIMILARITY: Contract = {
    "layer": _I,
    "lang": _S,
    "cosine": _F,
    "ci_low": _F,
    "ci_high": _F,
    "n": _I,
    "centred": _F,
    "centred_ci_low": _F,
    "centred_ci_high": _F,
    "retrieval": _F,
    "retrieval_ci_low": _F,
    "retrieval_ci_high": _F,
    "retrieval_reverse": _F,
    "retrieval_reverse_ci_low": _F,
    "retrieval_reverse_ci_high": _F,
    "retrieval_chance": _F,
    "retrieval_n": _I,
}
SIMILARITY_PAIRS: Contract = {"layer": _I, "lang_a": _S, "lang_b": _S, "cosine": _F, "n": _I, "centred": _F}
LANGUAGE_GAP: Contract = {
    "layer": _I,
    "lang": _S,
    "mean_activation": _F,
    "gap_pct": _F,
    "ci_low": _F,
    "ci_high": _F,
    "p_adjusted": _F,
    "n_features": _I,
    "n_phrases": _I,
    "family_size": _I,
}
GROUP_GAP: Contract = {"layer": _I, "variant": _S, "gap_pct": _F, "ci_low": _F, "ci_high": _F}
_RECIPROCAL = {  # by the beginning of the columns of their intervals
    "gap_from_reference": "gap_from_reference_pct",
    "gap_from_lang": "gap_from_lang_pct",
    "symmetric_gap": "symmetric_gap_pct",
    "magnitude_from_reference": "magnitude_from_reference_pct",
    "magnitude_from_lang": "magnitude_from_lang_pct",
    "ceiling": "ceiling_pct",
    "floor": "floor_pct",
    "firing_from_reference": "firing_from_reference",
    "firing_from_lang": "firing_from_lang",
    "code_retrieval": "code_retrieval",
    "code_retrieval_reverse": "code_retrieval_reverse",
    "code_centred": "code_centred",
}
RECIPROCAL_GAP: Contract = {
    "layer": _I,
    "lang": _S,
    **{column: _F for name, value in _RECIPROCAL.items() for column in (value, f"{name}_ci_low", f"{name}_ci_high")},
    "code_retrieval_chance": _F,
    "n_features_reference": _I,
    "n_features_lang": _I,
    "n_texts": _I,
}
GROUP_INFERENCE: Contract = {
    "measure": _S,
    "layer": _I,
    **dict.fromkeys(("mean_high_resource", "mean_medium_low_resource", "difference", "ci_low", "ci_high"), _F),
    **dict.fromkeys(("p", "p_adjusted"), _F),
    "family_size": _I,
    "n_splits": _I,
    "smallest_p": _F,
    "exact": pa.bool_(),
    "n_high_resource": _I,
    "n_medium_low_resource": _I,
    "n_layers": _I,
    "reason": _S,
}
ALIGNMENT_GAIN: Contract = {
    "run": _S,
    "layer": _I,
    "lang": _S,
    "before": _F,
    "after": _F,
    "gain_pct": _F,
    "ci_low": _F,
    "ci_high": _F,
    "retention_pct": _F,
    "gain_held_out_pct": _F,
    "held_out_ci_low": _F,
    "held_out_ci_high": _F,
    "n_features_held_out": _I,
}
ALIGNMENT_RETENTION: Contract = {
    "run": _S,
    "layer": _I,
    "lang": _S,
    "retention_held_out_pct": _F,
    "held_out_ci_low": _F,
    "held_out_ci_high": _F,
    "retention_pct": _F,
    "ci_low": _F,
    "ci_high": _F,
    "n_features_held_out": _I,
    "n_features": _I,
    "n_phrases": _I,
}
ACCURACY: Contract = {
    "adapter": _S,
    "task": _S,
    "lang": _S,
    "metric": _S,
    "accuracy": _F,
    "stderr": _F,
    "ci_low": _F,
    "ci_high": _F,
    "n": _I,
    "family_size": _I,
}
GAP_ACCURACY_CORRELATION: Contract = {
    "task": _S,
    "r": _F,
    "ci_low": _F,
    "ci_high": _F,
    "p": _F,
    "p_adjusted": _F,
    "n": _I,
    "spearman": _F,
    "spearman_p": _F,
    "p_permutation": _F,
    "n_orders": _I,
    "family_size": _I,
}
