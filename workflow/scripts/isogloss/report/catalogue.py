"""What the report shows: every figure, HTML table and finding, what it is made from and for which models.

A figure or table is called as what its entry names, and its caption, workflow/report/{name}.rst, too. Read by the
Snakefile, so this imports nothing heavy.
"""

from isogloss.report.charted import CHARTS
from isogloss.report.entry import Entry, Finding, Needs


def _by_name(room: str, *entries: Entry) -> dict[str, Entry]:
    """Entries by name, drawn by the modules of a room; one that gives no tables is made from that of its own name.

    Here an entry's takeaway is the module, under `takeaways`, of the function of its own name.
    """
    return {
        one.name: one._replace(
            drawing=f"isogloss.report.{room}.{one.drawing}",
            tables=one.tables or (one.name,),
            takeaway=one.takeaway and f"isogloss.report.takeaways.{one.takeaway}:{one.name}",
            chart=CHARTS.get(one.name, "") if room == "figures" else "",
        )
        for one in entries
    }


# Where an entry stands in the report's menu, and what it needs.
_SIMILARITY, _GAP = ("1 Embedding similarity", Needs(("similarity",))), ("2 Activation gap", Needs(("gap",)))
_BENCHMARKS = ("3 Benchmarks", Needs(("benchmarks",)))
_CORRELATION = ("3 Benchmarks", Needs(("gap", "benchmarks")))
_TEACHING = ("3 Benchmarks", Needs(("benchmarks",), trait="taught"))
_ALIGNMENT = ("4 Activation alignment", Needs(("alignment",)))
_RUNS, _RUNS_OF_ONE = (("4 Activation alignment", Needs(("alignment",), runs=runs)) for runs in ("several", "single"))
_BENCHMARKED = ("4 Activation alignment", Needs(("alignment", "benchmarks"), runs="benchmarked"))
_BILINGUAL = ("5 Bilingual features", Needs(("bilingual",)))
_OVER_TRAINING = ("5 Bilingual features", Needs(("bilingual",), trait="checkpoints"))
_INJECTED = ("5 Bilingual features", Needs(("bilingual",), trait="injected"))
_SEARCHED = ("5 Bilingual features", Needs(("bilingual",), key="bilingual.learning_rates"))
_SEEDED = ("5 Bilingual features", Needs(("bilingual",), key="bilingual.sae_seeds"))
_LATENT = ("6 Latent language and transfer", Needs(("latent",)))
_STEERED = ("6 Latent language and transfer", Needs(("latent",), key="latent.steering"))
_LATENT_TEACHING = ("6 Latent language and transfer", Needs(("latent",), trait="taught"))
_ABLATED = ("7 Ablation of a language's features", Needs(("causal",)))
_MODEL = ("Model, SAEs and phrases", Needs(trait="taught"))
_PHRASES, _SAES, _EXPORTED, _TRANSLATED = (
    ("Model, SAEs and phrases", Needs(("phrases",), **more))
    for more in ({}, {"trait": "trained_saes"}, {"trait": "exports"}, {"backend": "machine"})
)

_JOINED = ("8 What joins the three", Needs(("joined",)))

