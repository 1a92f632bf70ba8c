"""Gemma Scope 2: `config.json` with `params.safetensors`, named as in google/gemma-scope-2-270m-pt."""

import re

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
)
from isogloss.sources.saes.tensors import count_features, positive_thresholds, read_tensors

CONFIG, FILE = "config.json", "params.safetensors"
ARRAYS = {name: name.replace("w_", "W_") for name in ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")}
KEYS = {"hf_hook_point_in", "hf_hook_point_out", "width", "model_name", "architecture", "l0"}
NEUTRAL = {"type": ("sae",), "affine_connection": (False, None), "architecture": ("jump_relu",)}
# Where a repository has no config: the site, by the folder above the SAE's.
SITES = {
    "resid_post": "model.layers.{}.output",
    "attn_out": "model.layers.{}.self_attn.o_proj.input",
    "mlp_out": "model.layers.{}.post_feedforward_layernorm.output",
    "transcoder": "model.layers.{}.pre_feedforward_layernorm.output",
    "clt": "model.layers.{}.pre_feedforward_layernorm.output",
}


def _read(opened: Opened) -> PublishedSae:
    """f = JumpReLU(x W_enc + b_enc), x as the model has it."""
    config = read_config(opened, CONFIG) if CONFIG in opened.files else {}
    config = check_keys(opened, config, KEYS | NEUTRAL.keys())
    check_neutral(opened, config, NEUTRAL)
    tensors = read_tensors(opened, FILE, ARRAYS)
    return PublishedSae(
        kind="jumprelu",
        w_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        w_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        subtracts_b_dec=False,
        hook=name(opened, config, "hf_hook_point_in") or _site(opened.sae_id),
        model=name(opened, config, "model_name"),
        threshold=positive_thresholds(tensors["threshold"], f"{opened.where}: {FILE}"),
        declared=None if config.get("width") is None else whole_number(opened, config, "width"),
    )


def _site(sae_id: str) -> str | None:
    site = re.search(rf"({'|'.join(SITES)})(?:_all)?/layer_(\d+)", sae_id)
    return SITES[site[1]].format(site[2]) if site else None


def _shape(opened: Opened) -> Shape:
    return Shape("jumprelu", count_features(opened, FILE))


GEMMA_SCOPE_2 = Layout((FILE,), _read, _shape, also=(CONFIG,))
