"""TopK SAEs: the encoder, one optimiser step and the SAELens files (paper C, sec. 2)."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from isogloss.sae.kinds.encoder import Encoder, Weights
from isogloss.sae.quality import QualityMeter
from isogloss.sae.recipe import Recipe, geometric_median

ADAM_EPS = 6.25e-10  # of paper C's published code
_NORM_EPS = 1e-12  # as `functional.normalize`
_ROWS = 4096  # of a decoder whose norms are taken together
_LARGEST = 2**27  # pre-activations (tokens times features) that are held at a time: 0.5 GiB, and half of it in bfloat16


def read_topk(cfg: Mapping[str, Any], files: Any) -> Weights:
    """The encoder's weights from the open safetensors file, times the decoder's norms if the SAE rescales by them."""
    w_enc, b_enc = files.get_tensor("W_enc").float(), files.get_tensor("b_enc").float()
    if cfg.get("rescale_acts_by_decoder_norm"):
        decoder = files.get_slice("W_dec")  # some rows at a time, since nothing else of it is read
        norms = torch.cat(
            [decoder[start : start + _ROWS].float().norm(dim=-1) for start in range(0, len(b_enc), _ROWS)]
        )
        w_enc, b_enc = w_enc * norms, b_enc * norms
    return Weights(w_enc, b_enc, k=cfg["k"])


def topk_keeps(encoder: Encoder, whole: Float[Tensor, "*batch features"]) -> Bool[Tensor, "*batch features"]:
    """Which features a TopK encoder keeps at each position, from z of the whole width; kept ones then pass ReLU.

    All that reach the k-th largest z are kept: of features tied there every one, where `torch.topk`,
    and so SAELens, picks some. A kept feature's z must be taken from `whole`: from another matrix
    product, the k-th itself could fall short by a last bit.
    """
    assert encoder.k is not None
    z = whole.detach()
    return z >= z.topk(encoder.k, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)


def strongest(z: Float[Tensor, "batch features"], k: int) -> tuple[Float[Tensor, "batch k"], Int[Tensor, "batch k"]]:
    """The k largest of each row, in no order, and where they are: `torch.topk`, but several times faster on the CPU."""
    if z.is_cuda or z.dtype != torch.float32:
        return z.topk(k, dim=-1, sorted=False)
    rows = z.numpy()
    least = np.partition(rows, z.shape[1] - k, axis=1)[:, -k]
    positions = np.flatnonzero(rows >= least[:, None])
    if len(positions) != len(rows) * k or (np.bincount(positions // z.shape[1], minlength=len(rows)) != k).any():
        return z.topk(k, dim=-1, sorted=False)  # ties at the k-th, or a NaN
    features = torch.from_numpy(positions.reshape(len(rows), k) % z.shape[1])
    return z.gather(1, features), features


def _shifted(products: Float[Tensor, "batch features"], bias: Float[Tensor, " features"]) -> Tensor:
    """Products and bias in one pass, in float32 whichever the products are in; in their memory where they fit."""
    return products.add_(bias) if products.dtype == bias.dtype else torch.add(products, bias)


class _SparseReconstruction(torch.autograd.Function):
    """x^ with gradients that read and write k rows of the decoder and k columns of the encoder a token.

    Autograd would take the encoder's by matrix products over the whole width. Here tokens are sorted by the
    features that they chose, and the gradient of each feature is the weighted sum over its own tokens.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_enc: Tensor,
        b_enc: Tensor,
        w_dec: Tensor,
        b_dec: Tensor,
        k: int,
        compute: torch.dtype,
    ) -> Tensor:
        centred = x - b_dec
        weight = w_enc.to(compute)
        parts = [
            strongest(_shifted(rows.to(compute) @ weight, b_enc), k)
            for rows in centred.split(max(1, _LARGEST // len(b_enc)))
        ]
        values, features = (torch.cat(part) for part in zip(*parts, strict=True))
        values.relu_()
        ctx.save_for_backward(centred, w_enc, w_dec, values, features)
        return functional.embedding_bag(features, w_dec, per_sample_weights=values, mode="sum") + b_dec

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (error,) = gradients
        centred, w_enc, w_dec, values, features = ctx.saved_tensors
        batch, k = features.shape
        positions = torch.arange(batch, device=features.device)
        # For each token and chosen feature, the product of the error with the feature's decoder row.
        weights = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            error.contiguous(), w_dec, features.flatten(), positions * k, positions.repeat_interleave(k), 0
        )
        weights *= values.flatten() > 0
        chosen, order = features.flatten().int().sort(stable=True)
        first = torch.searchsorted(chosen, torch.arange(len(w_dec), device=chosen.device, dtype=torch.int32))
        tokens, weights, values = order // k, weights[order], values.flatten()[order]

        def summed(vectors: Tensor, by: Tensor) -> Tensor:
            return functional.embedding_bag(tokens, vectors, first, per_sample_weights=by, mode="sum")

        d_b_enc = summed(torch.ones_like(centred[:, :1]), weights)[:, 0]
        d_b_dec = error.sum(dim=0) - w_enc @ d_b_enc
        return None, summed(centred, weights).T, d_b_enc, summed(error, values), d_b_dec, None, None


class TopKAutoencoder(nn.Module):
    """z = TopK(relu(W_enc (x - b_dec) + b_enc)), x^ = W_dec z + b_dec (paper C, sec. 2, eqs. 1 and 2)."""

    def __init__(self, d_model: int, features: int, k: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.k = k
        decoder = functional.normalize(torch.randn(features, d_model, generator=generator), dim=1)
        self.W_dec = nn.Parameter(decoder)
        self.W_enc = nn.Parameter(decoder.T.clone(memory_format=torch.contiguous_format))
        self.b_enc = nn.Parameter(torch.zeros(features))
        self.b_dec = nn.Parameter(torch.zeros(d_model))

    def encode(self, x: Float[Tensor, "batch d_model"]) -> tuple[Float[Tensor, "batch k"], Int[Tensor, "batch k"]]:
        """Activations of the k strongest features and which they are; fewer positives leave zeros."""
        z = (x - self.b_dec) @ self.W_enc + self.b_enc
        values, features = z.topk(self.k, dim=-1, sorted=False)
        return values.relu(), features

    def forward(self, x: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch d_model"]:
        """Reconstruction; only the k decoder rows of each token are read and get a gradient."""
        return self.decode(*self.encode(x))

    def sparse_forward(
        self, x: Float[Tensor, "batch d_model"], compute: torch.dtype = torch.float32
    ) -> Float[Tensor, "batch d_model"]:
        """`forward`, but no gradient is as wide as the dictionary; W_enc is multiplied in the dtype `compute`."""
        return _SparseReconstruction.apply(x, self.W_enc, self.b_enc, self.W_dec, self.b_dec, self.k, compute)  # type: ignore[return-value]

    def decode(
        self, values: Float[Tensor, "batch k"], features: Int[Tensor, "batch k"]
    ) -> Float[Tensor, "batch d_model"]:
        """W_dec z + b_dec from the k non-zero entries of z."""
        return functional.embedding_bag(features, self.W_dec, per_sample_weights=values, mode="sum") + self.b_dec

    @torch.no_grad()
    def put_features_first(self) -> None:
        """Lay W_enc out in memory as its gradient comes from `sparse_forward`, which need not be turned round then.

        The values and their order in files stay; a matrix product may round otherwise, so it is for a GPU.
        """
        self.W_enc.data = self.W_enc.T.contiguous().T

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Put every decoder row back on the unit sphere, as after each step of the recipe."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True).clamp_min_(_NORM_EPS))


class SaeTrainer:
    """Trains one TopK SAE a layer on the same batches: Adam, linear warm-up, then a constant rate.

    With `sparse`, gradients are those of `sparse_forward` and Adam is PyTorch's fused kernel: the same
    mathematics in a fraction of the time, but not the same last bits. On a GPU the encoder is then
    multiplied in bfloat16; weights and Adam's moments are float32 everywhere.
    """

    def __init__(
        self,
        layers: Sequence[int],
        first: Float[Tensor, "layers held d_model"],
        recipe: Recipe,
        *,
        seed: int,
        sparse: bool = False,
    ) -> None:
        self.saes: dict[int, TopKAutoencoder] = {}
        for layer, vectors in zip(layers, first, strict=True):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + layer)
            sae = TopKAutoencoder(vectors.shape[1], recipe.features, recipe.k, generator=generator).to(vectors.device)
            sae.b_dec.data.copy_(geometric_median(vectors))
            if sparse and vectors.is_cuda:
                sae.put_features_first()
            self.saes[layer] = sae
        self._sparse = sparse
        self._compute = torch.bfloat16 if first.is_cuda else torch.float32
        # An optimiser a layer: no more than one layer's gradients are held.
        self._adams = {
            layer: torch.optim.Adam(sae.parameters(), lr=recipe.learning_rate, eps=ADAM_EPS, fused=sparse or None)
            for layer, sae in self.saes.items()
        }
        self._schedules = {
            layer: torch.optim.lr_scheduler.LambdaLR(
                adam, lambda step: min(1.0, (step + 1) / max(1, recipe.warmup_steps))
            )
            for layer, adam in self._adams.items()
        }

    def step(self, batch: Float[Tensor, "layers batch d_model"]) -> dict[int, float]:
        """One optimiser step for every layer; returns the loss by layer: mean over tokens of ||x - x^||^2 (eq. 3)."""
        losses: list[Tensor] = []
        for (layer, sae), x in zip(self.saes.items(), batch, strict=True):
            decoded = sae.sparse_forward(x, self._compute) if self._sparse else sae(x)
            loss = (x - decoded).square().sum(dim=1).mean()
            loss.backward()
            losses.append(loss.detach())
            self._adams[layer].step()
            self._adams[layer].zero_grad(set_to_none=True)
            self._schedules[layer].step()
            sae.normalise_decoder()
        return dict(zip(self.saes, torch.stack(losses).tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on but the batch."""
        parts = {"saes": self.saes, "adam": self._adams, "schedule": self._schedules}
        return {name: {str(layer): of.state_dict() for layer, of in part.items()} for name, part in parts.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        for layer, sae in self.saes.items():
            sae.load_state_dict(state["saes"][str(layer)])
            self._adams[layer].load_state_dict(state["adam"][str(layer)])
            self._schedules[layer].load_state_dict(state["schedule"][str(layer)])

    def meter(self, layer: int) -> QualityMeter:
        """A meter of the SAE of `layer` as it is now."""
        return QualityMeter(self.saes[layer])

    def save(self, layer: int, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write the SAE of `layer` as `save_saelens` does."""
        save_saelens(folder, self.saes[layer], metadata)


def save_saelens(folder: Path, sae: TopKAutoencoder, metadata: Mapping[str, Any]) -> None:
    """Write the two files that `SAE.load_from_disk` of SAELens reads, without its slow import.

    `metadata` must say `unit_norm_input`: SAELens itself does not scale inputs to norm 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features, d_model = sae.W_dec.shape
    saelens = version("sae-lens")
    cfg = {
        "d_in": d_model,
        "d_sae": features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": saelens, "sae_lens_training_version": saelens, **metadata},
        "k": sae.k,
        "rescale_acts_by_decoder_norm": False,
        "architecture": "topk",
    }
    (folder / "cfg.json").write_text(json.dumps(cfg), encoding="utf-8")
    weights = {name: value.detach().cpu().contiguous() for name, value in sae.state_dict().items()}
    save_file(weights, folder / "sae_weights.safetensors")