FIGURES = _by_name(
    "figures",
    Entry("similarity:similarity", "Similarity to the reference", *_SIMILARITY, takeaway="similarity"),
    Entry("similarity:retrieval", "Retrieval of translations", *_SIMILARITY, ("similarity",), takeaway="similarity"),
    Entry("similarity:similarity_pairs", "Similarity of all pairs", *_SIMILARITY, takeaway="similarity"),
    Entry(
        "reciprocal:reciprocal_gap", "Gap chosen both ways", *_GAP, ("reciprocal_gap", "reciprocal_gap_summary"),
        takeaway="gap",
    ),
    Entry("gap:group_gap", "Gap between groups", *_GAP, takeaway="gap"),
    Entry("gap:group_activation", "Mean activation of the groups", *_GAP, takeaway="gap"),
    Entry(
        "gap:language_gap", "Gap of each language", *_GAP,
        ("language_gap", "language_gap_summary", "activation_controls"), takeaway="gap",
    ),
    Entry("gap:activation_controls", "Controls of the gap", *_GAP, takeaway="gap"),
    Entry("benchmarks:accuracy", "Accuracy by language", *_BENCHMARKS, takeaway="benchmarks"),
    Entry("teaching:accuracy_by_teaching", "Facts by where they were taught", *_TEACHING, takeaway="benchmarks"),
    Entry(
        "gap_accuracy:gap_accuracy_correlation", "Gap against accuracy", *_CORRELATION,
        ("gap_accuracy_correlation", "gap_accuracy"), takeaway="benchmarks",
    ),
    Entry("alignment:alignment_gain", "Gain by language", *_RUNS, takeaway="alignment"),
    Entry(
        "alignment:alignment_gain_layers", "Gain by target layer", *_RUNS_OF_ONE, ("alignment_gain",),
        takeaway="alignment",
    ),
    Entry(
        "benchmarks:accuracy_change", "Accuracy before and after", *_BENCHMARKED, ("accuracy",),
        takeaway="benchmarks",
    ),
    Entry("alignment:alignment_loss", "Loss of the runs", *_ALIGNMENT, loss=True, takeaway="alignment"),
    Entry("bilingual:selectivity", "Classes over training, middle layer", *_OVER_TRAINING, takeaway="bilingual"),
    Entry(
        "bilingual:selectivity_layers", "Mixed features over training by layer", *_OVER_TRAINING, ("selectivity",),
        takeaway="bilingual",
    ),
    Entry(
        "bilingual:span_length", "Span length over training by layer", *_OVER_TRAINING, ("selectivity",),
        takeaway="bilingual",
    ),
    Entry(
        "intervention:intervention", "Perplexity after injection", *_INJECTED, ("intervention_summary",),
        takeaway="bilingual",
    ),
    Entry("bilingual:learning_rates", "Search of the SAEs' learning rate", *_SEARCHED, takeaway="bilingual"),
    Entry("bilingual:sae_training", "SAEs of the checkpoints", *_OVER_TRAINING, takeaway="bilingual"),
    Entry("answers:answers", "Accuracy by language, sorted", *_LATENT, takeaway="latent"),
    Entry(
        "answers:transfer", "Positive transfer of all pairs", *_LATENT, ("transfer", "transfer_summary", "answers"),
        takeaway="latent",
    ),
    Entry(
        "answers:consistency", "Consistency of all pairs", *_LATENT, ("transfer", "transfer_summary"),
        takeaway="latent",
    ),
    Entry("latent_layers:transfer_layers", "Consistency and transfer by layer", *_LATENT, takeaway="latent"),
    Entry("latent:latent", "Native or reference answers by layer", *_LATENT, takeaway="latent"),
    Entry("latent:latent_accuracy", "Accuracy of the lens by layer", *_LATENT, ("latent",), takeaway="latent"),
    Entry(
        "latent:latent_correlation", "Log ratio against accuracy and transfer", *_LATENT,
        ("latent_correlation", "latent", "answers", "transfer"), takeaway="latent",
    ),
    Entry("projection:projection", "States on two components by layer", *_LATENT, takeaway="latent"),
    Entry("steering:steering", "Steering by strength", *_STEERED, ("steering",), takeaway="steering"),
    Entry("steering:steering_layers", "Steering by layer", *_STEERED, ("steering",), takeaway="steering"),
    Entry("steering:steering_languages", "Steering by language", *_STEERED, ("steering_judged",), takeaway="steering"),
    Entry(
        "steering_reference:steering_reference", "Steering against accuracy without it", *_STEERED, ("steering",),
        takeaway="steering",
    ),
    Entry("steering_judged:steering_judged", "Steering chosen and judged apart", *_STEERED, takeaway="steering"),
    Entry(
        "latent_teaching:latent_by_teaching", "Latent measures by where facts were taught", *_LATENT_TEACHING,
        takeaway="latent",
    ),
    Entry(
        "causal:ablation", "Change of loss, ablated by measured language", *_ABLATED, ("ablation", "ablation_summary"),
        takeaway="causal",
    ),
    Entry("training:training", "Training of the language model", *_MODEL, takeaway="training"),
    Entry("training:sae_quality", "Quality of the SAEs", *_SAES, takeaway="training"),
    Entry(
        "joined:joined_correlations", "Accuracy against every instrument", *_JOINED,
        ("joined_correlations", "joined_incremental"), takeaway="joined",
    ),
)  # fmt: skip

_COMPARED = ("0 The planted truth", Needs())
_TRUTH = ("planted_truth", "planted_truth_points")
PLANTED_TRUTH, PLANTED_LANGUAGES, WORLDS = (
    Entry(f"isogloss.report.figures.{module}", title, *_COMPARED, tables, takeaway=f"isogloss.report.takeaways.{said}")
    for module, title, tables, said in (
        ("comparison:planted_truth", "What measures find of the planted shares", _TRUTH, "planted:planted_truth"),
        ("planted_languages:planted_truth_languages", "The planted shares, language by language", _TRUTH,
         "planted:planted_truth_languages"),
        ("gap_accuracy:gap_accuracy_worlds", "Gap against accuracy, planted and equal shares", _TRUTH[1:],
         "planted:gap_accuracy_worlds"),
    )
)  # fmt: skip
"""They compare models, so they stand under results/comparison: results/comparison/figures/planted_truth.svg."""
PLANTED_VERDICTS = Entry(
    "isogloss.report.tables.comparison:PLANTED_TRUTH", "Verdicts on the measures", *_COMPARED, ("planted_truth",)
)
"""The same as a table: results/comparison/html/planted_truth.html."""

