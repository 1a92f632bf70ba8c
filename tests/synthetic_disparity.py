"""Synthetic tables of paper A: gaps of languages and groups as planted, their controls, and similarity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from isogloss.languages import in_order


@dataclass(frozen=True)
class Planted:
    """What is planted in a model: the groups' gap in percent, and the gaps drawn around it by layer and language."""

    high: Sequence[str]
    low: Sequence[str]
    codes: Sequence[str]
    layers: range
    gap: float
    far: Mapping[str, float]
    gaps: Mapping[tuple[int, str], float]

    @property
    def others(self) -> list[str]:
        """The languages beside the reference."""
        return [code for code in self.codes if code != "en"]


def planted(high: Sequence[str], low: Sequence[str], layers: range, gap: float, rng: np.random.Generator) -> Planted:
    """Gaps that grow with the distance from the reference and shrink with depth; each but the reference's is drawn."""
    codes = in_order([*high, *low])
    far = {code: 9 * at / max(9, len(codes) - 1) for at, code in enumerate(codes)}  # at most that of ten languages

    def drawn(code: str, layer: int) -> float:
        if code == "en":
            return 0.0
        base = gap * (0.3 if code in high else 1.1) + 0.6 * far[code]
        return base * (1.15 - 0.35 * layer / max(1, len(layers) - 1)) + float(rng.normal(0, 0.4))

    gaps = {(layer, code): drawn(code, layer) for layer in layers for code in codes}
    return Planted(high, low, codes, layers, gap, far, gaps)


def interval(value: float, half: float) -> dict[str, float]:
    """An interval of about `half` to either side, as columns."""
    return {"ci_low": value - half, "ci_high": value + half * 1.1}


def disparity_tables(world: Planted) -> dict[str, pl.DataFrame]:
    """The gaps of languages and groups, their controls and what is chosen both ways, and similarity."""
    return {
        "language_gap": _language_gap(world),
        "language_gap_summary": _language_gap_summary(world),
        **_group_tables(world),
        "group_inference": _group_inference(world),
        "activation_controls": _activation_controls(world),
        **_reciprocal_tables(world),
        "similarity": _similarity(world),
        "similarity_pairs": _similarity_pairs(world),
    }


def _language_gap(world: Planted) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "layer": layer,
                "lang": code,
                "mean_activation": (1 + layer) * (1 - g / 100),
                "gap_pct": g,
                **interval(g, 2.0),
                "p_adjusted": None if code == "en" else 0.001,
                "n_features": 200,
                "n_phrases": 800,
                "family_size": len(world.layers) * len(world.others),
            }
            for (layer, code), g in world.gaps.items()
        ]
    )


def _language_gap_summary(world: Planted) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "lang": code,
                "mean_gap_pct": float(np.mean(v)),
                "std_gap_pct": float(np.std(v, ddof=1)) if len(v) > 1 else None,
                "n_layers": len(v),
                **interval(float(np.mean(v)), 1.2),
            }
            for code in world.codes
            if (v := [world.gaps[layer, code] for layer in world.layers])
        ]
    )


def _group_tables(world: Planted) -> dict[str, pl.DataFrame]:
    groups, activation = [], []
    for layer in world.layers:
        for variant, factor in (("with_reference", 1.0), ("without_reference", 0.8)):
            key = {"layer": layer, "variant": variant}
            value = factor * world.gap * (1.2 - 0.4 * layer / max(1, len(world.layers) - 1))
            groups.append(key | {"gap_pct": value, **interval(value, 3.0), "n_features": 200, "n_phrases": 800})
            high = 2.0 + layer
            for group, mean in (("high_resource", high), ("medium_low_resource", high * (1 - value / 100))):
                key = {"layer": layer, "group": group, "variant": variant}
                activation.append(key | {"mean_activation": mean, **interval(mean, 0.15)})
    return {"group_gap": pl.DataFrame(groups), "group_activation": pl.DataFrame(activation)}


def _group_inference(world: Planted) -> pl.DataFrame:
    layers, gap = world.layers, world.gap
    return pl.DataFrame(
        [
            {
                "measure": measure,
                "layer": layer,
                "mean_high_resource": 0.3 * gap,
                "mean_medium_low_resource": 1.1 * gap,
                "difference": 0.8 * gap,
                **interval(0.8 * gap, 4.0),
                "p": 1 / 126 if gap else 0.6,
                "p_adjusted": (2 / 126 if gap else 0.9),
                "family_size": 2 if layer is None else len(layers),
                "n_splits": 126,
                "smallest_p": 1 / 126,
                "exact": True,
                "n_high_resource": len(world.high) - 1,
                "n_medium_low_resource": len(world.low),
                "n_layers": len(layers) if layer is None else 1,
                "reason": None,
            }
            for measure in ("gap_pct", "retrieval")
            for layer in (None, *layers)
        ],
        schema_overrides={"layer": pl.Int32, "reason": pl.String},
    )


def _activation_controls(world: Planted) -> pl.DataFrame:
    return pl.DataFrame(
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
                "token_ratio": 1 + 0.12 * world.far[code],
                "characters_per_token": 4.1 - 0.3 * world.far[code],
                "gap_equal_tokens_pct": 0.8 * g,
                "gap_equal_tokens_ci_low": 0.8 * g - 2.5,
                "gap_equal_tokens_ci_high": 0.8 * g + 2.75,
                "gap_good_translation_pct": None if code == "en" else 0.9 * g,
                "gap_good_translation_ci_low": None if code == "en" else 0.9 * g - 2.5,
                "gap_good_translation_ci_high": None if code == "en" else 0.9 * g + 2.5,
                "n_good_translation": 0 if code == "en" else 400,
                "n": 800,
            }
            for (layer, code), g in world.gaps.items()
        ]
    )


def _reciprocal_tables(world: Planted) -> dict[str, pl.DataFrame]:
    both_ways = pl.DataFrame(
        [
            {"layer": layer, "lang": code, **_chosen_both_ways(world.gaps[layer, code])}
            for layer in world.layers
            for code in world.others
        ]
    )
    means = pl.exclude("layer", "code_retrieval_chance", "^n_.*$").mean()
    return {
        "reciprocal_gap": both_ways,
        "reciprocal_gap_summary": both_ways.group_by("lang", maintain_order=True).agg(means, n_layers=pl.len()),
    }


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


def _similarity(world: Planted) -> pl.DataFrame:
    middle = max(1, len(world.layers) - 1) / 2
    return pl.DataFrame(
        [
            {
                "layer": layer,
                "lang": code,
                "cosine": c,
                **interval(c, 0.0 if code == "en" else 0.015),
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
            for layer in world.layers
            for code in world.codes
            if (c := 1.0 if code == "en" else 0.93 - 0.02 * world.far[code] - 0.05 * ((layer - middle) / middle) ** 2)
        ]
    )


def _similarity_pairs(world: Planted) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"layer": layer, "lang_a": a, "lang_b": b, "cosine": 0.95 - 0.03 * abs(i - j) - 0.005 * layer, "n": 400}
            for layer in world.layers
            for i, a in enumerate(world.codes)
            for j, b in enumerate(world.codes)
            if i < j
        ]
    )
