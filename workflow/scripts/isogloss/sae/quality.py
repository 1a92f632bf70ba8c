"""How well SAEs do on vectors that they were not trained on (paper C, sec. 2)."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from isogloss.sae.kinds.encoder import unit_norm

_VALUES = 2**26  # pre-activations (tokens times features) that are held at a time: 256 MiB, some three times


class Quality(NamedTuple):
    """How well an SAE does on vectors that it was not trained on."""

    fvu: float  # sum ||x - x^||^2 / sum ||x - mean x||^2, on the vectors as the SAE sees them (unit norm)
    l0: float  # mean number of active features per token
    dead_features: int  # features that are active on none of the tokens
    n_tokens: int
    loss: float  # mean over tokens of ||x - x^||^2 (eq. 3)


class QualityMeter:
    """Adds up `Quality` over batches in float64; nothing is kept but sums."""

    def __init__(self, sae: Any) -> None:
        self._sae = sae
        features, d_model = sae.W_dec.shape
        self._seen = torch.zeros(features, dtype=torch.bool, device=sae.W_dec.device)
        self._mean_sum = torch.zeros(d_model, dtype=torch.float64, device=sae.W_dec.device)
        self._error = self._square = 0.0
        self._active = self._tokens = 0

    @torch.no_grad()
    def add(self, x: Float[Tensor, "tokens d_model"]) -> None:
        """Take a batch into account, at most 2^26 tokens times features at a time."""
        for part in x.split(max(1, _VALUES // len(self._seen))):
            self._error += (part - self._reconstruct(part)).double().square().sum().item()
            self._square += part.double().square().sum().item()
            self._mean_sum += part.double().sum(dim=0)
            self._tokens += len(part)

    def _reconstruct(self, x: Tensor) -> Tensor:
        """The reconstruction of `x`; counts the features that are active."""
        values, features = self._sae.encode(x)
        self._active += int((values > 0).sum())
        self._seen[features[values > 0]] = True
        return self._sae.decode(values, features)

    def result(self) -> Quality:
        """The figures over everything added."""
        variance = self._square - self._mean_sum.square().sum().item() / self._tokens
        return Quality(
            fvu=self._error / variance,
            l0=self._active / self._tokens,
            dead_features=int((~self._seen).sum()),
            n_tokens=self._tokens,
            loss=self._error / self._tokens,
        )


class DenseQualityMeter(QualityMeter):
    """The quality of an SAE of SAELens, whose activations are as wide as the dictionary."""

    def _reconstruct(self, x: Tensor) -> Tensor:
        activations = self._sae.encode(x)
        self._active += int((activations > 0).sum())
        self._seen |= (activations > 0).any(dim=0)
        return self._sae.decode(activations)


def measure_quality(
    chunks: Iterable[Float[Tensor, "layers tokens d_model"]],
    layers: Sequence[int],
    meters: Sequence[tuple[int, QualityMeter]],
) -> list[Quality]:
    """The quality of each SAE, given by its layer and meter, on residuals of `layers` as the model has them."""
    for vectors in chunks:
        of_layer = dict(zip(layers, vectors, strict=True))
        for layer, meter in meters:
            meter.add(unit_norm(of_layer[layer]))
    return [meter.result() for _, meter in meters]
