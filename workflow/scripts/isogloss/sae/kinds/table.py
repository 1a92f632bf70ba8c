"""The kinds of SAE whose encoder is understood, by the name of the architecture in SAELens' `cfg.json`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from isogloss.sae.kinds.encoder import Encoder, Weights
from isogloss.sae.kinds.jumprelu import jumprelu_threshold, read_jumprelu
from isogloss.sae.kinds.standard import read_standard, standard_threshold
from isogloss.sae.kinds.topk import read_topk, topk_keeps


class Kind(NamedTuple):
    """What tells a kind from the others: its files, and which features are on, by one of two ways."""

    read: Callable[[Mapping[str, Any], Any], Weights]  # of cfg.json and the open sae_weights.safetensors
    # What z of each of the features must exceed: their own columns of the encoder suffice.
    threshold: Callable[[Encoder, Int[Tensor, "*chosen"]], Float[Tensor, "*chosen"]] | None = None
    # Which features are on, from z of the whole width.
    keeps: Callable[[Encoder, Float[Tensor, "*batch features"]], Bool[Tensor, "*batch features"]] | None = None


KINDS = {
    "topk": Kind(read_topk, keeps=topk_keeps),
    "jumprelu": Kind(read_jumprelu, threshold=jumprelu_threshold),
    "standard": Kind(read_standard, threshold=standard_threshold),
}
