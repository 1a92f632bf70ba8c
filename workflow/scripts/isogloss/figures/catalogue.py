"""What the report shows: every figure and HTML table, its inputs, its place and its caption.

Read by the Snakefile, so it imports nothing heavy: what draws a figure is found by `isogloss.figures.draw`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


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
    asked: str = ""  # key of the section bilingual that must be set: learning_rates (a search) | intervention


_SIMILARITY, _GAP, _BENCHMARKS, _ALIGNMENT, _BILINGUAL, _MODEL = (
    "1 Embedding similarity",
    "2 Activation gap",
    "3 Benchmarks",
    "4 Activation alignment",
    "5 Bilingual features",
    "6 Model, SAEs and phrases",
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
        asked="intervention",
    ),
    "learning_rates": Entry(
        "Search of the SAEs' learning rate",
        _BILINGUAL,
        "Figures",
        ("bilingual",),
        ("learning_rates",),
        asked="learning_rates",
    ),
    "sae_training": Entry("SAEs of the checkpoints", _BILINGUAL, "Figures", ("bilingual",), ("sae_training",)),
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
        asked="intervention",
    ),
    "sae_training": Entry("SAEs of the checkpoints", _BILINGUAL, "Tables", ("bilingual",), ("sae_training",)),
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


def figure_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the resolved config that figures read: a change elsewhere does not redraw them."""
    return {
        "languages": config["languages"],
        "models": {
            name: {key: model[key] for key in ("title", "kind", "shares", "analyses") if key in model}
            for name, model in config["models"].items()
        },
        "gap": {"variant": config["gap"]["variant"]},
        "statistics": {"confidence": config["statistics"]["confidence"]},
        "alignment": {key: config["alignment"][key] for key in ("runs", "distance")},
        "benchmarks": {"tasks": config["benchmarks"]["tasks"]},
        "bilingual": {"languages": config["bilingual"]["languages"]},
    }


def overview_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the resolved config that the landing page reads."""
    keys = (
        "study",
        "seed",
        "languages",
        "world",
        "models",
        "phrases",
        "translation",
        "gap",
        "statistics",
        "alignment",
        "benchmarks",
        "bilingual",
    )
    return {key: config[key] for key in keys}


def figures_of(settings: Mapping[str, Any], model: str) -> list[str]:
    """The figures that the study draws of a model, in the report's order; `settings` is the resolved config."""
    return [name for name, entry in FIGURES.items() if _wanted(entry, settings, model)]


def tables_of(settings: Mapping[str, Any], model: str) -> list[str]:
    """The HTML tables that the study sets of a model, in the report's order."""
    return [name for name, entry in TABLES.items() if _wanted(entry, settings, model)]


def figure_inputs(settings: Mapping[str, Any], name: str, model: str) -> list[str]:
    """The Parquet files that a figure of a model is drawn from."""
    return _paths(FIGURES[name], settings, model)


def table_inputs(name: str, model: str) -> str:
    """The Parquet file that an HTML table of a model is set from."""
    return f"results/{model}/tables/{TABLES[name].tables[0]}.parquet"


def compared_models(settings: Mapping[str, Any]) -> list[str]:
    """The models that the figure of the planted truth compares: trained here, with gap and benchmarks."""
    return [
        name
        for name, model in settings["models"].items()
        if model["kind"] == PLANTED_TRUTH.kind and set(PLANTED_TRUTH.analyses) <= set(model["analyses"])
    ]


def planted_truth_inputs(settings: Mapping[str, Any]) -> list[str]:
    """The Parquet files of the figure that compares models."""
    return [path for model in compared_models(settings) for path in _paths(PLANTED_TRUTH, settings, model)]


def overview_tables(settings: Mapping[str, Any]) -> list[str]:
    """The Parquet files that the report's landing page is written from: of every model what its analyses yield."""
    names = (
        "similarity",
        "group_gap",
        "language_gap",
        "language_gap_summary",
        "activation_controls",
        "phrase_counts",
        "sae_quality",
        "reproduction",
        "translation_quality",
        "accuracy",
        "accuracy_by_teaching",
        "gap_accuracy_correlation",
        "alignment_gain",
        "selectivity",
        "intervention",
    )
    return [
        table_inputs(name, model)
        for model in settings["models"]
        for name in names
        if _wanted(TABLES[name], settings, model)
    ]


def overview_figures(settings: Mapping[str, Any]) -> list[str]:
    """The figures that the landing page embeds: the planted truth and the key figures of the first model."""
    first = next(iter(settings["models"]))
    keys = [
        name
        for name in ("group_gap", "alignment_gain", "gap_accuracy_correlation", "selectivity", "intervention")
        if name in figures_of(settings, first)
    ]
    planted = ["results/comparison/figures/planted_truth.svg"] if compared_models(settings) else []
    return [*planted, *(f"results/{first}/figures/{name}.svg" for name in keys)]


def _wanted(entry: Entry, settings: Mapping[str, Any], model: str) -> bool:
    if entry.kind not in ("any", settings["models"][model]["kind"]):
        return False
    if entry.backend not in ("any", settings["translation"]["backend"]):
        return False
    if entry.asked and not settings["bilingual"][entry.asked]:
        return False
    given = set(settings["models"][model]["analyses"])
    if given & {"similarity", "gap"}:
        given.add("phrases")
    if not set(entry.analyses) <= given:
        return False
    return "alignment" not in entry.analyses or bool(runs_for(settings, entry.runs))


def runs_for(settings: Mapping[str, Any], kind: str) -> list[str]:
    """The alignment runs of a kind: any, with several languages, with a single one, or benchmarked."""
    fits = {
        "any": lambda _: True,
        "several": lambda run: len(run["languages"]) > 1,
        "single": lambda run: len(run["languages"]) == 1,
        "benchmarked": lambda run: run["benchmark"] != [],
    }[kind]
    return [name for name, run in settings["alignment"]["runs"].items() if fits(run)]


def _paths(entry: Entry, settings: Mapping[str, Any], model: str) -> list[str]:
    tables = [f"results/{model}/tables/{name}.parquet" for name in entry.tables]
    losses = [f"results/{model}/alignment/{run}.parquet" for run in settings["alignment"]["runs"]]
    return tables + (losses if entry.loss else [])
