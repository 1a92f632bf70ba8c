"""Sparse autoencoders as isogloss runs them: the encoder, whole or only the columns asked for.

Weights come from folders in SAELens format (`cfg.json`, `sae_weights.safetensors`). Only what an
encoder needs is implemented; tests hold it against `SAE.load_from_disk(...).encode`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from torch import Tensor

from isogloss.errors import IsoglossError

Kind = Literal["topk", "jumprelu", "standard"]


class Encoder(NamedTuple):
    """The encoder of one SAE: z = (x - b_dec?) W_enc + b_enc, then the sparsifying nonlinearity."""

    kind: Kind
    w_enc: Float[Tensor, "d_model features"]
    b_enc: Float[Tensor, " features"]
    input_bias: Float[Tensor, " d_model"] | None  # b_dec where the SAE subtracts it from its input
    threshold: Float[Tensor, " features"] | None  # JumpReLU
    k: int | None  # TopK
    unit_norm_input: bool  # inputs are L2-normalised first (paper C's recipe)
    hook_name: str | None

    def to(self, device: torch.device) -> "Encoder":
        """A copy on `device`."""
        return self._replace(
            **{name: value.to(device) for name, value in self._asdict().items() if isinstance(value, Tensor)}
        )


def load_encoder(folder: str | Path) -> Encoder:
    """Read the encoder of an SAE in SAELens format, in float32.

    Raises `IsoglossError` for a missing folder or an architecture that is not understood.
    """
    folder = Path(folder)
    if not (folder / "cfg.json").is_file():
        raise IsoglossError(f"{folder}: no cfg.json there, so no SAE in SAELens format")
    cfg = json.loads((folder / "cfg.json").read_text())
    kind = cfg["architecture"]
    if kind not in ("topk", "jumprelu", "standard"):
        raise IsoglossError(f"{folder}: SAE architecture {kind!r}; understood are topk, jumprelu and standard (ReLU)")
    if cfg.get("normalize_activations", "none") != "none":
        raise IsoglossError(
            f"{folder}: normalize_activations={cfg['normalize_activations']!r}; fold it into the weights first"
        )
    with safe_open(folder / "sae_weights.safetensors", framework="pt") as weights:
        tensors = {name: weights.get_tensor(name).float() for name in weights.keys() if name != "W_dec"}  # noqa: SIM118
        if kind == "topk" and cfg.get("rescale_acts_by_decoder_norm"):
            norms = weights.get_tensor("W_dec").float().norm(dim=-1)
            tensors["W_enc"], tensors["b_enc"] = tensors["W_enc"] * norms, tensors["b_enc"] * norms
    metadata = cfg.get("metadata") or {}
    return Encoder(
        kind=kind,
        w_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        input_bias=tensors["b_dec"] if cfg["apply_b_dec_to_input"] else None,
        threshold=tensors.get("threshold"),
        k=cfg.get("k"),
        unit_norm_input=bool(metadata.get("unit_norm_input")),
        hook_name=metadata.get("hook_name"),
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


def unit_norm(residual: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Each vector at L2 norm 1, in float32 (paper C's input scaling)."""
    x = residual.float()
    return x / x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).eps)


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


def topk_keeps(encoder: Encoder, whole: Float[Tensor, "*batch features"]) -> Bool[Tensor, "*batch features"]:
    """Which features a TopK encoder keeps at each position, from z of the whole width; kept ones then pass ReLU.

    All that reach the k-th largest z are kept: of features tied there every one, where `torch.topk`,
    and so SAELens, picks some. A kept feature's z must be taken from `whole`: from another matrix
    product, the k-th itself could fall short by a last bit.
    """
    assert encoder.k is not None
    z = whole.detach()
    return z >= z.topk(encoder.k, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)


def activations(
    encoder: Encoder, residual: Float[Tensor, "*batch d_model"], features: Int[Tensor, " chosen"] | None = None
) -> Float[Tensor, "*batch chosen"]:
    """SAE activations of all features or of the chosen ones (papers.md A2; exact for every kind).

    JumpReLU and ReLU compute only the chosen columns; TopK needs the whole width for its threshold.
    """
    if encoder.kind == "topk":
        z = pre_activations(encoder, residual)
        kept = topk_keeps(encoder, z)
        if features is not None:
            z, kept = z[..., features], kept[..., features]
        return torch.where(kept, z.relu(), torch.zeros_like(z))
    z = pre_activations(encoder, residual, features)
    if encoder.kind == "standard":
        return z.relu()
    assert encoder.threshold is not None
    threshold = encoder.threshold if features is None else encoder.threshold[features]
    return torch.where(z > threshold, z.relu(), torch.zeros_like(z))
