"""Which features an intervention injects: the members of a class, and random draws of them (paper C, sec. 5.2)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from isogloss.errors import IsoglossError

logger = logging.getLogger(__name__)

MIXED, RANDOM, SILENT = "mixed", "random", "silent"
MATCHED = "matched"
"""The control that is as mixed features are in all but what they stand for (`isogloss.bilingual.dose`)."""


_READ = ["step", "layer", "feature", "class", "n_firings", "class_firings"]


class DescribedLayer(NamedTuple):
    """The features of a layer of the fully trained model."""

    step: int
    # By class, ascending; `random` has all that are not silent, `matched` these without the mixed, if there are any.
    members: dict[str, Int[np.ndarray, " members"]]
    firings: Int[np.ndarray, " features"]  # evaluation tokens on which each feature is active
    by_firings: Shaped[np.ndarray, " features"]  # class of each by all its firings


class Draw(NamedTuple):
    """Features that one repeat injects."""

    name: str  # class
    n_features: int  # as configured
    repeat: int
    features: Int[np.ndarray, " used"]  # ascending; the whole class if it has no more


def read_layer(paths: Sequence[str], layer: int, *, features: int) -> DescribedLayer:
    """The classes of `layer` in tables of features, which must describe all `features` of its SAE at one step.

    Raises `IsoglossError` if they do not.
    """
    import polars as pl

    from isogloss.tables import read_table

    frames = [read_table(path, columns=_READ) for path in paths]
    rows = pl.concat(frames).filter(pl.col("layer") == layer).sort("feature")
    named = ", ".join(map(str, paths))
    if rows.is_empty():
        raise IsoglossError(
            f"{named}: no features of layer {layer} there; analyse it, or choose another bilingual.intervention.layer"
        )
    steps = rows["step"].unique().sort().to_list()
    if len(steps) > 1:
        raise IsoglossError(
            f"{named}: layer {layer} is described at steps {steps}; give the tables of the fully trained model alone"
        )
    if rows["feature"].to_list() != list(range(features)):
        raise IsoglossError(
            f"{named}: {len(rows)} features of layer {layer}, but the SAE has {features}; describe the features of"
            " this SAE again"
        )
    number, name = rows["feature"].to_numpy(), rows["class"].to_numpy()
    members = {str(each): number[name == each] for each in np.unique(name) if each != SILENT}
    members[RANDOM] = number[name != SILENT]
    if MIXED in members:
        members[MATCHED] = np.setdiff1d(members[RANDOM], members[MIXED])
    return DescribedLayer(steps[0], members, rows["n_firings"].to_numpy(), rows["class_firings"].to_numpy())


def classes_to_inject(
    described: DescribedLayer, classes: Sequence[str] | None, languages: Sequence[str], layer: int
) -> tuple[list[str], list[str]]:
    """The classes that are injected, and those left out: if `classes` is None, any that has no features.

    Raises `IsoglossError` for one of `classes` that is not there or empty, and if none is left.
    """
    known = [*languages, MIXED, RANDOM, MATCHED]
    names = known if classes is None else list(classes)
    if unknown := [name for name in names if name not in known]:
        raise IsoglossError(f"bilingual.intervention.classes: {unknown[0]!r} is none of {', '.join(known)}")
    if MATCHED in names and MIXED not in names:
        raise IsoglossError("bilingual.intervention.classes: matched is a control of mixed, which must stand beside it")
    empty = [name for name in names if not len(described.members.get(name, ()))]
    if empty and (classes is not None or len(empty) == len(names)):
        raise IsoglossError(
            f"layer {layer}, step {described.step}: class {empty[0]} has no features to inject; leave it out of"
            " bilingual.intervention.classes, or choose another layer"
        )
    for name in empty:
        logger.warning("layer %d: class %s has no features, so none are injected", layer, name)
    return [name for name in names if name not in empty], empty


def draw_features(
    members: Mapping[str, Int[np.ndarray, " members"]], n_features: Sequence[int], repeats: int, seed: int
) -> Iterator[Draw]:
    """The features of each class, size and repeat; a function of these and the seed alone.

    A repeat shuffles a class once: of its draws the smaller is part of the larger.
    """
    for name, features in members.items():
        for repeat in range(repeats):
            order = np.random.default_rng([seed, repeat, *name.encode()]).permutation(features)
            for n in n_features:
                yield Draw(name, n, repeat, np.sort(order[:n]))


def distinct_masks(
    draws: Sequence[Draw], features: int, device: torch.device
) -> tuple[list[Bool[Tensor, " features"]], list[int]]:
    """The mask m of every different set of features, and which of them each draw has."""
    masks: list[Tensor] = []
    numbers: dict[bytes, int] = {}
    which: list[int] = []
    for draw in draws:
        key = draw.features.astype(np.int64).tobytes()
        if key not in numbers:
            numbers[key] = len(masks)
            mask = torch.zeros(features, dtype=torch.bool)
            mask[torch.from_numpy(draw.features.astype(np.int64))] = True
            masks.append(mask.to(device))
        which.append(numbers[key])
    return masks, which
