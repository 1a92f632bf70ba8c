"""The entries of the report: every figure and HTML table, its title, place and inputs."""

from typing import NamedTuple


class Entry(NamedTuple):
    """A figure or an HTML table of one model."""

    title: str  # short: the report's list shows it
    category: str  # of the report's menu
    subcategory: str
    analyses: tuple[str, ...]  # analyses that a model needs for it; "phrases": similarity or gap
    tables: tuple[str, ...]  # Parquet tables under results/{model}/tables
    runs: str = "any"  # alignment runs that it needs: any | several (languages) | single (language) | benchmarked
    loss: bool = False  # takes results/{model}/alignment/{run}.parquet of every run, too
    kind: str = "any"  # models that have it: any | toy (trained here) | pretrained (fetched)
    backend: str = "any"  # translation.backend that it needs
    asked: str = ""  # dotted key of the config that must be set: bilingual.learning_rates (a search), latent.steering


_SIMILARITY, _GAP, _BENCHMARKS, _ALIGNMENT, _BILINGUAL, _LATENT, _MODEL = (
    "1 Embedding similarity",
    "2 Activation gap",
    "3 Benchmarks",
    "4 Activation alignment",
    "5 Bilingual features",
    "6 Latent language and transfer",
    "7 Model, SAEs and phrases",
)

FIGURES: dict[str, Entry] = {
    "similarity": Entry("Similarity to the reference", _SIMILARITY, "Figures", ("similarity",), ("similarity",)),
    "similarity_pairs": Entry(
        "Similarity of all pairs", _SIMILARITY, "Figures", ("similarity",), ("similarity_pairs",)
    ),
    "group_gap": Entry("Gap between groups", _GAP, "Figures", ("gap",), ("group_gap",)),
    "group_activation": Entry("Mean activation of the groups", _GAP, "Figures", ("gap",), ("group_activation",)),
    "language_gap": Entry("Gap of each language", _GAP, "Figures", ("gap",), ("language_gap", "language_gap_summary")),
    "activation_controls": Entry("Controls of the gap", _GAP, "Figures", ("gap",), ("activation_controls",)),
    "accuracy": Entry("Accuracy by language", _BENCHMARKS, "Figures", ("benchmarks",), ("accuracy",)),
    "accuracy_by_teaching": Entry(
        "Facts by where they were taught",
        _BENCHMARKS,
        "Figures",
        ("benchmarks",),
        ("accuracy_by_teaching",),
        kind="toy",
    ),
    "gap_accuracy_correlation": Entry(
        "Gap against accuracy",
        _BENCHMARKS,
        "Figures",
        ("gap", "benchmarks"),
        ("gap_accuracy_correlation", "gap_accuracy"),
    ),
    "alignment_gain": Entry(
        "Gain by language", _ALIGNMENT, "Figures", ("alignment",), ("alignment_gain",), runs="several"
    ),
    "alignment_gain_layers": Entry(
        "Gain by target layer", _ALIGNMENT, "Figures", ("alignment",), ("alignment_gain",), runs="single"
    ),
    "accuracy_change": Entry(
        "Accuracy before and after",
        _ALIGNMENT,
        "Figures",
        ("alignment", "benchmarks"),
        ("accuracy",),
        runs="benchmarked",
    ),
    "alignment_loss": Entry("Loss of the runs", _ALIGNMENT, "Figures", ("alignment",), (), loss=True),
    "selectivity": Entry(
        "Classes over training, middle layer", _BILINGUAL, "Figures", ("bilingual",), ("selectivity",)
    ),
    "selectivity_layers": Entry(
        "Mixed features over training by layer", _BILINGUAL, "Figures", ("bilingual",), ("selectivity",)
    ),
    "span_length": Entry("Span length over training by layer", _BILINGUAL, "Figures", ("bilingual",), ("selectivity",)),
    "intervention": Entry(
        "Perplexity after injection",
        _BILINGUAL,
        "Figures",
        ("bilingual",),
        ("intervention_summary",),
        asked="bilingual.intervention",
    ),
    "learning_rates": Entry(
        "Search of the SAEs' learning rate",
        _BILINGUAL,
        "Figures",
        ("bilingual",),
        ("learning_rates",),
        asked="bilingual.learning_rates",
    ),
    "sae_training": Entry("SAEs of the checkpoints", _BILINGUAL, "Figures", ("bilingual",), ("sae_training",)),
    "answers": Entry("Accuracy by language, sorted", _LATENT, "Figures", ("latent",), ("answers",)),
    "transfer": Entry("Positive transfer of all pairs", _LATENT, "Figures", ("latent",), ("transfer",)),
    "consistency": Entry("Consistency of all pairs", _LATENT, "Figures", ("latent",), ("transfer",)),
    "latent": Entry("Native or reference answers by layer", _LATENT, "Figures", ("latent",), ("latent",)),
    "latent_accuracy": Entry("Accuracy of the lens by layer", _LATENT, "Figures", ("latent",), ("latent",)),
    "latent_correlation": Entry(
        "Log ratio against accuracy and transfer",
        _LATENT,
        "Figures",
        ("latent",),
        ("latent_correlation", "latent", "answers", "transfer"),
    ),
    "projection": Entry("States on two components by layer", _LATENT, "Figures", ("latent",), ("projection",)),
    "steering": Entry(
        "Steering by strength", _LATENT, "Figures", ("latent",), ("steering_summary",), asked="latent.steering"
    ),
    "steering_layers": Entry(
        "Steering by layer", _LATENT, "Figures", ("latent",), ("steering_summary",), asked="latent.steering"
    ),
    "steering_languages": Entry(
        "Steering by language",
        _LATENT,
        "Figures",
        ("latent",),
        ("steering", "steering_summary"),
        asked="latent.steering",
    ),
    "latent_by_teaching": Entry(
        "Latent measures by where facts were taught",
        _LATENT,
        "Figures",
        ("latent",),
        ("latent_by_teaching",),
        kind="toy",
    ),
    "training": Entry("Training of the language model", _MODEL, "Figures", (), ("training",), kind="toy"),
    "sae_quality": Entry("Quality of the SAEs", _MODEL, "Figures", ("phrases",), ("sae_quality",), kind="toy"),
}

