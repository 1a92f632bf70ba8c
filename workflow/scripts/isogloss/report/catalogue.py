"""What the report shows: every figure, HTML table and finding, what it is made from and for which models.

A figure or table is called as what its entry names, and its caption, workflow/report/{name}.rst, too. Read by the
Snakefile, so this imports nothing heavy.
"""

from isogloss.report.entry import Entry, Finding, Needs


def _by_name(*entries: Entry) -> dict[str, Entry]:
    """Entries by name; one that gives no tables is made from the table of its own name."""
    return {entry.name: entry if entry.tables else entry._replace(tables=(entry.name,)) for entry in entries}


_IF_SIMILARITY, _IF_GAP, _IF_BENCHMARKS = Needs(("similarity",)), Needs(("gap",)), Needs(("benchmarks",))
_IF_GAP_AND_BENCHMARKS, _IF_BENCHMARKS_OF_TOY = Needs(("gap", "benchmarks")), Needs(("benchmarks",), kind="toy")
_IF_ALIGNED, _IF_BILINGUAL, _IF_LATENT = Needs(("alignment",)), Needs(("bilingual",)), Needs(("latent",))
_IF_BENCHMARKED_RUNS = Needs(("alignment", "benchmarks"), runs="benchmarked")
_IF_INJECTED = Needs(("bilingual",), key="bilingual.intervention")
_IF_STEERED, _IF_LATENT_OF_TOY = Needs(("latent",), key="latent.steering"), Needs(("latent",), kind="toy")
_IF_PHRASES, _IF_PHRASES_OF_TOY = Needs(("phrases",)), Needs(("phrases",), kind="toy")
_IF_EXPORTED, _IF_TRANSLATED = Needs(("phrases",), kind="pretrained"), Needs(("phrases",), backend="opus-mt")

_SIMILARITY, _GAP, _BENCHMARKS, _ALIGNMENT, _BILINGUAL, _LATENT, _MODEL = (
    "1 Embedding similarity",
    "2 Activation gap",
    "3 Benchmarks",
    "4 Activation alignment",
    "5 Bilingual features",
    "6 Latent language and transfer",
    "7 Model, SAEs and phrases",
)

_F = "isogloss.report.figures"
FIGURES = _by_name(
    Entry(f"{_F}.similarity:similarity", "Similarity to the reference", _SIMILARITY, _IF_SIMILARITY),
    Entry(f"{_F}.similarity:similarity_pairs", "Similarity of all pairs", _SIMILARITY, _IF_SIMILARITY),
    Entry(f"{_F}.gap:group_gap", "Gap between groups", _GAP, _IF_GAP),
    Entry(f"{_F}.gap:group_activation", "Mean activation of the groups", _GAP, _IF_GAP),
    Entry(f"{_F}.gap:language_gap", "Gap of each language", _GAP, _IF_GAP, ("language_gap", "language_gap_summary")),
    Entry(f"{_F}.gap:activation_controls", "Controls of the gap", _GAP, _IF_GAP),
    Entry(f"{_F}.benchmarks:accuracy", "Accuracy by language", _BENCHMARKS, _IF_BENCHMARKS),
    Entry(
        f"{_F}.benchmarks:accuracy_by_teaching", "Facts by where they were taught", _BENCHMARKS, _IF_BENCHMARKS_OF_TOY,
    ),
    Entry(
        f"{_F}.benchmarks:gap_accuracy_correlation", "Gap against accuracy", _BENCHMARKS, _IF_GAP_AND_BENCHMARKS,
        ("gap_accuracy_correlation", "gap_accuracy"),
    ),
    Entry(f"{_F}.alignment:alignment_gain", "Gain by language", _ALIGNMENT, Needs(("alignment",), runs="several")),
    Entry(
        f"{_F}.alignment:alignment_gain_layers", "Gain by target layer", _ALIGNMENT,
        Needs(("alignment",), runs="single"), ("alignment_gain",),
    ),
    Entry(
        f"{_F}.benchmarks:accuracy_change", "Accuracy before and after", _ALIGNMENT, _IF_BENCHMARKED_RUNS,
        ("accuracy",),
    ),
    Entry(f"{_F}.alignment:alignment_loss", "Loss of the runs", _ALIGNMENT, _IF_ALIGNED, loss=True),
    Entry(f"{_F}.bilingual:selectivity", "Classes over training, middle layer", _BILINGUAL, _IF_BILINGUAL),
    Entry(
        f"{_F}.bilingual:selectivity_layers", "Mixed features over training by layer", _BILINGUAL, _IF_BILINGUAL,
        ("selectivity",),
    ),
    Entry(
        f"{_F}.bilingual:span_length", "Span length over training by layer", _BILINGUAL, _IF_BILINGUAL,
        ("selectivity",),
    ),
    Entry(
        f"{_F}.intervention:intervention", "Perplexity after injection", _BILINGUAL, _IF_INJECTED,
        ("intervention_summary",),
    ),
    Entry(
        f"{_F}.bilingual:learning_rates", "Search of the SAEs' learning rate", _BILINGUAL,
        Needs(("bilingual",), key="bilingual.learning_rates"),
    ),
    Entry(f"{_F}.bilingual:sae_training", "SAEs of the checkpoints", _BILINGUAL, _IF_BILINGUAL),
    Entry(f"{_F}.answers:answers", "Accuracy by language, sorted", _LATENT, _IF_LATENT),
    Entry(f"{_F}.answers:transfer", "Positive transfer of all pairs", _LATENT, _IF_LATENT),
    Entry(f"{_F}.answers:consistency", "Consistency of all pairs", _LATENT, _IF_LATENT, ("transfer",)),
    Entry(f"{_F}.latent:latent", "Native or reference answers by layer", _LATENT, _IF_LATENT),
    Entry(f"{_F}.latent:latent_accuracy", "Accuracy of the lens by layer", _LATENT, _IF_LATENT, ("latent",)),
    Entry(
        f"{_F}.latent:latent_correlation", "Log ratio against accuracy and transfer", _LATENT, _IF_LATENT,
        ("latent_correlation", "latent", "answers", "transfer"),
    ),
    Entry(f"{_F}.projection:projection", "States on two components by layer", _LATENT, _IF_LATENT),
    Entry(f"{_F}.steering:steering", "Steering by strength", _LATENT, _IF_STEERED, ("steering_summary",)),
    Entry(f"{_F}.steering:steering_layers", "Steering by layer", _LATENT, _IF_STEERED, ("steering_summary",)),
    Entry(
        f"{_F}.steering:steering_languages", "Steering by language", _LATENT, _IF_STEERED,
        ("steering", "steering_summary"),
    ),
    Entry(
        f"{_F}.latent_teaching:latent_by_teaching", "Latent measures by where facts were taught", _LATENT,
        _IF_LATENT_OF_TOY,
    ),
    Entry(f"{_F}.training:training", "Training of the language model", _MODEL, Needs(kind="toy")),
    Entry(f"{_F}.training:sae_quality", "Quality of the SAEs", _MODEL, _IF_PHRASES_OF_TOY),
)  # fmt: skip

