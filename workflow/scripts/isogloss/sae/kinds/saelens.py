"""SAEs of other kinds than TopK, each trained by SAELens' own step (recipe key `kind`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from isogloss.errors import IsoglossError
from isogloss.sae.quality import DenseQualityMeter, QualityMeter
from isogloss.sae.recipe import Recipe, geometric_median

KINDS = ("jumprelu", "batchtopk", "matryoshka")


class SaelensTrainer:
    """One SAE a layer, trained by SAELens' `SAETrainer` on our batches; the counterpart of `SaeTrainer`.

    SAELens' defaults hold but for the recipe's width, k, rate and warm-up, the decoder that starts at
    norm 1 and b_dec that starts at the geometric median. k is the mean number of active features that
    batchtopk and matryoshka keep, and that jumprelu is drawn to (SAELens' quadratic L0 loss);
    matryoshka's nested widths are an eighth, a quarter, a half and the whole. On a GPU SAELens computes in bfloat16.
    """

    def __init__(
        self,
        layers: Sequence[int],
        first: Float[Tensor, "layers held d_model"],
        recipe: Recipe,
        *,
        seed: int,
    ) -> None:
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        self._trainers: dict[int, Any] = {}
        for layer, vectors in zip(layers, first, strict=True):
            with torch.random.fork_rng():
                torch.manual_seed(seed * 1_000_003 + layer)
                sae = _untrained(vectors.shape[1], recipe, vectors.device)
            sae.b_dec.data.copy_(geometric_median(vectors))
            self._trainers[layer] = SAETrainer(
                SAETrainerConfig(
                    total_training_samples=recipe.tokens,
                    train_batch_size_samples=recipe.batch_tokens,
                    lr=recipe.learning_rate,
                    lr_end=recipe.learning_rate,
                    lr_warm_up_steps=recipe.warmup_steps,
                    device=str(vectors.device),
                    autocast=vectors.is_cuda,
                ),
                sae,
                data_provider=iter(()),
            )

    def step(self, batch: Float[Tensor, "layers batch d_model"]) -> dict[int, float]:
        """One optimiser step for every layer; returns by layer the loss that it lowered."""
        losses: dict[int, float] = {}
        for (layer, trainer), x in zip(self._trainers.items(), batch, strict=True):
            trainer.maybe_reset_sparsity()
            losses[layer] = trainer.step(x).loss.item()
            trainer.n_training_steps += 1
        return losses

    def state(self) -> dict[str, Any]:
        """What SAELens itself keeps of a trainer for resuming, and the weights."""
        return {
            str(layer): {
                "sae": trainer.sae.state_dict(),
                "optimizer": trainer.optimizer.state_dict(),
                "lr_scheduler": trainer.lr_scheduler.state_dict(),
                "coefficients": {name: one.state_dict() for name, one in trainer.coefficient_schedulers.items()},
                "counts": {name: getattr(trainer, name) for name in _COUNTS},
            }
            for layer, trainer in self._trainers.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        for layer, trainer in self._trainers.items():
            saved = state[str(layer)]
            trainer.sae.load_state_dict(saved["sae"])
            trainer.optimizer.load_state_dict(saved["optimizer"])
            trainer.lr_scheduler.load_state_dict(saved["lr_scheduler"])
            for name, scheduler in trainer.coefficient_schedulers.items():
                scheduler.load_state_dict(saved["coefficients"][name])
            for name, value in saved["counts"].items():
                setattr(trainer, name, value)

    def meter(self, layer: int) -> QualityMeter:
        """A meter of the SAE of `layer` as it would be saved now."""
        from sae_lens import SAE

        with TemporaryDirectory() as folder:
            self._write(layer, Path(folder))
            return DenseQualityMeter(SAE.load_from_disk(folder, device=str(self._trainers[layer].sae.W_dec.device)))

    def save(self, layer: int, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write the SAE of `layer` as SAELens does for inference: each of these kinds becomes a JumpReLU SAE."""
        for name, value in metadata.items():
            setattr(self._trainers[layer].sae.cfg.metadata, name, value)
        self._write(layer, folder)

    def _write(self, layer: int, folder: Path) -> None:
        sae = self._trainers[layer].sae
        device, sae.cfg.device = sae.cfg.device, "cpu"
        sae.save_inference_model(folder)
        sae.cfg.device = device


_COUNTS = (
    "n_training_samples",
    "n_training_steps",
    "act_freq_scores",
    "n_forward_passes_since_fired",
    "n_frac_active_samples",
)


def _untrained(d_model: int, recipe: Recipe, device: torch.device) -> Any:
    import sae_lens

    common: dict[str, Any] = {
        "d_in": d_model,
        "d_sae": recipe.features,
        "dtype": "float32",
        "device": str(device),
        "decoder_init_norm": 1.0,
    }
    k = float(recipe.k)
    if recipe.kind == "jumprelu":
        config = sae_lens.JumpReLUTrainingSAEConfig(**common, jumprelu_sparsity_loss_mode="quadratic", target_l0=k)
        return sae_lens.JumpReLUTrainingSAE(config)
    if recipe.kind == "batchtopk":
        return sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(**common, k=k))
    if recipe.kind == "matryoshka":
        widths = sorted({max(1, recipe.features // part) for part in (8, 4, 2, 1)})
        config = sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(**common, k=k, matryoshka_widths=widths)
        return sae_lens.MatryoshkaBatchTopKTrainingSAE(config)
    raise IsoglossError(f"sae.kind {recipe.kind!r}; understood are topk, {', '.join(KINDS)}")
