"""SAELens' directory of releases, `pretrained_saes.yaml`: where a release lies and which SAEs it has.

It is read as text and one release at a time, in milliseconds: importing SAELens takes five seconds, parsing all of its
directory half a second, and the process that plans a run reads it too.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from isogloss.errors import IsoglossError

_SHOWN = 8
_LAYER = r"(?:(?:layers?|blocks)[_.]?|^l(?=\d+[a-z]_))(\d+)"


class Release(NamedTuple):
    """A release as SAELens' directory has it."""

    name: str
    repository: str  # of the Hub
    model: str  # as SAELens calls it
    paths: Mapping[str, str]  # where an SAE lies in the repository, by its id
    scales: Mapping[str, float]  # by which its inputs are multiplied (norm_scaling_factor), by its id
    overrides: Mapping[str, Any]  # of what the SAEs' own configs say
    l0s: Mapping[str, float]  # average L0 where it is told, by id
    neuronpedia: Mapping[str, str]  # Neuronpedia's MODEL/SOURCE where it has one, by id

    def path(self, sae_id: str) -> str:
        """Where the SAE lies; raises `IsoglossError` saying what there is instead."""
        if sae_id in self.paths:
            return self.paths[sae_id]
        raise IsoglossError(f"release {self.name} has no SAE {sae_id}; {self._instead(sae_id)}")

    def _instead(self, sae_id: str) -> str:
        layers = {name: int(match[1]) for name in self.paths if (match := re.search(_LAYER, name))}
        wanted = re.search(_LAYER, sae_id)
        same = [name for name in self.paths if wanted and layers.get(name) == int(wanted[1])]
        if wanted and layers and not same:
            return (
                f"it has layers {', '.join(map(str, sorted(set(layers.values()))))}: correct saes.ids or saes.release"
            )
        instead = same or list(self.paths)
        shown = ", ".join(instead[:_SHOWN]) + (f" and {len(instead) - _SHOWN} more" if len(instead) > _SHOWN else "")
        return f"{'of that layer ' if same else ''}it has {shown}: correct saes.ids"


@cache
def find_release(name: str) -> Release | None:
    """The release called `name`; None for a name that SAELens' directory does not have."""
    block = re.search(rf"^{re.escape(name)}:\n(?:[ -].*\n|\n)+", _directory(), flags=re.MULTILINE)
    if block is None:
        return None
    entry = yaml.safe_load(block[0])[name]
    saes = entry["saes"]
    return Release(
        name=name,
        repository=entry["repo_id"],
        model=entry["model"],
        paths={sae["id"]: str(sae["path"]) for sae in saes},
        scales={sae["id"]: sae["norm_scaling_factor"] for sae in saes if "norm_scaling_factor" in sae},
        overrides=entry.get("config_overrides") or {},
        l0s={sae["id"]: sae["l0"] for sae in saes if sae.get("l0") is not None},
        neuronpedia={sae["id"]: sae["neuronpedia"] for sae in saes if sae.get("neuronpedia")},
    )


def neuronpedia_of(folder: str) -> str | None:
    """Neuronpedia's MODEL/SOURCE of an SAE that was fetched into `folder`; None where its release names none."""
    about = json.loads(Path(folder, "cfg.json").read_text(encoding="utf-8")).get("metadata") or {}
    release = find_release(about["release"]) if about.get("release") else None
    return release.neuronpedia.get(about.get("sae_id") or "") if release else None


@cache
def released_models() -> dict[str, str]:
    """The model of every release in SAELens' directory, as SAELens calls it."""
    entry = r"^(\S+):\n(?:  (?!saes:).*\n)*?  model: (\S+)$"
    return {match[1]: match[2] for match in re.finditer(entry, _directory(), flags=re.MULTILINE)}


def _directory() -> str:
    spec = find_spec("sae_lens")
    assert spec is not None  # a requirement of isogloss
    return Path(str(spec.origin)).with_name("pretrained_saes.yaml").read_text(encoding="utf-8")
