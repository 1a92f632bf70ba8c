"""Stage `train_checkpoint_saes`: SAEs of a checkpoint's layers from one pass over tokenised documents (paper C)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.models.fused.faster import compile_layers
from isogloss.models.loading import load_base_model
from isogloss.models.path import kernels_of
from isogloss.resume import TrainingState, digest_of, file_marks
from isogloss.sae.quality import measure_quality
from isogloss.sae.recipe import Recipe, checked_recipe
from isogloss.sae.trainer import Chunk, Position, errors_at, make_trainer, residual_chunks, save_saes, train
from isogloss.text.tokens import check_documents, documents_by_language, read_documents

logger = logging.getLogger(__name__)


class TokenResiduals(NamedTuple):
    """A checkpoint's residuals on tables of tokens."""

    model: nn.Module
    layers: Sequence[int]  # ascending
    recipe: Recipe
    token_budget: int

    def training(self, tokens: str, position: Position) -> Iterator[Chunk]:
        """What follows `position` in the table `tokens`, read again and again, up to the recipe's tokens."""
        return residual_chunks(
            self.model,
            read_documents(tokens, first=position.documents, again=True),
            self.layers,
            self.recipe.tokens - position.tokens,
            group=min(4 * self.recipe.batch_tokens, self.recipe.buffer_tokens),
            token_budget=self.token_budget,
        )

    def held_out(self, evaluation: str) -> Iterator[Float[Tensor, "layers tokens d_model"]]:
        """The first `held_out_tokens` of the recipe in the table `evaluation`."""
        chunks = residual_chunks(
            self.model,
            read_documents(evaluation),
            self.layers,
            self.recipe.held_out_tokens,
            group=4 * self.recipe.batch_tokens,
            token_budget=self.token_budget,
        )
        return (chunk.vectors for chunk in chunks)


def train_checkpoint_saes(
    *,
    lm: str,
    tokens: str,
    evaluation: str,
    sae: str,
    quality: str,
    step: int,
    layers: Sequence[int],
    recipe: SaeRecipe,
    learning_rates: str | None,
    bilingual: Bilingual,
    compute: Compute,
    seed: int,
    state_folder: str,
    metadata: Mapping[str, Any],
) -> None:
    """Train an SAE for each of `layers` by paper C's recipe; writes `sae`/layer_{l} and the table `quality`.

    `tokens` and `evaluation` are tables of `isogloss.text.tokenise`; `tokens` is read again from the
    start if it holds fewer than `recipe.tokens`. Residuals, BOS left out, are shuffled in a buffer of
    `recipe.buffer_tokens` a layer, in the model's own dtype, and scaled to L2 norm 1 as they leave it.
    b_dec starts at the geometric median of the first batch. The chosen row
    of the table `learning_rates`, if there is one, takes the place of its rate.

    `quality` has a row a layer: step, layer, fvu, l0, dead_features, loss (eq. 3) on the first
    `recipe.held_out_tokens` tokens of `evaluation`, and features, k, kind, n_tokens, learning_rate.

    Every `bilingual.resume_every` batches, at the next end of a group of documents, the state is saved in
    `state_folder`. A killed run that is started again with the same settings and files ends bit for bit
    where an unbroken one does; a state of other settings is thrown away. It is removed at the end.

    Raises `IsoglossError` for a layer that the model lacks, a buffer smaller than a batch, documents of
    another tokenizer or longer than the context, and a NaN, naming layer and step.
    """
    import polars as pl

    from isogloss.tables import write_table

    where = f"checkpoint of step {step}"
    settings, token_budget = checked_recipe(dict(recipe), learning_rates), compute.token_budget
    layers = sorted(layers)
    model = load_layers(lm, layers, compute)
    compile_layers(model, settings.tokens)
    metadata = {**metadata, **kernels_of(model)}
    check_documents(tokens, lm, model)
    device = next(model.parameters()).device
    identity = [settings, layers, seed, compute.dtype, token_budget, step, metadata.get("code"), torch.__version__]
    state = TrainingState(state_folder, digest_of(identity, file_marks(lm), file_marks(tokens)), bilingual.resume_every)
    residuals = TokenResiduals(model, layers, settings, token_budget)
    with errors_at(where):
        trainer = train(
            lambda position: residuals.training(tokens, position),
            lambda first: make_trainer(settings, layers, first, seed),
            settings,
            seed=seed,
            state=state,
            device=device,
        )
        meters = [(layer, trainer.meter(layer)) for layer in layers]
        figures = measure_quality(residuals.held_out(evaluation), layers, meters)
    for layer, figure in zip(layers, figures, strict=True):
        logger.info("step %d, layer %d: %s", step, layer, figure)
    about = {
        "step": step,
        "training_tokens": settings.tokens,
        "dataset": "documents of the study in " + ", ".join(documents_by_language(tokens)),
        "isogloss": dict(metadata),
    }
    save_saes(sae, trainer, layers, Path(lm).name, about)
    frame = pl.DataFrame(
        {
            "step": [step] * len(layers),
            "layer": layers,
            "fvu": [figure.fvu for figure in figures],
            "l0": [figure.l0 for figure in figures],
            "dead_features": [figure.dead_features for figure in figures],
            "features": settings.features,
            "k": settings.k,
            "n_tokens": [figure.n_tokens for figure in figures],
            "learning_rate": settings.learning_rate,
            "loss": [figure.loss for figure in figures],
            "kind": settings.kind,
        },
        schema_overrides={"layer": pl.Int32},
    )
    write_table(quality, frame, metadata)
    state.remove()


def load_layers(lm: str, layers: Sequence[int], compute: Compute) -> nn.Module:
    """The model down to the deepest of `layers`. Raises `IsoglossError` for one that it lacks."""
    deepest = min(layers) if min(layers) < 0 else max(layers)
    return load_base_model(lm, last_layer=deepest, dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
