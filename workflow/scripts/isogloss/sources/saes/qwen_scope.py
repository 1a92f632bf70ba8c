"""Qwen-Scope: the id is a file `layerN.sae.pt`; model, width and k stand in the repository's name alone."""

import re

from isogloss.errors import IsoglossError
from isogloss.sources.saes.published import Layout, Opened, PublishedSae, Shape
from isogloss.sources.saes.tensors import count_features, read_tensors

FILE = r"(?:.*/)?layer(\d+)\.sae\.pt"
NAME = r"SAE-Res-(?P<model>.+)-W\d+K-L0_(?P<k>\d+)"  # Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50
TENSORS = {"W_enc": "W_enc.T", "W_dec": "W_dec.T", "b_enc": "b_enc", "b_dec": "b_dec"}


def _read(opened: Opened) -> PublishedSae:
    """f = TopK(relu(x W_enc + b_enc)), x as the model has it."""
    named = next((match for name in opened.names if (match := re.search(NAME, name))), None)
    if named is None:
        raise IsoglossError(
            f"{opened.where}: k stands in the repository's name alone; give source.id (Qwen/SAE-Res-MODEL-W32K-L0_50)"
            " beside source.folder"
        )
    layer = re.fullmatch(FILE, opened.sae_id)
    tensors = read_tensors(opened, "", TENSORS)
    return PublishedSae(
        kind="topk",
        w_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        w_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        subtracts_b_dec=False,
        hook=layer and f"model.layers.{layer[1]}",
        model=f"Qwen/{named['model']}",
        k=int(named["k"]),
    )


def _shape(opened: Opened) -> Shape:
    return Shape("topk", count_features(opened, ""))


QWEN_SCOPE = Layout(("",), _read, _shape, id_ends=".sae.pt")