TABLES: dict[str, Entry] = {
    "similarity": Entry("Similarity to the reference", _SIMILARITY, "Tables", ("similarity",), ("similarity",)),
    "group_gap": Entry("Gap between groups", _GAP, "Tables", ("gap",), ("group_gap",)),
    "language_gap_summary": Entry(
        "Gap of each language over layers", _GAP, "Tables", ("gap",), ("language_gap_summary",)
    ),
    "language_gap": Entry("Gap by layer and language", _GAP, "Tables", ("gap",), ("language_gap",)),
    "group_activation": Entry("Mean activation of the groups", _GAP, "Tables", ("gap",), ("group_activation",)),
    "activation_controls": Entry("Controls of the gap", _GAP, "Tables", ("gap",), ("activation_controls",)),
    "accuracy": Entry("Accuracy", _BENCHMARKS, "Tables", ("benchmarks",), ("accuracy",)),
    "accuracy_by_teaching": Entry(
        "Facts by where they were taught",
        _BENCHMARKS,
        "Tables",
        ("benchmarks",),
        ("accuracy_by_teaching",),
        kind="toy",
    ),
    "gap_accuracy_correlation": Entry(
        "Gap against accuracy", _BENCHMARKS, "Tables", ("gap", "benchmarks"), ("gap_accuracy_correlation",)
    ),
    "alignment_gain": Entry("Gain and retention", _ALIGNMENT, "Tables", ("alignment",), ("alignment_gain",)),
    "accuracy_change": Entry(
        "Accuracy before and after",
        _ALIGNMENT,
        "Tables",
        ("alignment", "benchmarks"),
        ("accuracy",),
        runs="benchmarked",
    ),
    "selectivity": Entry("Classes by layer, last step", _BILINGUAL, "Tables", ("bilingual",), ("selectivity",)),
    "examples": Entry("Example features in context", _BILINGUAL, "Tables", ("bilingual",), ("examples",)),
    "intervention": Entry(
        "Perplexity and translation after injection",
        _BILINGUAL,
        "Tables",
        ("bilingual",),
        ("intervention_summary",),
        asked="bilingual.intervention",
    ),
    "sae_training": Entry("SAEs of the checkpoints", _BILINGUAL, "Tables", ("bilingual",), ("sae_training",)),
    "transfer_summary": Entry(
        "Accuracy, consistency and transfer", _LATENT, "Tables", ("latent",), ("transfer_summary",)
    ),
    "answers": Entry("Accuracy by language", _LATENT, "Tables", ("latent",), ("answers",)),
    "transfer": Entry("Transfer between languages", _LATENT, "Tables", ("latent",), ("transfer",)),
    "latent": Entry("Native or reference answers by layer", _LATENT, "Tables", ("latent",), ("latent",)),
    "latent_correlation": Entry(
        "Log ratio against accuracy and transfer", _LATENT, "Tables", ("latent",), ("latent_correlation",)
    ),
    "steering_summary": Entry(
        "Steering by layer and strength", _LATENT, "Tables", ("latent",), ("steering_summary",), asked="latent.steering"
    ),
    "latent_by_teaching": Entry(
        "Latent measures by where facts were taught",
        _LATENT,
        "Tables",
        ("latent",),
        ("latent_by_teaching",),
        kind="toy",
    ),
    "sae_quality": Entry("Quality of the SAEs", _MODEL, "Tables", ("phrases",), ("sae_quality",), kind="toy"),
    "reproduction": Entry(
        "Recorded activations found again", _MODEL, "Tables", ("phrases",), ("reproduction",), kind="pretrained"
    ),
    "phrase_counts": Entry("Phrases kept and dropped", _MODEL, "Tables", ("phrases",), ("phrase_counts",)),
    "translation_quality": Entry(
        "Translations kept and dropped", _MODEL, "Tables", ("phrases",), ("translation_quality",), backend="opus-mt"
    ),
}

PLANTED_TRUTH = Entry(
    "Planted and measured",
    "0 The planted truth",
    "Figures",
    ("gap", "benchmarks"),
    ("group_gap", "accuracy"),
    kind="toy",
)
"""Compares models, so it stands under results/comparison: results/comparison/figures/planted_truth.svg."""
