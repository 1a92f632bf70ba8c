"""Published SAEs that a model may have, in SAELens' directory: layers, width and L0 that go together."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

from isogloss.errors import IsoglossError
from isogloss.new_study.described_model import DEPTHS, DescribedModel
from isogloss.sources.saes.belonging import same_model
from isogloss.sources.saes.choice import Choice, choices, choose, features, listed, same_width
from isogloss.sources.saes.release import Release, find_release, released_models

MIDDLING = (None, "canonical", "medium", "small", "big", 50)  # what is taken of several L0s, the first that there is
MOST = 6  # layers of a release; of more, those at equal steps of the depth
_UNIT = 64  # width of the stream by which widths as 8x are ordered


class Published(NamedTuple):
    """A choice among a release's SAEs."""

    release: str
    model: str  # as SAELens calls it
    width: str | int | None
    l0: Any
    layers: list[int]
    every_layer: list[int]  # that has this choice
    others: str  # widths and L0s that it has besides

    @property
    def keys(self) -> dict[str, Any]:
        """The section `saes` of a study."""
        chosen = {"release": self.release, "width": self.width, "l0": self.l0}
        return {key: value for key, value in chosen.items() if value is not None}

    def features(self, d_model: int) -> int | None:
        """The width of the dictionary; None where the ids do not say it."""
        return None if self.width is None else features(self.width, d_model)


def published_saes(name: str, model: DescribedModel, width: str, l0: str) -> Published:
    """The SAEs of release `name` for a model, of `width` and `l0`, "" for whatever is most usual.

    Of widths that is the smallest of those at most layers. Raises `IsoglossError` for a name that SAELens' directory
    does not have, a release for a deeper model, and as `choose`.
    """
    release = find_release(name)
    if release is None:
        near = get_close_matches(name, released_models(), n=3)
        meant = f"did you mean {' or '.join(near)}?" if near else "leave SAES out to train SAEs here"
        raise IsoglossError(f"SAES={name}: SAELens' directory has no such release; {meant}")
    every, depth = choices(release), model.shape.layers
    if every and (deepest := max(one.layer for one in every)) >= depth:
        raise IsoglossError(
            f"SAES={name}: it has SAEs of layer {deepest}, the model has layers 0 to {depth - 1}; they are of"
            f" {release.model}: give a release of this model"
        )
    wanted = (int(width) if width.isdecimal() else width) if width else _usual_width(every)
    return _chosen(release, every, wanted, [int(l0) if l0.isdecimal() else l0] if l0 else MIDDLING, model)


def suggestions(model: DescribedModel) -> list[Published]:
    """What SAELens' directory has for a model on the residual stream, the releases with most layers first."""
    here = []
    for name, of in released_models().items():
        if any(same_model(of, known) for known in model.names):
            try:
                here.append(published_saes(name, model, "", ""))
            except IsoglossError:
                continue  # of another hook point, or several SAEs that only ids tell apart
    return sorted(here, key=lambda one: (len(one.every_layer) < DEPTHS, one.release))


def _usual_width(every: Iterable[Choice]) -> str | None:
    layers: dict[str | None, set[int]] = {}
    for one in every:
        layers.setdefault(one.width, set()).add(one.layer)
    return min(layers, key=lambda width: (-len(layers[width]), (width and features(width, _UNIT)) or 0), default=None)


def _chosen(
    release: Release, every: list[Choice], width: str | int | None, l0s: Iterable[Any], model: DescribedModel
) -> Published:
    """The first of `l0s` that names one SAE at some layer; raises what `choose` says of the first where none does."""
    of_width = [one for one in every if width is None or (one.width is not None and same_width(one.width, width))]
    layers = sorted({one.layer for one in of_width}) or sorted({one.layer for one in every}) or [0]
    failure: IsoglossError | None = None
    for l0 in l0s:
        there = []
        for layer in layers:
            try:
                choose(release, layer, width, l0)
            except IsoglossError as error:
                failure = failure or error
            else:
                there.append(layer)
        if there:
            return Published(release.name, release.model, width, l0, _spread(there, model), there, _others(every))
    raise IsoglossError(f"SAES={release.name}: {failure}")


def _spread(layers: list[int], model: DescribedModel) -> list[int]:
    """All of a few layers; of many those next to equal steps of the model's depth."""
    if len(layers) <= MOST:
        return layers
    return sorted({min(layers, key=lambda layer: abs(layer - wanted)) for wanted in model.depths})


def _others(every: list[Choice]) -> str:
    widths = {one.width for one in every if one.width}
    l0s = {one.l0 for one in every if isinstance(one.l0, str)}
    parts = [f"{what} {listed(values)}" for what, values in (("widths", widths), ("l0", l0s)) if len(values) > 1]
    return "; ".join(parts)
