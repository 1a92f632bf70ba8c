"""Parts that train: LoRA by the alignment loss, SAEs."""

from typing import Any

import torch

from gpu_bench.world import Bench, peak
from isogloss.disparity.alignment import LossSettings, Pair
from isogloss.disparity.gradient import BatchGradient
from isogloss.disparity.lora_training import LoraOptimiser
from isogloss.models.adapter import with_lora
from isogloss.models.loading import load_causal_model
from isogloss.sae.autoencoder import load_encoder
from isogloss.sae.quality import measure_quality
from isogloss.sae.recipe import Recipe
from isogloss.sae.trainer import Chunk, make_trainer, train


def align(bench: Bench) -> dict[str, Any]:
    """Steps of LoRA training at layer 20, each kernel launched by itself and, on a GPU, as CUDA graphs."""
    bench.free()
    size = bench.size
    layer, dtype = min(20, size.layers - 1), getattr(torch, size.dtype)
    encoder = load_encoder(bench.sae / "layer_0").to(bench.device)
    model = load_causal_model(bench.lm, last_layer=layer, dtype=dtype, kernels="plain")
    model = with_lora(model, list(range(layer + 1)), "all", rank=8, alpha=16.0, dropout=0.0)
    optimiser = LoraOptimiser(model, dtype, rate=1e-4, iterations=10**9)
    texts = [[2, *ids] for ids in bench.texts[: 2 * size.pairs]]
    pairs = [Pair(texts[row], texts[row + 1], row % size.features, 1.0) for row in range(0, len(texts), 2)]
    gradients = [BatchGradient(model, encoder, layer, LossSettings(), graphs=graphs) for graphs in (False, True)]

    def steps(gradient: BatchGradient) -> None:
        losses = []
        for step in range(size.steps):
            losses.append(gradient.add(pairs, size.budget).alignment)
            optimiser.step(step)
        assert torch.stack(losses).isfinite().all()

    eager, graphed = bench.timed(*(lambda gradient=gradient: steps(gradient) for gradient in gradients))
    return {
        "steps_per_s": size.steps / graphed,
        "eager_steps_per_s": size.steps / eager,
        "graphs": len(gradients[1].shapes),
        "pairs": size.pairs,
        "layer": layer,
    }


def sae_training(bench: Bench) -> dict[str, Any]:
    """Four TopK SAEs of paper C on drawn residuals, and their quality; the two peaks apart."""
    bench.free()
    size = bench.size
    recipe = Recipe(
        features=size.sae_features, k=min(32, size.sae_features // 2), tokens=8 * size.sae_batch,
        batch_tokens=size.sae_batch, buffer_tokens=2 * size.sae_batch, learning_rate=5e-4, warmup_steps=2,
        held_out_tokens=4 * size.sae_batch,
    )  # fmt: skip
    layers, dtype = [0, 1, 2, 3], getattr(torch, size.dtype)
    residuals = torch.randn(4, 2 * size.sae_batch, size.sae_width, device=bench.device, dtype=dtype)
    trainers: list[Any] = []

    def run() -> None:
        trainers.clear()
        chunks = [Chunk(residuals, 1)] * 4
        trainers.append(train(lambda _: chunks, lambda first: make_trainer(recipe, layers, first, 0), recipe, seed=0))

    batch = torch.nn.functional.normalize(residuals[:, : size.sae_batch].float(), dim=-1)
    (seconds,) = bench.timed(run)
    (step,) = bench.timed(lambda: trainers[0].step(batch))
    peaks = [peak(bench.device)]
    (quality,) = bench.timed(
        lambda: measure_quality([residuals] * 2, layers, [(layer, trainers[0].meter(layer)) for layer in layers])
    )
    return {
        "token_layers_per_s": 4 * recipe.tokens / seconds,
        "step_token_layers_per_s": 4 * size.sae_batch / step,
        "training_peak_gb": peaks[0],
        "quality_peak_gb": peak(bench.device),
        "quality_s": quality,
        "residuals_given_gb": residuals.numel() * residuals.element_size() / 1e9,
    }