BETWEEN = "9 Between models"
_BETWEEN = (BETWEEN, Needs())
MODELS = Entry(
    "isogloss.report.figures.between:models", "The models compared", *_BETWEEN, ("models", "sizes"),
    takeaway="isogloss.report.takeaways.between:models",
)  # fmt: skip
BETWEEN_FIGURES = {
    one.name: one._replace(chart=CHARTS.get(one.name, "")) for one in (PLANTED_TRUTH, PLANTED_LANGUAGES, WORLDS, MODELS)
}
BETWEEN_TABLES = {
    one.name: one._replace(tables=one.tables or (one.name,))
    for one in (
        PLANTED_VERDICTS,
        Entry("isogloss.report.tables.comparison:MODELS", "Accuracy, consistency and transfer by model", *_BETWEEN),
        Entry("isogloss.report.tables.comparison:SIZES", "Features by model", *_BETWEEN),
        Entry("isogloss.report.tables.comparison:SIZE_REGRESSION", "Slopes on the size of the model", *_BETWEEN),
    )
}
"""What compares models, by name: figures and HTML tables of results/comparison."""

TABLES = _by_name(
    "tables",
    Entry("disparity:SIMILARITY", "Similarity to the reference", *_SIMILARITY),
    Entry("disparity:RECIPROCAL_GAP_SUMMARY", "Gap chosen both ways over layers", *_GAP),
    Entry("disparity:RECIPROCAL_GAP", "Gap chosen both ways by layer", *_GAP),
    Entry("disparity:GROUP_GAP", "Gap between groups", *_GAP),
    Entry("disparity:GROUP_INFERENCE", "Groups compared over languages", *_GAP),
    Entry("disparity:LANGUAGE_GAP_SUMMARY", "Gap of each language over layers", *_GAP),
    Entry("disparity:LANGUAGE_GAP", "Gap by layer and language", *_GAP),
    Entry("disparity:GROUP_ACTIVATION", "Mean activation of the groups", *_GAP),
    Entry("disparity:ACTIVATION_CONTROLS", "Controls of the gap", *_GAP),
    Entry("disparity:ACCURACY", "Accuracy", *_BENCHMARKS),
    Entry("disparity:ACCURACY_BY_TEACHING", "Facts by where they were taught", *_TEACHING),
    Entry("disparity:GAP_ACCURACY_CORRELATION", "Gap against accuracy", *_CORRELATION),
    Entry("disparity:ALIGNMENT_GAIN", "Gain and retention", *_ALIGNMENT),
    Entry("disparity:ALIGNMENT_RETENTION", "Retention by language pair", *_ALIGNMENT),
    Entry("disparity:ACCURACY_CHANGE", "Accuracy before and after", *_BENCHMARKED, ("accuracy",)),
    Entry("bilingual:SELECTIVITY", "Classes by layer, last step", *_BILINGUAL),
    Entry("bilingual:SELECTIVITY_BY_MINIMUM", "Classes by counted activations", *_BILINGUAL),
    Entry("bilingual:SAE_SEEDS", "Mixed features in SAEs of other seeds", *_SEEDED),
    Entry("examples:EXAMPLES", "Example features in context", *_BILINGUAL),
    Entry(
        "bilingual:INTERVENTION", "Perplexity and translation after injection", *_INJECTED, ("intervention_summary",)
    ),
    Entry("bilingual:SAE_TRAINING", "SAEs of the checkpoints", *_BILINGUAL),
    Entry("latent:TRANSFER_SUMMARY", "Accuracy, consistency and transfer", *_LATENT),
    Entry("latent:ANSWERS", "Accuracy by language", *_LATENT),
    Entry("latent:TRANSFER", "Transfer between languages", *_LATENT),
    Entry("latent:TRANSFER_LAYERS", "Consistency and transfer by layer", *_LATENT),
    Entry("latent:LATENT", "Native or reference answers by layer", *_LATENT),
    Entry("latent:LATENT_CORRELATION", "Log ratio against accuracy and transfer", *_LATENT),
    Entry("latent:STEERING_SUMMARY", "Steering by layer and strength", *_STEERED),
    Entry("latent:STEERING_JUDGED", "Steering chosen and judged apart", *_STEERED),
    Entry("latent:LATENT_BY_TEACHING", "Latent measures by where facts were taught", *_LATENT_TEACHING),
    Entry("causal:ABLATION_SUMMARY", "Own and other languages without a language's features", *_ABLATED),
    Entry("disparity:SAE_QUALITY", "Quality of the SAEs", *_SAES),
    Entry("disparity:REPRODUCTION", "Recorded activations found again", *_EXPORTED),
    Entry("disparity:PHRASE_COUNTS", "Phrases kept and dropped", *_PHRASES),
    Entry("disparity:TRANSLATION_QUALITY", "Translations kept and dropped", *_TRANSLATED),
    Entry("joined:JOINED", "All measures by language", *_JOINED),
    Entry("joined:JOINED_CORRELATIONS", "Accuracy against every instrument", *_JOINED),
    Entry("joined:JOINED_INCREMENTAL", "Accuracy predicted by tokens, script and instruments", *_JOINED),
)

