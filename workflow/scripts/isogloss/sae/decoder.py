"""The decoder of an SAE in SAELens format, as features' contributions are taken from it."""

import json
from pathlib import Path

from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional


def read_decoder(folder: str | Path) -> tuple[Float[Tensor, "features d_model"], Float[Tensor, " d_model"]]:
    """Rows and bias of the decoder of the SAE in `folder`, in float32, in units of `load_encoder`'s activations.

    Of an SAE in unit-norm space (`Encoder.unit_norm_input`) they are of the vector at norm 1. `load_encoder` raises for
    a folder that holds no SAE.
    """
    with safe_open(Path(folder) / "sae_weights.safetensors", framework="pt") as weights:
        w_dec, b_dec = (weights.get_tensor(name).float() for name in ("W_dec", "b_dec"))
    if json.loads((Path(folder) / "cfg.json").read_text(encoding="utf-8")).get("rescale_acts_by_decoder_norm"):
        w_dec = functional.normalize(w_dec, dim=1)  # `load_encoder` moved the norms into the activations
    return w_dec, b_dec
