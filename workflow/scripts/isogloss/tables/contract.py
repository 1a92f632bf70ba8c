"""The contract of the final tables: the columns that users' code reads, and their types.

Columns are added to a table, never renamed (README, "Tables"). Each table is a constant of its own, so that a new
or a changed one touches the rules that write it and no other.
"""

import polars as pl
import pyarrow as pa

Contract = dict[str, pa.DataType]  # columns and types, in order

_F, _I, _L, _S = pa.float64(), pa.int32(), pa.int64(), pa.string()

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

CONTRACTS: dict[str, Contract] = {
    "similarity": SIMILARITY,
    "similarity_pairs": SIMILARITY_PAIRS,
    "language_gap": LANGUAGE_GAP,
    "group_gap": GROUP_GAP,
    "reciprocal_gap": RECIPROCAL_GAP,
    "group_inference": GROUP_INFERENCE,
    "alignment_gain": ALIGNMENT_GAIN,
    "alignment_retention": ALIGNMENT_RETENTION,
    "accuracy": ACCURACY,
    "gap_accuracy_correlation": GAP_ACCURACY_CORRELATION,
    "transfer": TRANSFER,
    "latent": LATENT,
    "latent_correlation": LATENT_CORRELATION,
    "steering": STEERING,
    "projection": PROJECTION,
    "features": FEATURES,
    "selectivity": SELECTIVITY,
    "intervention": INTERVENTION,
}


def conforming(frame: pl.DataFrame, contract: Contract) -> pa.Table:
    """`frame` as a final table: the contract's columns first and of its types, what else it has after them.

    Raises `ValueError` if a column of the contract is missing (a bug, not a user's mistake).
    """
    missing = [column for column in contract if column not in frame.columns]
    if missing:
        raise ValueError(f"the contract's columns {missing} are missing")
    extra = [column for column in frame.columns if column not in contract]
    table = frame.select([*contract, *extra]).to_arrow()
    fields = [pa.field(c, contract[c]) if c in contract else table.schema.field(c) for c in table.column_names]
    return table.cast(pa.schema(fields))
