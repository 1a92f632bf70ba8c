"""Sparse autoencoders as isogloss runs them: the encoder, whole or only the columns asked for.

Weights come from folders in SAELens format (`cfg.json`, `sae_weights.safetensors`). Only what an
encoder needs is implemented; tests hold it against `SAE.load_from_disk(...).encode`.
"""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
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
        raise IsoglossError(f"{folder}: normalize_activations={cfg['normalize_activations']!r}; fold it into the weights first")
    with safe_open(folder / "sae_weights.safetensors", framework="pt") as weights:
        tensors = {name: weights.get_tensor(name).float() for name in weights.keys() if name != "W_dec"}
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


def pre_activations(
    encoder: Encoder, residual: Float[Tensor, "*batch d_model"], features: Int[Tensor, " chosen"] | None = None
) -> Float[Tensor, "*batch chosen"]:
    """z for all features, or for the chosen columns only, in float32 (differentiable)."""
    x = residual.float()
    if encoder.unit_norm_input:
        x = x / x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).eps)
    if encoder.input_bias is not None:
        x = x - encoder.input_bias
    w, b = encoder.w_enc, encoder.b_enc
    if features is not None:
        w, b = w[:, features], b[features]
    return x @ w + b


def kth_largest(encoder: Encoder, residual: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
    """The k-th largest pre-activation of each position, over the whole width: TopK's threshold."""
    assert encoder.k is not None
    return pre_activations(encoder, residual).topk(encoder.k, dim=-1, sorted=False).values.amin(dim=-1)


def activations(
    encoder: Encoder, residual: Float[Tensor, "*batch d_model"], features: Int[Tensor, " chosen"] | None = None
) -> Float[Tensor, "*batch chosen"]:
    """SAE activations of all features or of the chosen ones (papers.md A2; exact for every kind).

    JumpReLU and ReLU compute only the chosen columns; TopK needs the whole width for its threshold.
    """
    if encoder.kind == "topk":
        z = pre_activations(encoder, residual)
        assert encoder.k is not None
        threshold = z.detach().topk(encoder.k, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
        if features is not None:
            z = z[..., features]
        return torch.where(z >= threshold, z.relu(), torch.zeros_like(z))
    z = pre_activations(encoder, residual, features)
    if encoder.kind == "standard":
        return z.relu()
    assert encoder.threshold is not None
    threshold = encoder.threshold if features is None else encoder.threshold[features]
    return torch.where(z > threshold, z.relu(), torch.zeros_like(z))
