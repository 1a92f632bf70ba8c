"""Sparse autoencoders as isogloss runs them: the encoder, whole or only the columns asked for.

Weights come from folders in SAELens format (`cfg.json`, `sae_weights.safetensors`). Only what an
encoder needs is implemented; tests hold it against `SAE.load_from_disk(...).encode`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from isogloss.errors import IsoglossError
from isogloss.sae.kinds.encoder import Encoder, unit_norm
from isogloss.sae.kinds.table import KINDS


def sae_width(folder: str | Path) -> int:
    """The number of features of an SAE in SAELens format."""
    return json.loads((Path(folder) / "cfg.json").read_text(encoding="utf-8"))["d_sae"]


def load_encoder(folder: str | Path) -> Encoder:
    """Read the encoder of an SAE in SAELens format, in float32.

    Raises `IsoglossError` for a missing folder or an architecture that is not understood.
    """
    folder = Path(folder)
    if not (folder / "cfg.json").is_file():
        raise IsoglossError(f"{folder}: no cfg.json there, so no SAE in SAELens format")
    cfg = json.loads((folder / "cfg.json").read_text())
    kind = cfg["architecture"]
    if kind not in KINDS:
        raise IsoglossError(f"{folder}: SAE architecture {kind!r}; understood are topk, jumprelu and standard (ReLU)")
    if cfg.get("normalize_activations", "none") != "none":
        raise IsoglossError(
            f"{folder}: normalize_activations={cfg['normalize_activations']!r}; fold it into the weights first"
        )
    with safe_open(folder / "sae_weights.safetensors", framework="pt") as files:
        weights = KINDS[kind].read(cfg, files)
        input_bias = files.get_tensor("b_dec").float() if cfg["apply_b_dec_to_input"] else None
    metadata = cfg.get("metadata") or {}
    return Encoder(
        kind=kind,
        input_bias=input_bias,
        unit_norm_input=bool(metadata.get("unit_norm_input")),
        hook_name=metadata.get("hook_name"),
        **weights._asdict(),
    )


def load_encoders(folders: Mapping[int, str | Path], *, d_model: int, device: torch.device) -> dict[int, Encoder]:
    """The encoders of several layers (folder by layer) on `device`.

    Raises `IsoglossError` naming the folder if an SAE is missing, of another width than the model,
    or trained at another hook point than the residual stream after that layer.
    """
    encoders: dict[int, Encoder] = {}
    for layer, folder in folders.items():
        encoder = load_encoder(folder)
        if encoder.w_enc.shape[0] != d_model:
            raise IsoglossError(
                f"{folder}: the SAE is for width {encoder.w_enc.shape[0]}, the model's residual stream has {d_model};"
                " give the SAE of this model"
            )
        if encoder.hook_name not in (None, f"blocks.{layer}.hook_resid_post"):
            raise IsoglossError(
                f"{folder}: the SAE belongs to {encoder.hook_name}, not to layer {layer}"
                f" (blocks.{layer}.hook_resid_post); give that layer's SAE"
            )
        encoders[layer] = encoder.to(device)
    return encoders


def encoder_input(encoder: Encoder, residual: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What the encoder's matrix multiplies: the residual in float32, scaled and shifted as the SAE was trained."""
    x = unit_norm(residual) if encoder.unit_norm_input else residual.float()
    return x if encoder.input_bias is None else x - encoder.input_bias


def pre_activations(
    encoder: Encoder, residual: Float[Tensor, "*batch d_model"], features: Int[Tensor, " chosen"] | None = None
) -> Float[Tensor, "*batch chosen"]:
    """z for all features, or for the chosen columns only, in float32 (differentiable)."""
    w, b = encoder.w_enc, encoder.b_enc
    if features is not None:
        w, b = w[:, features], b[features]
    return encoder_input(encoder, residual) @ w + b


def activations(
    encoder: Encoder, residual: Float[Tensor, "*batch d_model"], features: Int[Tensor, " chosen"] | None = None
) -> Float[Tensor, "*batch chosen"]:
    """SAE activations of all features or of the chosen ones (paper A, sec. 2.4; exact for every kind).

    A kind with thresholds computes only the chosen columns; TopK needs the whole width for its own.
    """
    kind = KINDS[encoder.kind]
    if kind.keeps is not None:
        z = pre_activations(encoder, residual)
        on = kind.keeps(encoder, z)
        if features is not None:
            z, on = z[..., features], on[..., features]
    else:
        assert kind.threshold is not None
        z = pre_activations(encoder, residual, features)
        chosen = torch.arange(len(encoder.b_enc), device=z.device) if features is None else features
        on = z > kind.threshold(encoder, chosen)
    return torch.where(on, z.relu(), torch.zeros_like(z))