_D, _B, _L = (f"isogloss.report.findings.{paper}" for paper in ("disparity", "bilingual", "latent"))
FINDINGS = (
    Finding(
        "isogloss.report.findings.similarity:similarity", *_SIMILARITY, ("similarity",),
        "retrieval", "Retrieval of translations by layer",
    ),
    Finding(
        "isogloss.report.findings.reciprocal:reciprocal_gap", *_GAP, ("reciprocal_gap_summary", "reciprocal_gap"),
        "reciprocal_gap", "Gap chosen in the reference and in each language by layer",
    ),
    Finding("isogloss.report.findings.inference:group_inference", *_GAP, ("group_inference",)),
    Finding(f"{_D}:group_gap", *_GAP, ("group_gap",), "group_gap", "Gap between the groups by layer"),
    Finding(f"{_D}:language_gaps", *_GAP, ("language_gap_summary",)),
    Finding(f"{_D}:controls", "Controls of the gap", Needs(("gap",)), ("activation_controls",)),
    Finding(f"{_D}:accuracy", *_BENCHMARKS, ("accuracy",)),
    Finding(
        f"{_D}:correlation", *_CORRELATION, ("gap_accuracy_correlation",),
        "gap_accuracy_correlation", "Gap against accuracy by task",
    ),
    Finding(f"{_D}:teaching", *_TEACHING, ("accuracy_by_teaching",)),
    Finding(
        "isogloss.report.findings.alignment:alignment", *_ALIGNMENT, ("alignment_gain",),
        "alignment_gain", "Activation gain by language",
    ),
    Finding(f"{_D}:accuracy_change", *_BENCHMARKED, ("accuracy", "alignment_gain")),
    Finding(
        f"{_B}:selectivity", *_BILINGUAL, ("selectivity",),
        "selectivity", "Classes of features over training at the middle layer",
    ),
    Finding(f"{_B}:sae_seeds", *_SEEDED, ("sae_seeds",)),
    Finding(
        f"{_B}:intervention", *_INJECTED, ("intervention_summary",),
        "intervention", "Change of perplexity after injection by class",
    ),
    Finding(f"{_L}:answers", *_LATENT, ("answers",)),
    Finding(
        f"{_L}:transfer", *_LATENT, ("transfer_summary", "transfer"),
        "transfer", "Positive transfer between all pairs of languages",
    ),
    Finding("isogloss.report.findings.steering:transfer_layers", *_LATENT, ("transfer_layers",)),
    Finding(f"{_L}:latent", *_LATENT, ("latent",), "latent", "Log ratio of native to reference answers by layer"),
    Finding(f"{_L}:correlation", *_LATENT, ("latent_correlation",)),
    Finding(
        "isogloss.report.findings.steering:steering", *_STEERED, ("steering_judged",),
        "steering_judged", "Change of accuracy by steering, chosen and judged on different questions",
    ),
    Finding(f"{_L}:teaching", *_LATENT_TEACHING, ("latent_by_teaching",)),
    Finding(
        "isogloss.report.findings.causal:ablation", *_ABLATED, ("ablation_summary", "ablation"),
        "ablation", "Change of loss in each language without the features of each language",
    ),
    Finding(f"{_D}:phrases", "What was dropped", _PHRASES[1], ("phrase_counts",)),
    Finding(f"{_D}:saes", "What was dropped", _SAES[1], ("sae_quality",)),
    Finding(f"{_D}:reproduction", "What was dropped", _EXPORTED[1], ("reproduction",)),
    Finding(f"{_D}:translations", "What was dropped", _TRANSLATED[1], ("translation_quality",)),
    Finding(
        "isogloss.report.findings.joined:joined", *_JOINED, ("joined_correlations", "joined_incremental"),
        "joined_correlations", "Correlation of every instrument with accuracy, tokens and script taken out or not",
    ),
)  # fmt: skip
"""In the order of the landing page."""
