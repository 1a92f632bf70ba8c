"""TopK sparse autoencoders: one optimiser step, their quality, and their SAELens files (paper C, sec. 2)."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

ADAM_EPS = 6.25e-10  # papers.md C.2


class Recipe(NamedTuple):
    """How the SAEs of a model are trained; the fields are those of the config's `models.NAME.sae`."""

    features: int
    k: int
    tokens: int
    batch_tokens: int
    buffer_tokens: int
    learning_rate: float
    warmup_steps: int
    held_out_tokens: int


def geometric_median(
    points: Float[Tensor, "n d_model"], *, iterations: int = 100, tolerance: float = 1e-5
) -> Float[Tensor, " d_model"]:
    """The point with the least summed distance to `points`, by Weiszfeld's iteration."""
    median = points.mean(dim=0)
    for _ in range(iterations):
        weight = 1 / (points - median).norm(dim=1).clamp_min(1e-12)
        before, median = median, (points * weight[:, None]).sum(dim=0) / weight.sum()
        if (median - before).norm() < tolerance * before.norm():
            break
    return median


class TopKAutoencoder(nn.Module):
    """z = TopK(relu(W_enc (x - b_dec) + b_enc)), x^ = W_dec z + b_dec (papers.md C.1, eqs. 1 and 2)."""

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

    def decode(
        self, values: Float[Tensor, "batch k"], features: Int[Tensor, "batch k"]
    ) -> Float[Tensor, "batch d_model"]:
        """W_dec z + b_dec from the k non-zero entries of z."""
        return functional.embedding_bag(features, self.W_dec, per_sample_weights=values, mode="sum") + self.b_dec

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Put every decoder row back on the unit sphere, as after each step of the recipe."""
        self.W_dec.copy_(functional.normalize(self.W_dec, dim=1))


class SaeTrainer:
    """Trains one TopK SAE a layer on the same batches: Adam, linear warm-up, then a constant rate."""

    def __init__(
        self,
        layers: list[int],
        first_buffer: Float[Tensor, "layers held d_model"],
        *,
        features: int,
        k: int,
        learning_rate: float,
        warmup_steps: int,
        seed: int,
    ) -> None:
        self.saes: dict[int, TopKAutoencoder] = {}
        for layer, vectors in zip(layers, first_buffer, strict=True):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + layer)
            sae = TopKAutoencoder(vectors.shape[1], features, k, generator=generator).to(vectors.device)
            sae.b_dec.data.copy_(geometric_median(vectors))
            self.saes[layer] = sae
        parameters = [parameter for sae in self.saes.values() for parameter in sae.parameters()]
        self._adam = torch.optim.Adam(parameters, lr=learning_rate, eps=ADAM_EPS)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: min(1.0, (step + 1) / max(1, warmup_steps))
        )

    def step(self, batch: Float[Tensor, "layers batch d_model"]) -> dict[int, float]:
        """One optimiser step for every layer; returns the loss by layer: mean over tokens of ||x - x^||^2 (eq. 3)."""
        self._adam.zero_grad(set_to_none=True)
        losses: dict[int, Tensor] = {}
        for (layer, sae), x in zip(self.saes.items(), batch, strict=True):
            losses[layer] = (x - sae(x)).square().sum(dim=1).mean()
            losses[layer].backward()
        self._adam.step()
        self._schedule.step()
        for sae in self.saes.values():
            sae.normalise_decoder()
        return {layer: loss.item() for layer, loss in losses.items()}


class Quality(NamedTuple):
    """How well an SAE does on vectors that it was not trained on."""

    fvu: float  # sum ||x - x^||^2 / sum ||x - mean x||^2, on the vectors as the SAE sees them (unit norm)
    l0: float  # mean number of active features per token
    dead_features: int  # features that are active on none of the tokens
    n_tokens: int


class QualityMeter:
    """Adds up `Quality` over batches in float64; nothing is kept but sums."""

    def __init__(self, sae: TopKAutoencoder) -> None:
        self._sae = sae
        features, d_model = sae.W_dec.shape
        self._seen = torch.zeros(features, dtype=torch.bool, device=sae.W_dec.device)
        self._mean_sum = torch.zeros(d_model, dtype=torch.float64, device=sae.W_dec.device)
        self._error = self._square = 0.0
        self._active = self._tokens = 0

    @torch.no_grad()
    def add(self, x: Float[Tensor, "tokens d_model"]) -> None:
        """Take a batch into account."""
        values, features = self._sae.encode(x)
        self._error += (x - self._sae.decode(values, features)).double().square().sum().item()
        self._square += x.double().square().sum().item()
        self._mean_sum += x.double().sum(dim=0)
        self._active += int((values > 0).sum())
        self._seen[features[values > 0]] = True
        self._tokens += len(x)

    def result(self) -> Quality:
        """The figures over everything added."""
        variance = self._square - self._mean_sum.square().sum().item() / self._tokens
        return Quality(
            fvu=self._error / variance,
            l0=self._active / self._tokens,
            dead_features=int((~self._seen).sum()),
            n_tokens=self._tokens,
        )


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
