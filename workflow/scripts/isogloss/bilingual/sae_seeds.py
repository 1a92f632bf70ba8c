"""Stage `sae_seeds`: what of a layer's classes and features comes again in SAEs of other seeds (paper C, sec. 3.3)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from isogloss.bilingual.class_controls import Controls
from isogloss.bilingual.classes import MIXED
from isogloss.config.measures import Statistics
from isogloss.sae.decoder import read_decoder
from isogloss.sae.matching import matched, nearest
from isogloss.stats import proportion_interval


def sae_seeds(
    *,
    saes: Mapping[int, str],
    features: Mapping[int, str],
    table: str,
    layer: int,
    languages: Sequence[str],
    minimum_activations: int,
    statistics: Statistics,
    metadata: Mapping[str, Any],
) -> None:
    """Compare SAEs of `layer` that differ in the seed alone: by seed, the SAE's folder and the table of `features`.

    `table` has a row for each seed (`seed_b` null): the share of mixed features among those that fire, among those
    counted `minimum_activations` times or more, and by all firings (as in `selectivity`, Wilson's intervals), n_alive
    (that fire) of n_features. And one for each two seeds: `mutual_share`, and what it is by chance (`NAME_chance`):
    with the other's rows turned by a random rotation, which leaves the angles among them as they are.
    """
    from isogloss.tables import write_table
    from isogloss.tables.bilingual import SAE_SEEDS
    from isogloss.tables.contract import rows_of
    from isogloss.tables.layers import iter_layers

    rows: list[dict[str, Any]] = []
    for seed, path in features.items():
        frame = pl.concat(list(iter_layers([path], [layer])))
        controls = Controls(frame, languages, minimum_activations, statistics, (seed, int(frame["step"][0]), layer))
        every = next(row for row in controls.by_minimum(1) if row["class"] == MIXED)
        shares = {name: value for name, value in (every | controls.of_class(MIXED)).items() if name.startswith("share")}
        rows.append(
            {
                "seed_a": seed,
                "step": int(frame["step"][0]),
                **{f"mixed_{name}": value for name, value in shares.items()},
                "n_features": len(frame),
                "n_alive": every["n_features_counted"],
            }
        )
    decoders = {seed: read_decoder(f"{sae}/layer_{layer}")[0] for seed, sae in saes.items()}
    step = rows[0]["step"]
    for one, other in combinations(decoders, 2):
        pair = mutual_share(decoders[one], decoders[other], statistics.confidence)
        turned = mutual_share(
            decoders[one], decoders[other] @ rotation(decoders[other].shape[1], other), statistics.confidence
        )
        chance = {f"{name}_chance": turned[name] for name in ("stability", "nearest_cosine")}
        rows.append({"seed_a": one, "seed_b": other, "step": step, **pair, **chance})
    write_table(table, rows_of([{"layer": layer, **row} for row in rows], SAE_SEEDS), metadata, SAE_SEEDS)


def rotation(dimensions: int, seed: int) -> Float[Tensor, "dimensions dimensions"]:
    """A random orthogonal matrix: Q of the QR decomposition of Gaussian numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dimensions, dimensions, generator=generator))[0]


def mutual_share(
    one: Float[Tensor, "features d_model"], other: Float[Tensor, "features d_model"], confidence: float
) -> dict[str, Any]:
    """How many features of one decoder come again in another one.

    `stability` is the share of rows that are matched (`isogloss.sae.matching`), those of silent features counted, with
    Wilson's interval, and the same either way round; `nearest_cosine` is the mean over both of the cosine with the
    nearest row of the other.
    """
    (cosines, there), (cosines_back, back) = nearest(one, other), nearest(other, one)
    number = int(matched(cosines, there, back).sum())
    low, high = proportion_interval(number, len(one), confidence)
    return {
        "stability": number / len(one),
        "stability_low": low,
        "stability_high": high,
        "nearest_cosine": float((cosines.mean() + cosines_back.mean()) / 2),
        "n_features": len(one),
    }
