"""Synthetic result tables with a planted disparity: the contract's columns and the documented extras."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from isogloss.causal.effects import Ablation, Losses, ablation_rows, resampled_changes, summary_rows
from isogloss.config import load_study
from isogloss.config.measures import Statistics
from isogloss.joined.measures import shared_tables
from isogloss.joined.planted_truth import measure_planted_truth
from isogloss.languages import in_order
from isogloss.report.wanted import between_figures, compares
from isogloss.tables import read_table, write_table
from isogloss.tables.bilingual import SAE_SEEDS
from isogloss.tables.contract import rows_of
from synthetic_joined import joined_tables, models_tables
from synthetic_latent import latent_tables

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
TASKS = ("arc", "hellaswag", "mmlu")


STEPS = (1, 5, 27, 140, 720, 1328)


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


def _chosen_both_ways(gap: float) -> dict[str, float]:
    """A layer's row of a language, of whose `gap` a tenth is left once both sides choose."""
    values = {
        "gap_from_reference_pct": gap,
        "gap_from_lang_pct": 0.8 * gap,
        "symmetric_gap_pct": 0.1 * gap,
        "magnitude_from_reference_pct": 0.4 * gap,
        "magnitude_from_lang_pct": 0.3 * gap,
        "ceiling_pct": 5.0,
        "floor_pct": 80.0,
        "firing_from_reference": 0.7,
        "firing_from_lang": 0.75,
        "code_retrieval": 0.5 - gap / 200,
        "code_retrieval_reverse": 0.45,
        "code_centred": 0.3,
    }
    halves = {name: 3.0 if name.endswith("_pct") else 0.05 for name in values}
    bounds = {
        f"{name.removesuffix('_pct')}_ci_{end}": value + side * halves[name]
        for name, value in values.items()
        for end, side in (("low", -1), ("high", 1.1))
    }
    sizes = {"n_features_reference": 200, "n_features_lang": 190, "n_texts": 1000, "n_wordings": 1000}
    return values | bounds | {"code_retrieval_chance": 0.0075, **sizes}


