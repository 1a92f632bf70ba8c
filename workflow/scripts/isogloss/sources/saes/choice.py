"""Which SAE of a release a layer takes, by width and L0: what a study file says instead of an id a layer.

The ids of SAELens' directory (`pretrained_saes.yaml`) say layer, width and L0 in the grammars below, which are those of
the releases on the residual stream; where an id leaves L0 out, the entry's `l0` says it.
"""

import math
import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from isogloss.config.pretrained import Saes
from isogloss.errors import IsoglossError
from isogloss.sources.saes.release import Release, find_release

# `before` counts from the block that reads the stream: it is the one after the block below.
GRAMMARS = (
    r"layer_(?P<layer>\d+)/width_(?P<width>\w+)/(?P<l0>canonical|average_l0_\d+)",  # Gemma Scope
    r"(?:resid_post/)?layer_(?P<layer>\d+)_width_(?P<width>[0-9a-z]+)_l0_(?P<l0>small|medium|big)",  # Gemma Scope 2
    r"l(?P<layer>\d+)r_(?P<width>\d+x)",  # Llama Scope
    r"l(?P<layer>\d+)r_[0-9a-z]+m_\w+",  # Llama Scope on R1: named by training data
    r"layer_?(?P<layer>\d+)",  # Qwen-Scope, Goodfire
    r"resid_post_layer_(?P<layer>\d+)_trainer_\d+",
    r"blocks\.(?P<layer>\d+)\.hook_resid_post(?:_(?P<width>\d+))?(?:__trainer_\d+\w*)?",
    r"blocks\.(?P<before>\d+)\.hook_resid_pre(?:_(?P<width>\d+))?",
)
ELSEWHERE = r"(?:^|[-_])(?:att|attn|mlp|transcoders?|clt|lxa|lxm|hook-z|mid)(?:[-_]|$)"  # releases of other hook points
_SHOWN = 8


class Choice(NamedTuple):
    """An SAE of a release as its id and entry describe it."""

    id: str
    layer: int
    width: str | None  # as the id has it: 16k, 8x, 768
    l0: str | float | None  # canonical, small, medium, big, or the average L0
    average: float | None  # the average L0 where it is told


def sae_id(saes: Saes, layer: int) -> str:
    """The SAE of a layer, by its id: of `saes.ids`, or by `width` and `l0` from what the release has.

    A number as `l0` takes the SAE whose average L0 is nearest, of two the sparser. `canonical` takes what SAELens calls
    so: an id of the release, or of the release of the same name with `-canonical` the SAE that it stands for. What is
    not given must not be open: a release with several widths or L0s at the layer asks for it.

    Raises `IsoglossError` in one line with what the release has instead.
    """
    if isinstance(saes.ids, str):
        return saes.ids.replace("{layer}", str(layer))
    if saes.ids is not None:
        return saes.ids[layer]
    assert saes.release is not None  # the configuration asks for it where there are no ids
    release = find_release(saes.release)
    if release is None:
        raise IsoglossError(
            f"SAELens' directory has no release {saes.release}, so width and l0 choose nothing; correct saes.release,"
            " or give saes.ids"
        )
    return choose(release, layer, saes.width, saes.l0).id


def choose(release: Release, layer: int, width: str | int | None, l0: str | int | None) -> Choice:
    """The SAE of `release` at `layer` of that width and L0, by the rule of `sae_id`, and errors as it raises."""
    where = f"release {release.name}"
    every = choices(release)
    here = [one for one in every if one.layer == layer]
    if not every:
        raise IsoglossError(f"{where}: no SAE on the residual stream that width and l0 can name; give saes.ids")
    if not here:
        raise IsoglossError(f"{where} has no layer {layer}; it has layers {listed({one.layer for one in every})}")
    widths = {one.width for one in here}
    if width is not None:
        here = [one for one in here if one.width is not None and same_width(one.width, width)]
        if not here:
            has = {one for one in widths if one}
            instead = f"it has {listed(has)}" if has else "its ids name none: leave saes.width out"
            raise IsoglossError(f"{where} has no width {width} at layer {layer}; {instead}")
    elif len(widths) > 1:
        raise IsoglossError(f"{where} has several widths at layer {layer}, {listed(widths)}; say which in saes.width")
    return _of_l0(here, release, l0)


