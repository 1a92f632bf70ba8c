"""Synthetic result tables with a planted disparity: the contract's columns and the documented extras."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from isogloss.config import load_study
from isogloss.config.measures import Statistics
from isogloss.joined.measures import shared_tables
from isogloss.joined.planted_truth import measure_planted_truth
from isogloss.report.wanted import between_figures, compares
from isogloss.tables import read_table, write_table
from synthetic_alignment import alignment_tables, make_losses
from synthetic_benchmarks import benchmark_tables
from synthetic_bilingual import bilingual_tables
from synthetic_causal import ablation_tables
from synthetic_disparity import disparity_tables, planted
from synthetic_joined import joined_tables, models_tables
from synthetic_latent import latent_tables
from synthetic_quality import quality_tables, training_table

SHARES = {
    "en": 0.40,
    "zh": 0.10,
    "ru": 0.10,
    "es": 0.10,
    "it": 0.10,
    "id": 0.05,
    "ca": 0.05,
    "hi": 0.04,
    "mr": 0.03,
    "ml": 0.03,
}


def settings(layers: int = 4, languages: tuple[str, ...] = tuple(SHARES), **more: Any) -> dict[str, Any]:
    """A resolved configuration: a skewed and an equal model, one run on all languages, some on one.

    Paper C is asked of the skewed model, in the first languages of `languages` unless `more` says of which.
    """
    high = [c for c in ("en", "zh", "ru", "es", "it") if c in languages]
    low = [c for c in languages if c not in high]
    total = sum(SHARES[c] for c in languages)
    runs = {
        f"all-l{layers // 2}": {"target_layer": layers // 2, "languages": [c for c in languages if c != "en"]},
        **{
            f"{low[-1]}-l{layer}": {"target_layer": layer, "languages": [low[-1]], "benchmark": ["en", low[-1]]}
            for layer in sorted({0, layers // 3, layers - 1})
        },
    }
    model = {"architecture": {"layers": layers}}
    return load_study(
        {
            "study": "synthetic",
            "languages": {"high_resource": high, "medium_low_resource": low},
            "world": {"languages": list(languages), "bilingual": 0.4},  # so that few languages can have their shares
            "models": {
                "skewed": {
                    **model,
                    "title": "Skewed shares",
                    "shares": {c: SHARES[c] / total for c in languages},
                    "analyses": ["similarity", "gap", "alignment", "benchmarks", "bilingual", "latent", "causal"],
                },
                "equal": {
                    **model,
                    "title": "Equal shares",
                    "shares": {c: 1 / len(languages) for c in languages},
                    "analyses": ["gap", "benchmarks"],
                },
            },
            "alignment": {"runs": runs},
            "bilingual": {
                "languages": list(languages[:2]),
                "learning_rates": [5e-4, 1e-3, 2e-3, 5e-3],
                "sae_seeds": [1, 2],
            },
            **more,
        }
    ).resolved()


def make_tables(config: Mapping[str, Any], model: str, *, gap: float = 20.0, seed: int = 0) -> dict[str, pl.DataFrame]:
    """Every table of a model by name; `gap` is the planted gap of the groups in percent, any sign."""
    return dict(_made(json.dumps(config), model, gap, seed))


@lru_cache(maxsize=64)
def _made(config_text: str, model: str, gap: float, seed: int) -> Mapping[str, pl.DataFrame]:
    config = json.loads(config_text)
    rng = np.random.default_rng([seed, len(model)])
    own, runs = config["models"][model], config["alignment"]["runs"]
    layers = range(own["architecture"]["layers"])
    groups = config["languages"]
    world = planted(groups["high_resource"], groups["medium_low_resource"], layers, gap, rng)
    codes = world.codes
    adapters = {"base": codes}
    if "alignment" in own["analyses"]:
        adapters |= {name: run["benchmark"] or codes for name, run in runs.items()}
    tables = disparity_tables(world)
    mean_gap = dict(tables["language_gap_summary"].select("lang", "mean_gap_pct").iter_rows())
    tables |= benchmark_tables(world, mean_gap, adapters, rng)
    tables |= alignment_tables(world, runs)
    tables |= quality_tables(codes, layers)
    tables["training"] = training_table(own["shares"], rng)
    if "bilingual" in own["analyses"]:
        tables |= bilingual_tables(tuple(config["bilingual"]["languages"]), len(layers), seed=seed)
    if "causal" in own["analyses"]:
        tables |= ablation_tables(codes, layers[len(layers) // 2])
    if "latent" in own["analyses"]:
        tables |= latent_tables(codes, layers, tasks=tuple(config["latent"]["tasks"]), seed=seed)
    return tables | joined_tables(codes, layers)


def write_results(folder: Path, config: Mapping[str, Any], gaps: Mapping[str, float]) -> None:
    """Every model's tables as files under `folder`/results; `gaps` plants each model's group gap in percent."""
    for model, gap in gaps.items():
        for name, frame in make_tables(config, model, gap=gap).items():
            write_table(folder / f"results/{model}/tables/{name}.parquet", frame, metadata())
        for run, frame in make_losses(config).items():
            write_table(folder / f"results/{model}/alignment/{run}.parquet", frame, metadata())
    if compares(config):
        compare(folder, config)
    if "models" in between_figures(config):
        for name, frame in models_tables(config).items():
            write_table(folder / f"results/comparison/tables/{name}.parquet", frame, metadata())


def compare(folder: Path, config: Mapping[str, Any], model: str = "skewed", control: str = "equal") -> None:
    """The verdicts on the measures of a model and its control, whose tables are under `folder`/results."""
    names = shared_tables(*(config["models"][one]["analyses"] for one in (model, control)))
    measure_planted_truth(
        tables={
            one: {name: str(folder / f"results/{one}/tables/{name}.parquet") for name in names}
            for one in (model, control)
        },
        pairs=[(config["seed"], model, control)],
        shares={one: config["models"][one]["shares"] for one in (model, control)},
        reference=config["languages"]["reference"],
        statistics=Statistics(bootstrap=100),
        seed=0,
        planted_truth=str(folder / "results/comparison/tables/planted_truth.parquet"),
        planted_truth_points=str(folder / "results/comparison/tables/planted_truth_points.parquet"),
        metadata=metadata(),
    )


def compared(folder: Path, config: Mapping[str, Any], gaps: Mapping[str, float]) -> dict[str, pl.DataFrame]:
    """The tables that compare models, as the figure gets them; made of synthetic ones under `folder`."""
    write_results(folder, config, gaps)
    names = ("planted_truth", "planted_truth_points")
    return {f"comparison/{name}": read_table(folder / f"results/comparison/tables/{name}.parquet") for name in names}


def metadata() -> dict[str, Any]:
    """Provenance as a stage writes it."""
    return {
        "study": "synthetic",
        "rule": "gap",
        "wildcards": {},
        "code": "0123456789abcdef",
        "versions": {"torch": "2.0", "transformers": "4.0", "snakemake": "9.27.1"},
    }
