"""The one trainer of SAEs: residuals of all layers from one forward, shuffled in a buffer, a step a batch (paper C)."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.residuals.pooling import token_residuals
from isogloss.resume import TrainingState
from isogloss.sae.buffer import ShuffleBuffer
from isogloss.sae.kinds.encoder import unit_norm
from isogloss.sae.kinds.saelens import SaelensTrainer
from isogloss.sae.kinds.topk import SaeTrainer
from isogloss.sae.quality import QualityMeter
from isogloss.sae.recipe import Recipe

logger = logging.getLogger(__name__)


@runtime_checkable
class Trainer(Protocol):
    """What `train` trains and can take up again."""

    def step(self, batch: Float[Tensor, "layers batch d_model"]) -> dict[int, float]:
        """One step for every layer; returns the loss by layer."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on but the batch."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        ...


@runtime_checkable
class LayersTrainer(Trainer, Protocol):
    """Trains one SAE a layer: `SaeTrainer`, or `SaelensTrainer` for other kinds than TopK."""

    def meter(self, layer: int) -> QualityMeter:
        """A meter of the SAE of `layer`."""
        ...

    def save(self, layer: int, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write the SAE of `layer` in SAELens format."""
        ...


def make_trainer(
    recipe: Recipe, layers: Sequence[int], first: Float[Tensor, "layers batch d_model"], seed: int
) -> LayersTrainer:
    """The trainer of the recipe's kind, with b_dec at the geometric median of `first`."""
    if recipe.kind != "topk":
        return SaelensTrainer(layers, first, recipe, seed=seed)
    return SaeTrainer(layers, first, recipe, seed=seed, sparse=True)


class Chunk(NamedTuple):
    """Residuals of some documents one after another."""

    vectors: Float[Tensor, "layers tokens d_model"]  # as the model has them, BOS left out
    documents: int


class Position(NamedTuple):
    """How far a training has read."""

    documents: int = 0  # those read again counted again
    tokens: int = 0  # that went into the buffer


T = TypeVar("T", bound=Trainer)


def train(
    chunks: Callable[[Position], Iterable[Chunk]],
    start: Callable[[Float[Tensor, "layers batch d_model"]], T],
    recipe: Recipe,
    *,
    seed: int,
    start_from: Literal["batch", "buffer"] = "batch",
    state: TrainingState | None = None,
    device: torch.device | str = "cpu",
) -> T:
    """Train what `start` makes of the first batch, or of all in the buffer by then, on the residuals of `chunks`.

    `chunks` gives what follows a position. Batches are the same tokens at all layers, scaled to L2 norm 1; the last
    may be smaller. A `state` is saved at the end of a chunk and taken up, on `device`, bit for bit.
    Raises `IsoglossError` on a loss that is not finite, naming layer and step.
    """
    buffer = ShuffleBuffer(recipe.buffer_tokens, recipe.batch_tokens, torch.Generator().manual_seed(seed))
    trainer: T | None = None
    position, steps = Position(), 0
    with tqdm(total=recipe.tokens, unit="token", desc="SAE training", mininterval=1) as bar:

        def learn(batches: Iterable[Float[Tensor, "layers batch d_model"]]) -> None:
            nonlocal trainer, steps
            for batch in batches:
                if trainer is None:
                    seen = torch.cat([buffer.held, batch], dim=1) if start_from == "buffer" else batch
                    trainer = start(unit_norm(seen))
                losses = trainer.step(unit_norm(batch))
                steps += 1
                _require_finite(losses, steps)
                bar.update(batch.shape[1])
                bar.set_postfix({f"loss {layer}": f"{loss:.3f}" for layer, loss in losses.items()}, refresh=False)
            if state is not None and trainer is not None and state.due(steps):
                state.save(steps, {"position": list(position), "buffer": buffer.state(), "trainer": trainer.state()})

        if state is not None and (saved := state.load(device)):
            position, steps = Position(*saved["position"]), saved["steps"]
            buffer.load_state(saved["buffer"])
            # What it starts from is overwritten; only the shape counts.
            trainer = start(torch.ones_like(saved["buffer"]["rows"][:, :1], dtype=torch.float32))
            trainer.load_state(saved["trainer"])
            bar.update(position.tokens - saved["buffer"]["filled"])
            logger.info("going on after batch %d", steps)
        for chunk in chunks(position):
            position = Position(position.documents + chunk.documents, position.tokens + chunk.vectors.shape[1])
            learn(buffer.add(chunk.vectors))
        for batch in buffer.drain():
            learn([batch])
    assert trainer is not None
    return trainer


def _require_finite(losses: Mapping[int, float], step: int) -> None:
    for layer, loss in losses.items():
        if not loss < float("inf"):
            raise IsoglossError(f"layer {layer}, step {step}: the SAE's loss is {loss}; lower sae.learning_rate")


def residual_chunks(
    model: nn.Module,
    documents: Iterator[list[int]],
    layers: Sequence[int],
    tokens: int,
    *,
    group: int,
    token_budget: int,
) -> Iterator[Chunk]:
    """Residuals of the first `tokens` tokens of `documents`, some `group` tokens at a time."""
    while tokens > 0:
        ids: list[list[int]] = []
        size = 0
        for document in documents:
            ids.append(document)
            size += len(document) - 1
            if size >= min(group, tokens):
                break
        if not ids:
            return
        vectors = token_residuals(model, ids, layers, token_budget=token_budget)[:, :tokens]
        tokens -= vectors.shape[1]
        yield Chunk(vectors, len(ids))


def save_saes(
    sae: str, trainer: LayersTrainer, layers: Sequence[int], model_name: str, about: Mapping[str, Any]
) -> None:
    """Write the folder `sae`/layer_{l} of each layer in SAELens format, with `about` in its metadata."""
    from isogloss.tables import atomic_path

    with atomic_path(Path(sae)) as folder:
        for layer in layers:
            metadata = {
                "model_name": model_name,
                "hook_name": f"blocks.{layer}.hook_resid_post",
                "prepend_bos": True,
                "unit_norm_input": True,
                **about,
            }
            trainer.save(layer, folder / f"layer_{layer}", metadata)


@contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Errors of the block begin with `where`."""
    try:
        yield
    except IsoglossError as error:
        raise IsoglossError(f"{where}: {error}") from error
