"""Which entries of the catalogue a study yields, the files they are made from and the settings they read.

`settings` is the resolved config throughout. Read by the Snakefile, so this imports nothing heavy.
"""

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from isogloss.joined.instruments import compared_tables, joins
from isogloss.joined.measures import shared_tables
from isogloss.report.catalogue import BETWEEN_FIGURES, BETWEEN_TABLES, FIGURES, FINDINGS, TABLES
from isogloss.report.entry import Entry, Needs


def figure_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the resolved config that figures read: a change elsewhere does not redraw them."""
    return {
        "languages": settings["languages"],
        "models": {
            name: {key: model[key] for key in ("title", "traits", "shares", "analyses") if key in model}
            for name, model in settings["models"].items()
        },
        "gap": {"variant": settings["gap"]["variant"]},
        "statistics": {"confidence": settings["statistics"]["confidence"]},
        "alignment": {key: settings["alignment"][key] for key in ("runs", "distance")},
        "benchmarks": {"tasks": settings["benchmarks"]["tasks"]},
        "bilingual": {"languages": settings["bilingual"]["languages"]},
        "latent": {"steering": _shown(settings["latent"]["steering"])},
    }


def _shown(steering: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {"gamma_shown": steering["gamma_shown"]} if steering else None


def figures_of(settings: Mapping[str, Any], model: str) -> list[str]:
    """The figures that the study draws of a model, in the report's order."""
    return [name for name, entry in FIGURES.items() if wanted(entry.needs, settings, model)]


def tables_of(settings: Mapping[str, Any], model: str) -> list[str]:
    """The HTML tables that the study sets of a model, in the report's order."""
    return [name for name, entry in TABLES.items() if wanted(entry.needs, settings, model)]


def figure_inputs(settings: Mapping[str, Any], name: str, model: str) -> list[str]:
    """The Parquet files that a figure of a model is drawn from."""
    return _paths(FIGURES[name], settings, model)


def table_inputs(name: str, model: str) -> str:
    """The Parquet file that an HTML table of a model is set from."""
    return _table(model, TABLES[name].tables[0])


def shared_of(settings: Mapping[str, Any]) -> list[str]:
    """The tables with measures that a model with planted shares and its control have in common."""
    models = settings["models"]
    pairs = [(model, models[model["control"]]) for model in models.values() if "control" in model]
    return [table for model, control in pairs for table in shared_tables(model["analyses"], control["analyses"])]


def compares(settings: Mapping[str, Any]) -> bool:
    """Whether a model with planted shares and its control have measures in common."""
    return bool(shared_of(settings))


def between_figures(settings: Mapping[str, Any]) -> list[str]:
    """The figures that compare models."""
    models = settings["models"].values()
    measured = len(models) > 1 and any(compared_tables(model["analyses"]) for model in models)
    planted = ["planted_truth", "planted_truth_languages"] if compares(settings) else []
    both = {"accuracy", "language_gap_summary"} <= set(shared_of(settings))
    return [*planted, *(["gap_accuracy_worlds"] if both else []), *(["models"] if measured else [])]


def between_tables(settings: Mapping[str, Any]) -> list[str]:
    """The HTML tables that compare models."""
    models = settings["models"].values()
    features = any("bilingual" in model["analyses"] for model in models)
    slopes = len(models) > 2
    more = {"sizes": features, "size_regression": slopes} if "models" in between_figures(settings) else {}
    shown = [name for name in between_figures(settings) if name in BETWEEN_TABLES]
    return [*shown, *(name for name, there in more.items() if there)]


def between(settings: Mapping[str, Any]) -> list[str]:
    """What the report shows of all models together."""
    figures = [f"results/comparison/figures/{name}.svg" for name in between_figures(settings)]
    return [*figures, *(f"results/comparison/html/{name}.html" for name in between_tables(settings))]