def _of_l0(here: list[Choice], release: Release, l0: str | int | None) -> Choice:
    """The one of `here`, of one layer and width, with that L0."""
    where, layer = f"release {release.name}", here[0].layer
    has = listed({one.l0 for one in here if one.l0 is not None}) or "one that it does not name: leave saes.l0 out"
    if isinstance(l0, int):
        measured = [(abs(one.average - l0), one.average, one) for one in here if one.average is not None]
        if not measured:
            raise IsoglossError(f"{where} does not tell the average L0 at layer {layer}; it has l0 {has}")
        nearest = min(row[:2] for row in measured)
        here = [one for *row, one in measured if tuple(row) == nearest]
    elif l0 == "canonical" and not any(one.l0 == l0 for one in here):
        named = find_release(f"{release.name}-canonical")
        of_them = [one for one in choices(named) if one.layer == layer and one.width == here[0].width] if named else []
        paths = {named.paths[one.id] for one in of_them} if named else set()
        here = [one for one in here if release.paths[one.id] in paths]
    elif l0 is not None:
        here = [one for one in here if one.l0 == l0]
    if not here:
        raise IsoglossError(f"{where} has no l0 {l0} at layer {layer}; it has {has}")
    if len({one.l0 for one in here}) > 1:
        raise IsoglossError(f"{where} has several l0 at layer {layer}, {has}; say which in saes.l0")
    if len(here) > 1:
        ids = listed(one.id for one in here)
        raise IsoglossError(f"{where}: width and l0 do not tell {ids} apart; give saes.ids")
    return here[0]


def choices(release: Release) -> list[Choice]:
    """The SAEs of a release on the residual stream after a layer, as far as their ids follow a grammar."""
    if re.search(ELSEWHERE, release.name):
        return []
    found = []
    for name in release.paths:
        match = next((match for grammar in GRAMMARS if (match := re.fullmatch(grammar, name))), None)
        if match is None:
            continue
        parts = match.groupdict()
        layer = int(parts["layer"]) if parts.get("layer") else int(parts["before"]) - 1
        if layer >= 0:
            said = (parts.get("l0") or "").removeprefix("average_l0_")
            average = float(said) if said.isdecimal() else release.l0s.get(name)
            l0 = said if said and not said.isdecimal() else average
            found.append(Choice(name, layer, parts.get("width"), l0, average))
    return found


def same_width(text: str, width: str | int) -> bool:
    """Whether the width in an id is the one asked for, as the id writes it or as a number of features."""
    return text == str(width) or (isinstance(width, int) and features(text) == width)


def features(width: str | int, d_model: int = 0) -> int:
    """The features of a width: `8x` is eight times `d_model`, `16k` 16,384, `65k` the power of two 65,536."""
    text = str(width)
    if text.endswith("x"):
        return int(text[:-1]) * d_model
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("k", "m") else (text, "")
    if not number.isdecimal():
        raise IsoglossError(f"saes.width {text}: no width; write it as the release does (16k, 8x) or as a number")
    if not unit:
        return int(number)
    about = int(number) * {"k": 1000, "m": 1_000_000}[unit]
    power = 2 ** round(math.log2(about))
    return power if abs(power / about - 1) < 0.05 else about // 1000 * 1024


@cache
def _number(text: str) -> tuple[float, str]:
    digits = re.match(r"\d+(?:\.\d+)?", text)
    return (float(digits[0]) * {"k": 1e3, "m": 1e6}.get(text[len(digits[0]) :], 1.0) if digits else math.inf, text)


def listed(values: Iterable[object]) -> str:
    """Values in order, numbers by size, the first few of many ones that are no layers."""
    texts = {f"{value:g}" if isinstance(value, float) else str(value) for value in values}
    ordered = sorted(texts, key=_number)
    if all(text.isdecimal() for text in ordered) or len(ordered) <= _SHOWN:
        return ", ".join(ordered)
    return f"{', '.join(ordered[:_SHOWN])} and {len(ordered) - _SHOWN} more"
