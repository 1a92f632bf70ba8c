"""EleutherAI's sparsify: `cfg.json` with `sae.safetensors` in a folder called as the module whose output it reads."""

from pathlib import PurePosixPath

from isogloss.sources.saes.published import (
    Layout,
    Opened,
    PublishedSae,
    Shape,
    check_keys,
    check_neutral,
    name,
    read_config,
    whole_number,
    words,
)
from isogloss.sources.saes.tensors import read_tensors

CONFIG, FILE, RUN = "cfg.json", "sae.safetensors", "../config.json"
TENSORS = {"encoder.weight": "W_enc.T", "encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
NEUTRAL = {
    "activation": ("topk",),
    "signed": (False,),
    "skip_connection": (False,),
    "transcode": (False,),
    "embed_skip": (False,),
    "gram_lookup": (False,),  # would subtract a table's mean from the input
}
KEYS = words("d_in k num_latents expansion_factor normalize_decoder multi_topk lookup_max_order gram_table_hash")


def _read(opened: Opened) -> PublishedSae:
    """f = TopK(relu((x - b_dec) W_enc + b_enc)): `SparseCoder.encode`; `normalize_decoder` is about training alone."""
    config = check_keys(opened, read_config(opened, CONFIG), KEYS | NEUTRAL.keys())
    check_neutral(opened, config, NEUTRAL)
    tensors = read_tensors(opened, FILE, TENSORS)
    run = read_config(opened, RUN) if RUN in opened.files else {}
    return PublishedSae(
        kind="topk",
        w_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        w_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        subtracts_b_dec=True,
        hook=PurePosixPath(opened.sae_id).name.replace("layers_", "layers."),
        model=name(opened, run, "model"),
        k=whole_number(opened, config, "k"),
        declared=_shape(opened).features,
        width=whole_number(opened, config, "d_in"),
    )


def _shape(opened: Opened) -> Shape:
    config = read_config(opened, CONFIG)
    if config.get("num_latents"):
        return Shape("topk", whole_number(opened, config, "num_latents"))
    return Shape("topk", whole_number(opened, config, "d_in") * whole_number(opened, config, "expansion_factor"))


SPARSIFY = Layout((CONFIG, FILE), _read, _shape, also=(RUN,))