PLANTED_TRUTH = Entry(
    f"{_F}.comparison:planted_truth",
    "Planted and measured",
    "0 The planted truth",
    Needs(("gap", "benchmarks"), kind="toy"),
    ("group_gap", "accuracy"),
)
"""Compares models, so it stands under results/comparison: results/comparison/figures/planted_truth.svg."""

_T = "isogloss.report.tables"
TABLES = _by_name(
    Entry(f"{_T}.disparity:SIMILARITY", "Similarity to the reference", _SIMILARITY, _IF_SIMILARITY),
    Entry(f"{_T}.disparity:GROUP_GAP", "Gap between groups", _GAP, _IF_GAP),
    Entry(f"{_T}.disparity:LANGUAGE_GAP_SUMMARY", "Gap of each language over layers", _GAP, _IF_GAP),
    Entry(f"{_T}.disparity:LANGUAGE_GAP", "Gap by layer and language", _GAP, _IF_GAP),
    Entry(f"{_T}.disparity:GROUP_ACTIVATION", "Mean activation of the groups", _GAP, _IF_GAP),
    Entry(f"{_T}.disparity:ACTIVATION_CONTROLS", "Controls of the gap", _GAP, _IF_GAP),
    Entry(f"{_T}.disparity:ACCURACY", "Accuracy", _BENCHMARKS, _IF_BENCHMARKS),
    Entry(
        f"{_T}.disparity:ACCURACY_BY_TEACHING", "Facts by where they were taught", _BENCHMARKS, _IF_BENCHMARKS_OF_TOY,
    ),
    Entry(f"{_T}.disparity:GAP_ACCURACY_CORRELATION", "Gap against accuracy", _BENCHMARKS, _IF_GAP_AND_BENCHMARKS),
    Entry(f"{_T}.disparity:ALIGNMENT_GAIN", "Gain and retention", _ALIGNMENT, _IF_ALIGNED),
    Entry(
        f"{_T}.disparity:ACCURACY_CHANGE", "Accuracy before and after", _ALIGNMENT, _IF_BENCHMARKED_RUNS,
        ("accuracy",),
    ),
    Entry(f"{_T}.bilingual:SELECTIVITY", "Classes by layer, last step", _BILINGUAL, _IF_BILINGUAL),
    Entry(f"{_T}.examples:EXAMPLES", "Example features in context", _BILINGUAL, _IF_BILINGUAL),
    Entry(
        f"{_T}.bilingual:INTERVENTION", "Perplexity and translation after injection", _BILINGUAL, _IF_INJECTED,
        ("intervention_summary",),
    ),
    Entry(f"{_T}.bilingual:SAE_TRAINING", "SAEs of the checkpoints", _BILINGUAL, _IF_BILINGUAL),
    Entry(f"{_T}.latent:TRANSFER_SUMMARY", "Accuracy, consistency and transfer", _LATENT, _IF_LATENT),
    Entry(f"{_T}.latent:ANSWERS", "Accuracy by language", _LATENT, _IF_LATENT),
    Entry(f"{_T}.latent:TRANSFER", "Transfer between languages", _LATENT, _IF_LATENT),
    Entry(f"{_T}.latent:LATENT", "Native or reference answers by layer", _LATENT, _IF_LATENT),
    Entry(f"{_T}.latent:LATENT_CORRELATION", "Log ratio against accuracy and transfer", _LATENT, _IF_LATENT),
    Entry(f"{_T}.latent:STEERING_SUMMARY", "Steering by layer and strength", _LATENT, _IF_STEERED),
    Entry(f"{_T}.latent:LATENT_BY_TEACHING", "Latent measures by where facts were taught", _LATENT, _IF_LATENT_OF_TOY),
    Entry(f"{_T}.disparity:SAE_QUALITY", "Quality of the SAEs", _MODEL, _IF_PHRASES_OF_TOY),
    Entry(f"{_T}.disparity:REPRODUCTION", "Recorded activations found again", _MODEL, _IF_EXPORTED),
    Entry(f"{_T}.disparity:PHRASE_COUNTS", "Phrases kept and dropped", _MODEL, _IF_PHRASES),
    Entry(f"{_T}.disparity:TRANSLATION_QUALITY", "Translations kept and dropped", _MODEL, _IF_TRANSLATED),
)  # fmt: skip

