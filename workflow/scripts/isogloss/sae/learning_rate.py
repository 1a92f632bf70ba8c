"""Stage `search_learning_rate`: the rate of the smallest loss, all rates from one forward (paper C, fig. 11)."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.models.path import kernels_of
from isogloss.sae.checkpoint_saes import TokenResiduals, load_layers
from isogloss.sae.quality import measure_quality
from isogloss.sae.recipe import checked_recipe
from isogloss.sae.trainer import LayersTrainer, errors_at, make_trainer, train
from isogloss.text.tokens import check_documents

logger = logging.getLogger(__name__)


def search_learning_rate(
    *,
    lm: str,
    tokens: str,
    evaluation: str,
    learning_rates: str,
    step: int,
    layer: int,
    rates: Sequence[float],
    recipe: SaeRecipe,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Train an SAE of `layer` at each of `rates`, all on the same batches; writes the table `learning_rates`.

    A row a rate, ascending: learning_rate, loss (mean over held-out tokens of ||x - x^||^2, eq. 3), fvu,
    step, layer, chosen (the one with the smallest loss). A rate at which the loss grows beyond all numbers
    is given up, its loss and fvu are null. Memory holds an SAE and its Adam moments for each rate.

    Raises `IsoglossError` as `train_checkpoint_saes`, and if no rate is left.
    """
    import polars as pl

    from isogloss.tables import write_table

    where = f"checkpoint of step {step}"
    settings, token_budget = checked_recipe(dict(recipe)), compute.token_budget
    model = load_layers(lm, [layer], compute)
    metadata = {**metadata, **kernels_of(model)}
    check_documents(tokens, lm, model)
    residuals = TokenResiduals(model, [layer], settings, token_budget)
    with errors_at(where):
        grid = train(
            lambda position: residuals.training(tokens, position),
            lambda first: _Grid(
                {
                    rate: make_trainer(settings._replace(learning_rate=rate), [layer], first, seed)
                    for rate in sorted(rates)
                }
            ),
            settings,
            seed=seed,
        )
        meters = [(layer, trainer.meter(layer)) for trainer in grid.trainers.values()]
        figures = measure_quality(residuals.held_out(evaluation), [layer], meters)
    quality = dict(zip(grid.trainers, figures, strict=True))
    rows: list[dict[str, Any]] = [
        {
            "learning_rate": rate,
            "loss": quality[rate].loss if rate in quality else None,
            "fvu": quality[rate].fvu if rate in quality else None,
        }
        for rate in sorted(rates)
    ]
    best = min((row for row in rows if row["loss"] is not None), key=lambda row: row["loss"])
    logger.info("step %d, layer %d: rate %g, loss %.4f", step, layer, best["learning_rate"], best["loss"])
    frame = pl.DataFrame(
        [{**row, "step": step, "layer": layer, "chosen": row is best} for row in rows],
        schema={
            "learning_rate": pl.Float64,
            "loss": pl.Float64,
            "fvu": pl.Float64,
            "step": pl.Int64,
            "layer": pl.Int32,
            "chosen": pl.Boolean,
        },
    )
    write_table(learning_rates, frame, metadata)


class _Grid:
    """Trainers by learning rate that see the same batches; one whose loss is no longer finite drops out."""

    def __init__(self, trainers: dict[float, LayersTrainer]) -> None:
        self.trainers = trainers

    def step(self, batch: Float[Tensor, "layers batch d_model"]) -> dict[int, float]:
        """A step at every rate; returns the smallest loss of each layer. Raises `IsoglossError` if no rate is left."""
        losses = {rate: trainer.step(batch) for rate, trainer in self.trainers.items()}
        for rate, by_layer in losses.items():
            if not all(map(math.isfinite, by_layer.values())):
                logger.info("learning rate %g: the loss is not finite, given up", rate)
                del self.trainers[rate]
        left = [losses[rate] for rate in self.trainers]
        if not left:
            raise IsoglossError(
                f"at none of the learning rates {', '.join(map(str, losses))} is the SAE's loss finite; give lower ones"
            )
        return {layer: min(by_layer[layer] for by_layer in left) for layer in left[0]}

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on but the batch."""
        return {str(rate): trainer.state() for rate, trainer in self.trainers.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.trainers = {rate: trainer for rate, trainer in self.trainers.items() if str(rate) in state}
        for rate, trainer in self.trainers.items():
            trainer.load_state(state[str(rate)])
