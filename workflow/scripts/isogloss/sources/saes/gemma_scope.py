"""Gemma Scope (arXiv 2408.05147): `params.npz`; model and site stand in the repository's name, the layer in the id."""

import re

from isogloss.sources.saes.published import Layout, Opened, PublishedSae, Shape
from isogloss.sources.saes.tensors import count_features, positive_thresholds, read_tensors

FILE = "params.npz"
ARRAYS = {name: name.replace("w_", "W_") for name in ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")}
SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z", "transcoders": "ln2.hook_normalized"}


def _read(opened: Opened) -> PublishedSae:
    """f = JumpReLU(x W_enc + b_enc), x as the model has it."""
    tensors = read_tensors(opened, FILE, ARRAYS)
    named = next((match for name in opened.names if (match := _NAME.search(name))), None)
    layer = re.search(r"layer_(\d+)", opened.sae_id)
    hook = None
    if "embedding" in opened.sae_id:
        hook = "hook_embed"
    elif named and layer:
        hook = f"blocks.{layer[1]}.{SITES[named['site']]}"
    return PublishedSae(
        kind="jumprelu",
        w_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        w_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        subtracts_b_dec=False,
        hook=hook,
        model=named and f"google/gemma-2-{named['size']}" + ("-it" if named["tuned"] == "it" else ""),
        threshold=positive_thresholds(tensors["threshold"], f"{opened.where}: {FILE}"),
    )


_NAME = re.compile(rf"gemma-scope-(?P<size>\d+b)-(?P<tuned>pt|it)-(?P<site>{'|'.join(SITES)})")


def _shape(opened: Opened) -> Shape:
    return Shape("jumprelu", count_features(opened, FILE))


GEMMA_SCOPE = Layout((FILE,), _read, _shape)
