"""Synthetic tables of paper C: classes of features over training, SAEs of other seeds, injections and examples."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from isogloss.tables.bilingual import SAE_SEEDS
from isogloss.tables.contract import rows_of
from synthetic_latent import bounded

STEPS = (1, 5, 27, 140, 720, 1328)


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
    for index, step in enumerate(steps):
        time = index / max(1, len(steps) - 1)
        for layer in range(layers):
            key, depth = {"step": step, "layer": layer}, layer / max(1, layers - 1)
            mixed = 0.65 - 2.2 * time * (1 - time) + 0.25 * time * (depth - 0.6) + 0.01 * float(rng.normal())
            selectivity += [key | row for row in _classes(languages, time, depth, mixed)]
            training.append(key | _trained(time, depth))
    return {
        "selectivity": pl.DataFrame(selectivity, infer_schema_length=None),
        "selectivity_by_minimum": _by_minimum(selectivity),
        "sae_training": pl.DataFrame(training),
        "sae_seeds": rows_of([*_seeds(steps[-1], (layers - 1) // 2)], SAE_SEEDS),
        "learning_rates": _learning_rates(steps[-1], layers // 2),
        **_injections(languages, steps, alphas, n_features),
        "examples": _examples(languages, layers, steps),
    }


def _classes(languages: tuple[str, ...], time: float, depth: float, mixed: float) -> Iterator[dict[str, Any]]:
    """A layer's classes at a step, `time` and `depth` from 0 to 1; no text makes those of the last class fire."""
    mono = 0.1 + 0.7 * time**0.7 - 0.25 * time * abs(depth - 0.5)
    left = (1 - mixed) / (len(languages) + 1)
    shares = {code: left * (2 if code == languages[0] else 1) for code in languages} | {"mixed": mixed}
    for index, (label, share) in enumerate((shares | {"all": 1.0}).items()):
        span = 1 + 0.4 * time + 1.5 * time * depth**2
        yield _class(label, share, mono + 0.02 * index - 0.06, span)
    yield _class("silent", None, None, None)


def _class(label: str, share: float | None, m: float | None, span: float | None) -> dict[str, Any]:
    return {
        "class": label,
        "share": share,
        "share_low": share if label == "all" else None if share is None else share - 0.04,
        "share_high": share if label == "all" else None if share is None else share + 0.04,
        **_bounded("monosemanticity", m),
        **_bounded("monosemanticity_calibrated", None if m is None else 0.2 * m + 0.1),
        "monosemanticity_calibrated_null": None if m is None else 0.1,
        **_bounded("monosemanticity_calibrated_excess", None if m is None else 0.2 * m),
        **_bounded("monosemanticity_excess", None if m is None else 0.5 * m - 0.1),
        **{f"monosemanticity_{name}": m for name in ("several", "null")},
        **_bounded("share_counted", share),
        **_bounded("share_firings", None if share is None else 0.9 * share),
        **_bounded("agreement", None if share is None else 0.5),
        "random_pairs_above_similarity": 0.62,
        **bounded("span_length", span, 0.1),
        "n_features": 30 if share is None else int(470 * share),
    }


def _trained(time: float, depth: float) -> dict[str, Any]:
    return {
        "fvu": 0.02 + 0.2 * time + 0.03 * depth,
        "l0": 16.0 - 0.5 * depth,
        "dead_features": int(120 * (1 - time) + 40 * depth),
        "features": 512,
        "k": 16,
        "n_tokens": 16384,
        "learning_rate": 2e-3,
    }


