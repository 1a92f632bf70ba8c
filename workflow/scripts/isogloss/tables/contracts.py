"""The contracts of a model's final tables, by name of the table."""

from isogloss.tables.bilingual import FEATURES, INTERVENTION, SAE_SEEDS, SELECTIVITY, SELECTIVITY_BY_MINIMUM
from isogloss.tables.causal import ABLATION, ABLATION_SUMMARY, LANGUAGE_FEATURES
from isogloss.tables.contract import Contract
from isogloss.tables.disparity import (
    ACCURACY,
    ALIGNMENT_GAIN,
    ALIGNMENT_RETENTION,
    GAP_ACCURACY_CORRELATION,
    GROUP_GAP,
    GROUP_INFERENCE,
    LANGUAGE_GAP,
    RECIPROCAL_GAP,
    SIMILARITY,
    SIMILARITY_PAIRS,
)
from isogloss.tables.explorer import EXPLORER, EXPLORER_FEATURES
from isogloss.tables.joined import JOINED, JOINED_CORRELATIONS, JOINED_INCREMENTAL
from isogloss.tables.latent import (
    LATENT,
    LATENT_CORRELATION,
    PROJECTION,
    STEERING,
    STEERING_JUDGED,
    TRANSFER,
    TRANSFER_LAYERS,
)

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
    "transfer_layers": TRANSFER_LAYERS,
    "latent": LATENT,
    "latent_correlation": LATENT_CORRELATION,
    "steering": STEERING,
    "steering_judged": STEERING_JUDGED,
    "projection": PROJECTION,
    "features": FEATURES,
    "selectivity": SELECTIVITY,
    "selectivity_by_minimum": SELECTIVITY_BY_MINIMUM,
    "sae_seeds": SAE_SEEDS,
    "intervention": INTERVENTION,
    "language_features": LANGUAGE_FEATURES,
    "ablation": ABLATION,
    "ablation_summary": ABLATION_SUMMARY,
    "explorer": EXPLORER,
    "explorer_features": EXPLORER_FEATURES,
    "joined": JOINED,
    "joined_correlations": JOINED_CORRELATIONS,
    "joined_incremental": JOINED_INCREMENTAL,
}
