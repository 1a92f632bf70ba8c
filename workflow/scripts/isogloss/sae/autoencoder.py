"""Sparse autoencoders as isogloss runs them: the encoder, whole or only the columns asked for.

Weights come from folders in SAELens format (`cfg.json`, `sae_weights.safetensors`). Only what an
encoder needs is implemented; tests hold it against `SAE.load_from_disk(...).encode`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from isogloss.errors import IsoglossError
from isogloss.sae.columns import Columns
from isogloss.sae.kinds.encoder import Encoder, unit_norm
from isogloss.sae.kinds.table import KINDS


def sae_width(folder: str | Path) -> int:
    """The number of features of an SAE in SAELens format. Raises `IsoglossError` where there is none."""
    return _config(folder)["d_sae"]


def holds_columns(folder: str | Path) -> bool:
    """Whether the SAE's kind needs no more of the encoder than the features that are asked for.

    Errors as `sae_width`.
    """
    kind = _config(folder)["architecture"]
    return kind in KINDS and KINDS[kind].threshold is not None


def _config(folder: str | Path) -> dict[str, Any]:
    if not (Path(folder) / "cfg.json").is_file():
        raise IsoglossError(f"{folder}: no cfg.json there, so no SAE in SAELens format")
    return json.loads((Path(folder) / "cfg.json").read_text(encoding="utf-8"))


def load_encoder(folder: str | Path, features: Int[Tensor, " chosen"] | None = None) -> Encoder:
    """Read the encoder of an SAE in SAELens format, in float32.

    Of a kind with thresholds only the columns of `features` are read, if they are given (in any order, repeated or
    not), and no other feature may be asked for later: the values are, bit for bit, those of the whole. TopK needs the
    whole width for its threshold. Raises `IsoglossError` for a missing folder or an architecture that is not
    understood, and for a feature that the SAE does not have.
    """
    folder = Path(folder)
    cfg = _config(folder)
    kind = cfg["architecture"]
    if kind not in KINDS:
        raise IsoglossError(f"{folder}: SAE architecture {kind!r}; understood are topk, jumprelu and standard (ReLU)")
    if cfg.get("normalize_activations", "none") != "none":
        raise IsoglossError(
            f"{folder}: normalize_activations={cfg['normalize_activations']!r}; fold it into the weights first"
        )
    file = folder / "sae_weights.safetensors"
    held = None if features is None or KINDS[kind].threshold is None else _held(features, cfg["d_sae"], folder)
    with safe_open(file, framework="pt") as files:
        weights = KINDS[kind].read(cfg, files if held is None else Columns(file, held))
        input_bias = files.get_tensor("b_dec").float() if cfg["apply_b_dec_to_input"] else None
    metadata = cfg.get("metadata") or {}
    return Encoder(
        kind=kind,
        input_bias=input_bias,
        unit_norm_input=bool(metadata.get("unit_norm_input")),
        hook_name=metadata.get("hook_name"),
        column=None
        if held is None
        else torch.full((cfg["d_sae"],), len(held)).scatter_(0, held, torch.arange(len(held))),
        **weights._asdict(),
    )


def _held(features: Int[Tensor, " chosen"], width: int, folder: Path) -> Int[Tensor, " columns"] | None:
    """The features to hold, ascending; None for all."""
    held = features.unique().long()
    if len(held) and not 0 <= held[0] <= held[-1] < width:
        raise IsoglossError(
            f"{folder}: no feature {int(held[-1])}, the SAE has {width}; give the SAE of these features"
        )
    return None if len(held) == width else held


def load_encoders(
    folders: Mapping[int, str | Path],
    *,
    d_model: int,
    device: torch.device,
    features: Mapping[int, Int[Tensor, " _"]] | None = None,
) -> dict[int, Encoder]:
    """The encoders of several layers (folder by layer) on `device`, with only `features` where these suffice.

    Raises `IsoglossError` naming the folder if an SAE is missing, of another width than the model,
    or trained at another hook point than the residual stream after that layer.
    """
    encoders: dict[int, Encoder] = {}
    for layer, folder in folders.items():
        encoder = load_encoder(folder, None if features is None else features[layer])
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
        columns = encoder.columns(features)
        w, b = w[:, columns], b[columns]
    elif encoder.column is not None:
        raise ValueError("only some features of this encoder are held")
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
        chosen = torch.arange(encoder.width, device=z.device) if features is None else features
        on = z > kind.threshold(encoder, chosen)
    return torch.where(on, z.relu(), torch.zeros_like(z))