_D, _B, _L = (f"isogloss.report.findings.{paper}" for paper in ("disparity", "bilingual", "latent"))
FINDINGS = (
    Finding("Embedding similarity", f"{_D}:similarity", _IF_SIMILARITY, ("similarity",)),
    Finding(
        "Activation gap", f"{_D}:group_gap", _IF_GAP, ("group_gap",), "group_gap", "Gap between the groups by layer",
    ),
    Finding("Activation gap", f"{_D}:language_gaps", _IF_GAP, ("language_gap_summary",)),
    Finding("Controls of the gap", f"{_D}:controls", _IF_GAP, ("activation_controls",)),
    Finding("Benchmarks", f"{_D}:accuracy", _IF_BENCHMARKS, ("accuracy",)),
    Finding(
        "Benchmarks", f"{_D}:correlation", _IF_GAP_AND_BENCHMARKS, ("gap_accuracy_correlation",),
        "gap_accuracy_correlation", "Gap against accuracy by task",
    ),
    Finding("Benchmarks", f"{_D}:teaching", _IF_BENCHMARKS_OF_TOY, ("accuracy_by_teaching",)),
    Finding(
        "Activation alignment", f"{_D}:alignment", _IF_ALIGNED, ("alignment_gain",),
        "alignment_gain", "Activation gain by language",
    ),
    Finding("Activation alignment", f"{_D}:accuracy_change", _IF_BENCHMARKED_RUNS, ("accuracy", "alignment_gain")),
    Finding(
        "Bilingual features", f"{_B}:selectivity", _IF_BILINGUAL, ("selectivity",),
        "selectivity", "Classes of features over training at the middle layer",
    ),
    Finding(
        "Bilingual features", f"{_B}:intervention", _IF_INJECTED, ("intervention_summary",),
        "intervention", "Change of perplexity after injection by class",
    ),
    Finding("Latent language and transfer", f"{_L}:answers", _IF_LATENT, ("answers",)),
    Finding(
        "Latent language and transfer", f"{_L}:transfer", _IF_LATENT, ("transfer_summary", "transfer"),
        "transfer", "Positive transfer between all pairs of languages",
    ),
    Finding(
        "Latent language and transfer", f"{_L}:latent", _IF_LATENT, ("latent",),
        "latent", "Log ratio of native to reference answers by layer",
    ),
    Finding("Latent language and transfer", f"{_L}:correlation", _IF_LATENT, ("latent_correlation",)),
    Finding(
        "Latent language and transfer", f"{_L}:steering", _IF_STEERED, ("steering", "steering_summary"),
        "steering", "Change of accuracy, consistency and transfer by strength of steering",
    ),
    Finding("Latent language and transfer", f"{_L}:teaching", _IF_LATENT_OF_TOY, ("latent_by_teaching",)),
    Finding("What was dropped", f"{_D}:phrases", _IF_PHRASES, ("phrase_counts",)),
    Finding("What was dropped", f"{_D}:saes", _IF_PHRASES_OF_TOY, ("sae_quality",)),
    Finding("What was dropped", f"{_D}:reproduction", _IF_EXPORTED, ("reproduction",)),
    Finding("What was dropped", f"{_D}:translations", _IF_TRANSLATED, ("translation_quality",)),
)  # fmt: skip
"""In the order of the landing page."""