def between_figure_inputs(name: str) -> list[str]:
    """The Parquet files of a figure that compares models."""
    return [_table("comparison", table) for table in BETWEEN_FIGURES[name].tables]


def between_table_inputs(name: str) -> str:
    """The Parquet file of an HTML table that compares models."""
    return _table("comparison", BETWEEN_TABLES[name].tables[0])


def summary_tables(settings: Mapping[str, Any]) -> list[str]:
    """The Parquet files that the page is made from: what each model's figures, tables and findings read, each once."""
    paths: list[str] = []
    for model in settings["models"]:
        paths += [path for name in figures_of(settings, model) for path in _paths(FIGURES[name], settings, model)]
        paths += [table_inputs(name, model) for name in tables_of(settings, model)]
        findings = [one for one in FINDINGS if wanted(one.needs, settings, model)]
        paths += [_table(model, table) for one in findings for table in one.tables]
        paths += explorer_tables(settings, model)
    compared = [path for name in between_figures(settings) for path in between_figure_inputs(name)]
    compared += [between_table_inputs(name) for name in between_tables(settings)]
    if "models" in between_figures(settings):  # what the sentences on all models read
        compared.append(_table("comparison", "size_regression"))
    return list(dict.fromkeys([*paths, *compared]))


def summary_figures(settings: Mapping[str, Any]) -> list[str]:
    """The figures (SVG) that the page may show: those of every model and those that compare models."""
    between = [f"results/comparison/figures/{name}.svg" for name in between_figures(settings)]
    models = settings["models"]
    return [
        *between,
        *(f"results/{model}/figures/{name}.svg" for model in models for name in figures_of(settings, model)),
    ]


def summary_entries() -> list[str]:
    """What the page looks up by name, as `module:name`: what makes findings, takeaways, charts and tables."""
    figures = [*FIGURES.values(), *BETWEEN_FIGURES.values()]
    tables = [*TABLES.values(), *BETWEEN_TABLES.values()]
    names = [one.function for one in FINDINGS]
    names += [name for one in figures for name in (one.takeaway, one.chart) if name]
    return list(dict.fromkeys([*names, *(one.drawing for one in tables)]))


def explorer_tables(settings: Mapping[str, Any], model: str) -> list[str]:
    """The Parquet files of a model that the feature explorer shows; none without the analysis gap."""
    shown = settings["explorer"]["features"] > 0 and "gap" in settings["models"][model]["analyses"]
    return [_table(model, name) for name in ("explorer", "explorer_features")] if shown else []


def wanted(needs: Needs, settings: Mapping[str, Any], model: str) -> bool:
    """Whether a model of the study has what an entry needs."""
    if needs.trait and needs.trait not in settings["models"][model]["traits"]:
        return False
    if needs.backend == "machine" and settings["translation"]["backend"] == "parallel":
        return False
    if needs.key and not reduce(getitem, needs.key.split("."), settings):
        return False
    given = set(settings["models"][model]["analyses"])
    if given & {"similarity", "gap"}:
        given.add("phrases")
    if joins(given):
        given.add("joined")
    if not set(needs.analyses) <= given:
        return False
    return "alignment" not in needs.analyses or bool(runs_for(settings, needs.runs))


def runs_for(settings: Mapping[str, Any], kind: str) -> list[str]:
    """The alignment runs of a kind: any, with several languages, with a single one, or benchmarked."""
    return [
        name
        for name, run in settings["alignment"]["runs"].items()
        if {
            "any": True,
            "several": len(run["languages"]) > 1,
            "single": len(run["languages"]) == 1,
            "benchmarked": run["benchmark"] != [],
        }[kind]
    ]


def _paths(entry: Entry, settings: Mapping[str, Any], model: str) -> list[str]:
    if entry.loss:
        return [f"results/{model}/alignment/{run}.parquet" for run in settings["alignment"]["runs"]]
    return [_table(model, name) for name in entry.tables]


def _table(model: str, name: str) -> str:
    return f"results/{model}/tables/{name}.parquet"
