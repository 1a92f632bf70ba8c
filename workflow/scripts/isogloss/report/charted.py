"""Which figures have an interactive chart, and what draws it. Read by the Snakefile, so this imports nothing."""

_CHARTED = {
    "alignment": ("alignment_gain_layers", "alignment_loss"),
    "benchmarks": ("accuracy", "accuracy_change", "alignment_gain", "answers", "gap_accuracy_correlation"),
    "bilingual": ("ablation", "intervention", "selectivity", "selectivity_layers", "span_length"),
    "comparison": ("joined_correlations", "models", "planted_truth_languages"),
    "controls": ("activation_controls",),
    "disparity": (
        "group_gap", "language_gap", "reciprocal_gap", "retrieval", "similarity", "similarity_pairs",
    ),
    "latent": (
        "consistency", "latent", "latent_accuracy", "projection", "steering_judged", "transfer", "transfer_layers",
    ),
    "steering": ("steering", "steering_languages", "steering_layers"),
    "training": ("learning_rates", "sae_quality", "sae_training"),
}  # fmt: skip
CHARTS = {name: f"isogloss.report.charts.{module}:{name}" for module, names in _CHARTED.items() for name in names}
"""The function of a figure's interactive chart, by the figure's name."""