def _by_minimum(selectivity: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    minima = [
        {key: row[key] for key in ("step", "layer", "class", "share", "share_low", "share_high", "n_features")}
        | {"minimum": least, "n_features_counted": 470 // least}
        for row in selectivity
        if row["class"] != "silent"
        for least in (1, 10)
    ]
    return pl.DataFrame(minima, infer_schema_length=None)


def _learning_rates(step: int, layer: int) -> pl.DataFrame:
    rates, losses = (5e-4, 1e-3, 2e-3, 5e-3), (0.21, 0.16, 0.15, 0.19)
    return pl.DataFrame(
        [
            {
                "learning_rate": rate,
                "loss": loss,
                "fvu": 0.8 * loss,
                "step": step,
                "layer": layer,
                "chosen": loss == min(losses),
            }
            for rate, loss in zip(rates, losses, strict=True)
        ]
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
    return bounded(name, value, 0.02)


def _injections(
    languages: tuple[str, ...], steps: tuple[int, ...], alphas: tuple[float, ...], n_features: tuple[int, ...]
) -> dict[str, pl.DataFrame]:
    groups, step = [*languages, "all"], steps[(len(steps) - 1) // 2]
    rows, summary = [], []
    for index, lang in enumerate(groups):
        where = {"lang": lang, "perplexity": 18.7 + 4 * index}
        score = None if lang == "all" else 20.0 + index
        nothing = {"step": step, "class": "none", "alpha": 0.0, "n_features": 0}
        scores = {"chrf": score, "bleu": score and score / 2, "comet": None}
        change = {"change": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n_used": 0}
        summary.append(nothing | where | change | scores)
        rows.append(nothing | {"repeat": 0} | where | scores | {"n": 500})
        for alpha, n, label in product(alphas, n_features, (*languages, "mixed", "random", "matched")):
            what = {"step": step, "class": label, "alpha": alpha, "n_features": n}
            helped = {"mixed": -0.35, "random": 0.12, "matched": 0.1}.get(label, -0.3 if label == lang else -0.08)
            dose = (n / n_features[0]) ** 0.3
            changed, by_random = helped * alpha / 0.1 * dose, 0.12 * alpha / 0.1 * dose
            better = scores | {"chrf": score and score - 3 * changed}
            after = where["perplexity"] + changed
            summary.append(what | where | {"perplexity": after} | _changed(what, changed, by_random) | better)
            rows += [
                what | {"repeat": repeat, "lang": lang, "perplexity": after + 0.01 * (repeat - 2)} | better | {"n": 500}
                for repeat in range(5)
            ]
    return _injection_frames(rows, summary)


def _changed(what: Mapping[str, Any], changed: float, by_random: float) -> dict[str, Any]:
    """The change of an injection with its interval, beyond that of random features and of matched ones."""
    label = what["class"]
    beyond = None if label == "random" else changed - by_random
    row = {"change": changed, "ci_low": changed - 0.06, "ci_high": changed + 0.06}
    row |= bounded("beyond_random", beyond, 0.07) | {"n_used": min(what["n_features"], 800)}
    matched = _bounded("beyond_matched", changed - 0.1 if label == "mixed" else None)
    row |= matched | {f"beyond_matched_draws_{end}": matched[f"beyond_matched_{end}"] for end in ("low", "high")}
    row |= {"injected_norm": 2.0 * what["alpha"], "mean_firings": 300.0}
    return row | {"selective_share": None if label in ("random", "matched") else 0.4}


def _injection_frames(rows: list[dict[str, Any]], summary: list[dict[str, Any]]) -> dict[str, pl.DataFrame]:
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
    rows = [
        {"step": step, "layer": layer, "feature": feature, "class": label, **_example(feature, lang, rank)}
        for step, layer, (index, label) in product(steps, range(layers), enumerate((*languages, "mixed")))
        for feature in (3 + 10 * index, 7 + 10 * index)
        for lang in (languages if label == "mixed" else (label,))
        for rank in range(3)
    ]
    return pl.DataFrame(rows, schema_overrides={"activations": pl.List(pl.Float32)}, infer_schema_length=None)


def _example(feature: int, lang: str, rank: int) -> dict[str, Any]:
    tokens = pieces(lang)
    activations = [0.0] * len(tokens)
    activations[3 + rank : 6 + rank] = [0.4 / (1 + rank), 2.0 / (1 + rank), 1.2 / (1 + rank)]
    return {
        "monosemanticity": 0.8 if feature % 10 == 3 else None,
        "rank": rank,
        "lang": lang,
        "document": f"d{rank}",
        "position": 4 + rank,
        "tokens": tokens,
        "activations": activations,
        "selection": "top" if feature % 10 == 3 else "median",
    }
