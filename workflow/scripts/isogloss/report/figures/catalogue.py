"""What the report shows: every figure and HTML table, its inputs, its place and its caption.

Read by the Snakefile, so it imports nothing heavy: what draws a figure is found by `isogloss.report.figures.draw`.
"""

from collections.abc import Mapping
from typing import Any

from isogloss.report.figures.entries import FIGURES, PLANTED_TRUTH, TABLES, Entry


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
        "latent",
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
        "answers",
        "transfer",
        "transfer_summary",
        "latent",
        "latent_correlation",
        "latent_by_teaching",
    )
    tables = [
        table_inputs(name, model)
        for model in settings["models"]
        for name in names
        if _wanted(TABLES[name], settings, model)
    ]
    steered = FIGURES["steering_languages"]
    return tables + [
        path
        for model in settings["models"]
        if _wanted(steered, settings, model)
        for path in _paths(steered, settings, model)
    ]


KEY_FIGURES = (
    "group_gap",
    "alignment_gain",
    "gap_accuracy_correlation",
    "selectivity",
    "intervention",
    "transfer",
    "latent",
    "steering",
)
"""The figures that the landing page shows of the first model."""


def overview_figures(settings: Mapping[str, Any]) -> list[str]:
    """The figures that the landing page embeds: the planted truth and the key figures of the first model."""
    first = next(iter(settings["models"]))
    keys = [name for name in KEY_FIGURES if name in figures_of(settings, first)]
    planted = ["results/comparison/figures/planted_truth.svg"] if compared_models(settings) else []
    return [*planted, *(f"results/{first}/figures/{name}.svg" for name in keys)]


def _wanted(entry: Entry, settings: Mapping[str, Any], model: str) -> bool:
    if entry.kind not in ("any", settings["models"][model]["kind"]):
        return False
    if entry.backend not in ("any", settings["translation"]["backend"]):
        return False
    if entry.asked and not _set(settings, entry.asked):
        return False
    given = set(settings["models"][model]["analyses"])
    if given & {"similarity", "gap"}:
        given.add("phrases")
    if not set(entry.analyses) <= given:
        return False
    return "alignment" not in entry.analyses or bool(runs_for(settings, entry.runs))


def _set(settings: Mapping[str, Any], key: str) -> bool:
    """Whether a dotted key of the configuration has a value."""
    for part in key.split("."):
        settings = settings[part]
    return bool(settings)


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
