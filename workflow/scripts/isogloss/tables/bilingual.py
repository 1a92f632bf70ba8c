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
    "monosemanticity_excess": _F,
    "monosemanticity_calibrated": _F,
    "monosemanticity_calibrated_excess": _F,
    "n_tokens_distinct": _L,
    "n_firings": _L,
    "class_firings": _S,
    "class_counted": _S,
}
SELECTIVITY: Contract = {
    "step": _L,
    "layer": _I,
    "class": _S,
    "share": _F,
    "monosemanticity": _F,
    "span_length": _F,
    "n_features": _I,
    "monosemanticity_calibrated_excess": _F,
    "share_counted": _F,
    "share_firings": _F,
    "agreement": _F,
    "n_features_several": _I,
    "n_features_counted": _I,
    "similarity_calibrated": _F,
    "random_pairs_above_similarity": _F,
}
SELECTIVITY_BY_MINIMUM: Contract = {
    "step": _L,
    "layer": _I,
    "class": _S,
    "minimum": _I,
    "share": _F,
    "share_low": _F,
    "share_high": _F,
    "n_features": _I,
    "n_features_counted": _I,
}
SAE_SEEDS: Contract = {
    "seed_a": _L,
    "seed_b": _L,
    "layer": _I,
    "step": _L,
    "mixed_share": _F,
    "mixed_share_low": _F,
    "mixed_share_high": _F,
    "mixed_share_counted": _F,
    "mixed_share_counted_low": _F,
    "mixed_share_counted_high": _F,
    "mixed_share_firings": _F,
    "mixed_share_firings_low": _F,
    "mixed_share_firings_high": _F,
    "stability": _F,
    "stability_low": _F,
    "stability_high": _F,
    "nearest_cosine": _F,
    "n_features": _I,
    "n_alive": _I,
    "stability_chance": _F,
    "nearest_cosine_chance": _F,
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
    "injected_norm": _F,
    "mean_firings": _F,
    "selective_share": _F,
}
