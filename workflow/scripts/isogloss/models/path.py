"""Which way a model's forward goes: transformers' own parts, or faster ones; for provenance, and for who reads it."""

from typing import Any, NamedTuple

from torch import nn

from isogloss.models.architecture import unwrapped

OWN = "transformers"  # whose a part is that is as transformers has it
FLEX = "isogloss"  # transformers' name of the attention of `isogloss.models.fused.attention`
ROWS = "one sequence"  # how a batch without padding goes through
_ATTRIBUTE = "isogloss_kernels"


class Kernels(NamedTuple):
    """Whose each part of a model's forward is; put there by `isogloss.models.fused`."""

    norms: str = OWN  # how many, and whose
    gates: str = OWN  # of MLPs
    attention: str = OWN
    rows: str = OWN  # of a batch; `ROWS`: one after another
    layers: str = OWN
    own_attention: str | None = None  # transformers' name of the attention that stood where another stands now


def path_of(model: nn.Module) -> Kernels:
    """Which way the forward of `model` goes."""
    return getattr(unwrapped(model), _ATTRIBUTE, Kernels())


def reads_padding(model: nn.Module) -> bool:
    """Whether a batch's padding goes through `model` too, where nothing needs a gradient."""
    return path_of(model).rows != ROWS


def set_path(model: nn.Module, kernels: Kernels) -> None:
    """Record which way the forward of `model` goes now."""
    setattr(unwrapped(model), _ATTRIBUTE, kernels)


def kernels_of(model: nn.Module) -> dict[str, Any]:
    """The entry of a table's metadata that names the path its numbers took: {"kernels": {part: whose}}."""
    return {"kernels": {name: by for name, by in path_of(model)._asdict().items() if name != "own_attention"}}