def make_tables(config: Mapping[str, Any], model: str, *, gap: float = 20.0, seed: int = 0) -> dict[str, pl.DataFrame]:
    """Every table of a model by name; `gap` is the planted gap of the groups in percent, any sign."""
    rng = np.random.default_rng([seed, len(model)])
    layers = range(config["models"][model]["architecture"]["layers"])
    high, low = config["languages"]["high_resource"], config["languages"]["medium_low_resource"]
    codes = in_order([*high, *low])
    others = [c for c in codes if c != "en"]
    far = {code: 9 * at / max(9, len(codes) - 1) for at, code in enumerate(codes)}  # at most that of ten languages

    def planted(code: str, layer: int) -> float:
        base = 0.0 if code == "en" else gap * (0.3 if code in high else 1.1) + 0.6 * far[code]
        return (
            0.0 if code == "en" else base * (1.15 - 0.35 * layer / max(1, len(layers) - 1)) + float(rng.normal(0, 0.4))
        )

    def bounds(value: float, half: float) -> dict[str, float]:
        return {"ci_low": value - half, "ci_high": value + half * 1.1}

    gaps = {(layer, code): planted(code, layer) for layer in layers for code in codes}
    tables: dict[str, pl.DataFrame] = {}
    tables["language_gap"] = pl.DataFrame(
        [
            {
                "layer": layer,
                "lang": code,
                "mean_activation": (1 + layer) * (1 - g / 100),
                "gap_pct": g,
                **bounds(g, 2.0),
                "p_adjusted": None if code == "en" else 0.001,
                "n_features": 200,
                "n_phrases": 800,
                "family_size": len(layers) * len(others),
            }
            for (layer, code), g in gaps.items()
        ]
    )
    tables["language_gap_summary"] = pl.DataFrame(
        [
            {
                "lang": code,
                "mean_gap_pct": float(np.mean(v)),
                "std_gap_pct": float(np.std(v, ddof=1)) if len(v) > 1 else None,
                "n_layers": len(v),
                **bounds(float(np.mean(v)), 1.2),
            }
            for code in codes
            if (v := [gaps[layer, code] for layer in layers])
        ]
    )
    groups, activation = [], []
    for layer in layers:
        for variant, factor in (("with_reference", 1.0), ("without_reference", 0.8)):
            value = factor * gap * (1.2 - 0.4 * layer / max(1, len(layers) - 1))
            groups.append(
                {
                    "layer": layer,
                    "variant": variant,
                    "gap_pct": value,
                    **bounds(value, 3.0),
                    "n_features": 200,
                    "n_phrases": 800,
                }
            )
            for group, mean in (
                ("high_resource", 2.0 + layer),
                ("medium_low_resource", (2.0 + layer) * (1 - value / 100)),
            ):
                activation.append(
                    {"layer": layer, "group": group, "variant": variant, "mean_activation": mean, **bounds(mean, 0.15)}
                )
    tables["group_gap"], tables["group_activation"] = pl.DataFrame(groups), pl.DataFrame(activation)
    tables["group_inference"] = pl.DataFrame(
        [
            {
                "measure": measure,
                "layer": layer,
                "mean_high_resource": 0.3 * gap,
                "mean_medium_low_resource": 1.1 * gap,
                "difference": 0.8 * gap,
                **bounds(0.8 * gap, 4.0),
                "p": 1 / 126 if gap else 0.6,
                "p_adjusted": (2 / 126 if gap else 0.9),
                "family_size": 2 if layer is None else len(layers),
                "n_splits": 126,
                "smallest_p": 1 / 126,
                "exact": True,
                "n_high_resource": len(high) - 1,
                "n_medium_low_resource": len(low),
                "n_layers": len(layers) if layer is None else 1,
                "reason": None,
            }
            for measure in ("gap_pct", "retrieval")
            for layer in (None, *layers)
        ],
        schema_overrides={"layer": pl.Int32, "reason": pl.String},
    )
    tables["activation_controls"] = pl.DataFrame(
        [
            {
                "layer": layer,
                "lang": code,
                "gap_pct": g,
                "gap_ci_low": g - 2,
                "gap_ci_high": g + 2,
                "gap_shuffled_pct": 0.1 * g,
                "gap_shuffled_ci_low": 0.1 * g - 1,
                "gap_shuffled_ci_high": 0.1 * g + 1,
                "gap_random_pct": 0.02 * g,
                "gap_random_ci_low": 0.02 * g - 1,
                "gap_random_ci_high": 0.02 * g + 1,
                "token_ratio": 1 + 0.12 * far[code],
                "characters_per_token": 4.1 - 0.3 * far[code],
                "gap_equal_tokens_pct": 0.8 * g,
                "gap_equal_tokens_ci_low": 0.8 * g - 2.5,
                "gap_equal_tokens_ci_high": 0.8 * g + 2.75,
                "gap_good_translation_pct": None if code == "en" else 0.9 * g,
                "gap_good_translation_ci_low": None if code == "en" else 0.9 * g - 2.5,
                "gap_good_translation_ci_high": None if code == "en" else 0.9 * g + 2.5,
                "n_good_translation": 0 if code == "en" else 400,
                "n": 800,
            }
            for (layer, code), g in gaps.items()
        ]
    )
    both_ways = [
        {"layer": layer, "lang": code, **_chosen_both_ways(gaps[layer, code])} for layer in layers for code in others
    ]
    tables["reciprocal_gap"] = pl.DataFrame(both_ways)
    tables["reciprocal_gap_summary"] = (
        pl.DataFrame(both_ways)
        .group_by("lang", maintain_order=True)
        .agg(pl.exclude("layer", "code_retrieval_chance", "^n_.*$").mean(), n_layers=pl.len())
    )
    middle = max(1, len(layers) - 1) / 2
    tables["similarity"] = pl.DataFrame(
        [
            {
                "layer": layer,
                "lang": code,
                "cosine": c,
                **bounds(c, 0.0 if code == "en" else 0.015),
                "n": 400,
                "cosine_shuffled": 0.35 + 0.01 * layer,
                "cosine_shuffled_ci_low": 0.34,
                "cosine_shuffled_ci_high": 0.42,
                "n_shuffled": 398,
                "centred": 0.8 * c,
                "centred_ci_low": 0.8 * c - 0.02,
                "centred_ci_high": 0.8 * c + 0.02,
                **{
                    f"{way}{end}": 0.9 * c + more
                    for way in ("retrieval", "retrieval_reverse")
                    for end, more in (("", 0.0), ("_ci_low", -0.03), ("_ci_high", 0.03))
                },
                "retrieval_chance": 0.024,
                "retrieval_n": 250,
            }
            for layer in layers
            for code in codes
            if (c := 1.0 if code == "en" else 0.93 - 0.02 * far[code] - 0.05 * ((layer - middle) / middle) ** 2)
        ]
    )
    tables["similarity_pairs"] = pl.DataFrame(
        [
            {"layer": layer, "lang_a": a, "lang_b": b, "cosine": 0.95 - 0.03 * abs(i - j) - 0.005 * layer, "n": 400}
            for layer in layers
            for i, a in enumerate(codes)
            for j, b in enumerate(codes)
            if i < j
        ]
    )
    accuracy, teaching = [], []
    mean_gap = dict(tables["language_gap_summary"].select("lang", "mean_gap_pct").iter_rows())
    adapters = {"base": codes} | {name: run["benchmark"] or codes for name, run in config["alignment"]["runs"].items()}
    if "alignment" not in config["models"][model]["analyses"]:
        adapters = {"base": codes}
    for number, task in enumerate(TASKS):
        for adapter, spoken in adapters.items():
            for code in spoken:
                a = float(np.clip(0.9 - 0.015 * mean_gap[code] - 0.05 * number + rng.normal(0, 0.02), 0.05, 0.98))
                change = None if adapter == "base" else 0.04 - 0.03 * number
                accuracy.append(
                    {
                        "adapter": adapter,
                        "task": task,
                        "lang": code,
                        "metric": "acc",
                        "accuracy": a,
                        "stderr": 0.03,
                        **bounds(a, 0.06),
                        "n": 160,
                        "chance": 0.25,
                        "difference": change,
                        "difference_ci_low": None if change is None else change - 0.03,
                        "difference_ci_high": None if change is None else change + 0.03,
                        "p": None if change is None else 0.02,
                        "p_adjusted": None if change is None else 0.2,
                        "family_size": 42,
                    }
                )
                for taught, lower in (
                    ("all", 0.0),
                    ("reference", 0.0 if code == "en" else 0.15),
                    ("none", 1.0),  # nothing but guessing, a little off chance
                ):
                    b = max(0.2, a - lower)
                    teaching.append(
                        {
                            "adapter": adapter,
                            "task": task,
                            "lang": code,
                            "taught": taught,
                            "metric": "acc",
                            "accuracy": b,
                            **bounds(b, 0.06),
                            "n": 80,
                            "chance": 0.25,
                        }
                    )
    floats = dict.fromkeys(["difference", "difference_ci_low", "difference_ci_high", "p", "p_adjusted"], pl.Float64)
    tables["accuracy"] = pl.DataFrame(accuracy, schema_overrides=floats, infer_schema_length=None)
    tables["accuracy_by_teaching"] = pl.DataFrame(teaching)
    base = tables["accuracy"].filter((pl.col("adapter") == "base") & (pl.col("lang") != "en"))
    tables["gap_accuracy"] = base.select("task", "lang", "accuracy").join(
        tables["language_gap_summary"].select("lang", "mean_gap_pct"), on="lang"
    )
    tables["gap_accuracy_correlation"] = pl.DataFrame(
        [
            {"task": t, "r": -0.9, "ci_low": -0.98, "ci_high": -0.6, "p": 0.001, "p_adjusted": 0.003, "n": len(others)}
            | {"p_permutation": 0.002, "spearman": -0.85, "spearman_p": 0.004, "n_orders": 10_001, "family_size": 3}
            for t in TASKS
        ]
    )
    gain = []
    for name, run in config["alignment"]["runs"].items():
        for code in ["en", *run["languages"]]:
            g = -6.0 if code == "en" else 1.6 * gaps[run["target_layer"], code] + 5
            before = 1 - gaps[run["target_layer"], code] / 100
            gain.append(
                {
                    "run": name,
                    "layer": run["target_layer"],
                    "lang": code,
                    "before": before,
                    "after": before * (1 + g / 100),
                    "gain_pct": g,
                    **bounds(g, 4.0),
                    "retention_pct": 94.0,
                    "retention_ci_low": 92.5,
                    "retention_ci_high": 95.5,
                    "gain_held_out_pct": g - 3,
                    "held_out_ci_low": g - 8,
                    "held_out_ci_high": g + 2,
                    "retention_held_out_pct": 96.0,
                    "retention_held_out_ci_low": 93.0,
                    "retention_held_out_ci_high": 98.5,
                    "n_features_held_out": 12,
                    "n_features": 50,
                    "n_phrases": 180,
                    "target_layer": run["target_layer"],
                    "is_target": True,
                }
            )
    if gain:
        tables["alignment_gain"] = pl.DataFrame(gain)
        tables["alignment_retention"] = tables["alignment_gain"].filter(pl.col("lang") != "en").select(
            "run", "layer", "lang", "retention_held_out_pct", "retention_pct", "n_features_held_out", "n_features",
            "n_phrases", held_out_ci_low="retention_held_out_ci_low", held_out_ci_high="retention_held_out_ci_high",
            ci_low="retention_ci_low", ci_high="retention_ci_high",
        )  # fmt: skip
    tables["sae_quality"] = pl.DataFrame(
        [
            {
                "layer": layer,
                "fvu": 0.1 + 0.02 * layer,
                "l0": 16.0,
                "dead_features": 10 * layer,
                "features": 512,
                "k": 16,
                "n_tokens": 16384,
            }
            for layer in layers
        ]
    )
    tables["reproduction"] = pl.DataFrame(
        [
            {
                "layer": layer,
                "records": 16,
                "same_peak_pct": 100 - 6.25 * layer,
                "median_correlation": 0.999 - layer / 1000,
                "lowest_correlation": 0.98,
                "median_scale": 0.99,
            }
            for layer in layers
        ]
    )
    tables["translation_quality"] = pl.DataFrame(
        [
            {
                "lang": lang,
                "n": 800,
                "ok": 800 - 10 * place,
                "empty": 4 * place,
                "runaway": 3 * place,
                "too_long": 2 * place,
                "low_chrf": place,
                "kept_pct": 100 - 10 * place / 8,
                "chrf": 60.0 - place if place else None,
                "ci_low": 58.0 - place if place else None,
                "ci_high": 62.0 - place if place else None,
                "characters_ratio": 1 + place / 10,
            }
            for place, lang in enumerate(codes)
        ]
    )
    tables["phrase_counts"] = pl.DataFrame(
        [
            {
                "layer": layer,
                "features_sampled": 256,
                "features_with_phrases": 200,
                "windows": 1200,
                "duplicates_dropped": 37,
                "n_phrases": 800,
                "documents": 1500,
                "tokens": 38_000,
            }
            for layer in layers
        ]
    )
    steps = np.arange(1, 251)
    tables["training"] = pl.DataFrame(
        {
            "step": steps,
            "tokens": steps * 4096,
            "loss": 7 * np.exp(-steps / 60) + 1 + rng.normal(0, 0.05, len(steps)),
            "learning_rate": np.full(len(steps), 3e-3),
        }
        | {f"share_{c}": np.full(len(steps), s) for c, s in config["models"][model]["shares"].items()}
    )
    if "bilingual" in config["models"][model]["analyses"]:
        tables |= bilingual_tables(tuple(config["bilingual"]["languages"]), len(layers), seed=seed)
    if "causal" in config["models"][model]["analyses"]:
        tables |= ablation_tables(codes, layers[len(layers) // 2])
    if "latent" in config["models"][model]["analyses"]:
        tables |= latent_tables(codes, layers, tasks=tuple(config["latent"]["tasks"]), seed=seed)
    tables |= joined_tables(codes, layers)
    return tables


def ablation_tables(
    languages: Sequence[str], layer: int = 2, *, own: float = 0.4, spread: float = 0.02, draws: int = 2
) -> dict[str, pl.DataFrame]:
    """The causal test's: no language has features by share; by the others its own loss rises, those of others hardly.

    Random features change every loss alike. The last language's features by entropy are none.
    """
    rng = np.random.default_rng(len(languages))
    ablations, nats = [], []
    for method in ("share", "entropy", "monolinguality"):
        for lang in languages:
            none = method == "share" or (method == "entropy" and lang == languages[-1])
            features = np.arange(0 if none else 20)
            reason = f"no feature has more than 90 % of its firings in {lang}" if none else None
            for draw in (None, *range(0 if none else draws)):
                ablations.append(Ablation(lang, method, draw, features, reason))
                rise = [own if draw is None and other == lang else 0.01 for other in languages]
                nats.append(np.array(rise)[:, None] + rng.normal(0, spread, (len(languages), 40)))
    tokens = np.full((len(languages), 40), 12)
    plain = 3.0 * tokens
    losses = Losses(plain, plain + np.array(nats) * tokens, 0.2 * np.ones((len(nats), *tokens.shape)) * tokens, tokens)
    changes = resampled_changes(losses, replicates=200, seed=[0])
    common: dict[str, Any] = {"layer": layer, "confidence": 0.95}
    return {
        "ablation": ablation_rows(ablations, languages, losses, changes, **common),
        "ablation_summary": summary_rows(ablations, languages, changes, n_texts=40, **common),
    }


def bilingual_tables(
    languages: tuple[str, ...],
    layers: int,
    *,
    steps: tuple[int, ...] = STEPS,
    alphas: tuple[float, ...] = (0.1,),
    n_features: tuple[int, ...] = (1000,),
    seed: int = 0,
) -> dict[str, pl.DataFrame]:
    """Paper C's tables: the mixed share falls and rises again, mixed features help most, random ones do harm."""
    rng = np.random.default_rng([seed, layers])
    selectivity, training = [], []
    for place, step in enumerate(steps):
        time = place / max(1, len(steps) - 1)
        for layer in range(layers):
            depth = layer / max(1, layers - 1)
            mixed = 0.65 - 2.2 * time * (1 - time) + 0.25 * time * (depth - 0.6) + 0.01 * float(rng.normal())
            mono = 0.1 + 0.7 * time**0.7 - 0.25 * time * abs(depth - 0.5)
            left = (1 - mixed) / (len(languages) + 1)
            shares = {code: left * (2 if code == languages[0] else 1) for code in languages} | {"mixed": mixed}
            for its, share in (shares | {"all": 1.0, "silent": None}).items():
                m = None if share is None else mono + 0.02 * [*shares, "all"].index(its) - 0.06
                span = None if share is None else 1 + 0.4 * time + 1.5 * time * depth**2
                selectivity.append(
                    {
                        "step": step,
                        "layer": layer,
                        "class": its,
                        "share": share,
                        "share_low": share if its == "all" else None if share is None else share - 0.04,
                        "share_high": share if its == "all" else None if share is None else share + 0.04,
                        "monosemanticity": m,
                        "monosemanticity_low": None if m is None else m - 0.02,
                        "monosemanticity_high": None if m is None else m + 0.02,
                        **_bounded("monosemanticity_calibrated", None if m is None else 0.2 * m + 0.1),
                        "monosemanticity_calibrated_null": None if m is None else 0.1,
                        **_bounded("monosemanticity_calibrated_excess", None if m is None else 0.2 * m),
                        **_bounded("monosemanticity_excess", None if m is None else 0.5 * m - 0.1),
                        **{f"monosemanticity_{name}": None if m is None else m for name in ("several", "null")},
                        **_bounded("share_counted", None if share is None else share),
                        **_bounded("share_firings", None if share is None else 0.9 * share),
                        **_bounded("agreement", None if share is None else 0.5),
                        "random_pairs_above_similarity": 0.62,
                        "span_length": span,
                        "span_length_low": None if span is None else span - 0.1,
                        "span_length_high": None if span is None else span + 0.1,
                        "n_features": 30 if share is None else int(470 * share),
                    }
                )
            training.append(
                {
                    "step": step,
                    "layer": layer,
                    "fvu": 0.02 + 0.2 * time + 0.03 * depth,
                    "l0": 16.0 - 0.5 * depth,
                    "dead_features": int(120 * (1 - time) + 40 * depth),
                    "features": 512,
                    "k": 16,
                    "n_tokens": 16384,
                    "learning_rate": 2e-3,
                }
            )
    minima = [
        {key: row[key] for key in ("step", "layer", "class", "share", "share_low", "share_high", "n_features")}
        | {"minimum": least, "n_features_counted": 470 // least}
        for row in selectivity
        if row["class"] != "silent"
        for least in (1, 10)
    ]
    rates = (5e-4, 1e-3, 2e-3, 5e-3)
    losses = (0.21, 0.16, 0.15, 0.19)
    tables = {
        "selectivity": pl.DataFrame(selectivity, infer_schema_length=None),
        "selectivity_by_minimum": pl.DataFrame(minima, infer_schema_length=None),
        "sae_training": pl.DataFrame(training),
        "sae_seeds": rows_of([*_seeds(steps[-1], (layers - 1) // 2)], SAE_SEEDS),
        "learning_rates": pl.DataFrame(
            [
                {
                    "learning_rate": rate,
                    "loss": loss,
                    "fvu": 0.8 * loss,
                    "step": steps[-1],
                    "layer": layers // 2,
                    "chosen": loss == min(losses),
                }
                for rate, loss in zip(rates, losses, strict=True)
            ]
        ),
    }
    return (
        tables | _injections(languages, steps, alphas, n_features) | {"examples": _examples(languages, layers, steps)}
    )


def _seeds(step: int, layer: int) -> Iterator[dict[str, Any]]:
    where = {"layer": layer, "step": step, "n_features": 512}
    for seed in range(3):
        yield (
            where
            | {"seed_a": seed, "n_alive": 470 - seed}
            | {
                name: value
                for column, share in (("", 0.4), ("_counted", 0.3), ("_firings", 0.5))
                for name, value in _bounded(f"mixed_share{column}", share + 0.05 * seed).items()
            }
        )
    for pair in ((0, 1), (0, 2), (1, 2)):
        seeds = dict(zip(("seed_a", "seed_b"), pair, strict=True))
        yield (
            where
            | seeds
            | _bounded("stability", 0.1 * sum(pair))
            | {
                "nearest_cosine": 0.6,
                "stability_chance": 0.01,
                "nearest_cosine_chance": 0.3,
            }
        )


def _bounded(name: str, value: float | None) -> dict[str, float | None]:
    return {
        f"{name}{end}": None if value is None else value + by for end, by in (("", 0), ("_low", -0.02), ("_high", 0.02))
    }


def _injections(
    languages: tuple[str, ...], steps: tuple[int, ...], alphas: tuple[float, ...], n_features: tuple[int, ...]
) -> dict[str, pl.DataFrame]:
    groups, step = [*languages, "all"], steps[(len(steps) - 1) // 2]
    rows, summary = [], []
    for place, lang in enumerate(groups):
        before = 18.7 + 4 * place
        score = None if lang == "all" else 20.0 + place
        nothing = {"step": step, "class": "none", "alpha": 0.0, "n_features": 0}
        scores = {"chrf": score, "bleu": score and score / 2, "comet": None}
        change = {"change": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n_used": 0}
        summary.append(nothing | {"lang": lang, "perplexity": before} | change | scores)
        rows.append(nothing | {"repeat": 0, "lang": lang, "perplexity": before} | scores | {"n": 500})
        for alpha in alphas:
            for n in n_features:
                for its in (*languages, "mixed", "random", "matched"):
                    helped = {"mixed": -0.35, "random": 0.12, "matched": 0.1}.get(its, -0.3 if its == lang else -0.08)
                    changed = helped * alpha / 0.1 * (n / n_features[0]) ** 0.3
                    what = {"step": step, "class": its, "alpha": alpha, "n_features": n}
                    interval = {"change": changed, "ci_low": changed - 0.06, "ci_high": changed + 0.06}
                    beyond = changed - 0.12 * alpha / 0.1 * (n / n_features[0]) ** 0.3
                    against = (None,) * 3 if its == "random" else (beyond, beyond - 0.07, beyond + 0.07)
                    names = ("beyond_random", "beyond_random_low", "beyond_random_high")
                    interval |= dict(zip(names, against, strict=True)) | {"n_used": min(n, 800)}
                    interval |= _bounded("beyond_matched", changed - 0.1 if its == "mixed" else None)
                    interval |= {
                        f"beyond_matched_draws_{end}": interval[f"beyond_matched_{end}"] for end in ("low", "high")
                    }
                    interval |= {"injected_norm": 2.0 * alpha, "mean_firings": 300.0}
                    interval |= {"selective_share": None if its in ("random", "matched") else 0.4}
                    better = {"chrf": score and score - 3 * changed, "bleu": score and score / 2, "comet": None}
                    summary.append(what | {"lang": lang, "perplexity": before + changed} | interval | better)
                    rows += [
                        what
                        | {"repeat": repeat, "lang": lang, "perplexity": before + changed + 0.01 * (repeat - 2)}
                        | better
                        | {"n": 500}
                        for repeat in range(5)
                    ]
    changes = ["change", "ci_low", "ci_high", "beyond_random", "beyond_random_low", "beyond_random_high"]
    changes += [f"beyond_matched{end}" for end in ("", "_low", "_high", "_draws_low", "_draws_high")]
    changes += ["injected_norm", "mean_firings", "selective_share"]
    floats = dict.fromkeys(["chrf", "bleu", "comet"], pl.Float64)
    return {
        "intervention": pl.DataFrame(rows, schema_overrides=floats, infer_schema_length=None),
        "intervention_summary": pl.DataFrame(
            summary, schema_overrides=floats | dict.fromkeys(changes, pl.Float64), infer_schema_length=None
        ),
    }


TEXTS = {
    "en": "The capital of Spain is Madrid , and its largest <b>port</b> & {{ city }} is Barcelona .",
    "zh": "西班牙的首都是马德里，最大的港口城市是巴塞罗那。",
    "ru": "Столица Испании — Мадрид , крупнейший порт — Барселона .",
    "es": "La capital de España es Madrid y su mayor puerto es Barcelona .",
    "hi": "स्पेन की राजधानी मैड्रिड है और सबसे बड़ा बंदरगाह बार्सिलोना है ।",
    "ml": "സ്പെയിനിന്റെ തലസ്ഥാനം മാഡ്രിഡ് ആണ് , ഏറ്റവും വലിയ തുറമുഖം ബാഴ്സലോണ .",
    "ja": "スペインの首都はマドリードで、最大の港はバルセロナです。",
    "ar": "عاصمة إسبانيا هي مدريد وأكبر ميناء فيها هو برشلونة .",
}


def pieces(lang: str) -> list[str]:
    """A text of a language as tokens that end within words and clusters of letters, as byte-level BPE's do."""
    text = TEXTS.get(lang, TEXTS["es"])
    return [text[at : at + 3] for at in range(0, len(text), 3)][:17]


def _examples(languages: tuple[str, ...], layers: int, steps: tuple[int, ...]) -> pl.DataFrame:
    rows = []
    for step in steps:
        for layer in range(layers):
            for place, its in enumerate((*languages, "mixed")):
                for feature in (3 + 10 * place, 7 + 10 * place):
                    for lang in languages if its == "mixed" else (its,):
                        for rank in range(3):
                            tokens = pieces(lang)
                            activations = [0.0] * len(tokens)
                            activations[3 + rank : 6 + rank] = [0.4 / (1 + rank), 2.0 / (1 + rank), 1.2 / (1 + rank)]
                            rows.append(
                                {
                                    "step": step,
                                    "layer": layer,
                                    "feature": feature,
                                    "class": its,
                                    "monosemanticity": 0.8 if feature % 10 == 3 else None,
                                    "rank": rank,
                                    "lang": lang,
                                    "document": f"d{rank}",
                                    "position": 4 + rank,
                                    "tokens": tokens,
                                    "activations": activations,
                                    "selection": "top" if feature % 10 == 3 else "median",
                                }
                            )
    return pl.DataFrame(rows, schema_overrides={"activations": pl.List(pl.Float32)}, infer_schema_length=None)


def make_losses(config: Mapping[str, Any], seed: int = 0) -> dict[str, pl.DataFrame]:
    """The loss tables of the alignment runs by run."""
    rng = np.random.default_rng(seed)
    steps = np.arange(1, 151)
    frames = {}
    for i, run in enumerate(config["alignment"]["runs"]):
        alignment = (2 + i) * np.exp(-steps / 50) + 0.3 + rng.gamma(2, 0.05, len(steps))
        retention = 0.4 * (1 - np.exp(-steps / 30)) + rng.gamma(2, 0.02, len(steps))
        frames[run] = pl.DataFrame(
            {
                "step": steps,
                "loss": alignment + retention,
                "alignment_term": alignment,
                "retention_term": retention,
                "inactive_share": 0.3 * np.exp(-steps / 80),
                "learning_rate": np.full(len(steps), 1e-3),
            }
        )
    return frames


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
