"""Stage `checkpoint_saes`: SAEs of several layers of a checkpoint from one pass over tokenised documents (paper C)."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isogloss.config.bilingual import Bilingual
from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.models.loading import load_base_model
from isogloss.sae.autoencoder import unit_norm
from isogloss.sae.buffer import ShuffleBuffer
from isogloss.sae.saelens_trainer import SaelensTrainer
from isogloss.sae.topk import Quality, QualityMeter, Recipe, SaeTrainer
from isogloss.sae.train import Fit, residual_chunks
from isogloss.text.tokens import check_documents, documents_by_language, read_documents

logger = logging.getLogger(__name__)


@runtime_checkable
class Resumable(Protocol):
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
class LayersTrainer(Resumable, Protocol):
    """Trains one SAE a layer: `SaeTrainer`, or `SaelensTrainer` for other kinds than TopK."""

    def meter(self, layer: int) -> QualityMeter:
        """A meter of the SAE of `layer`."""
        ...

    def save(self, layer: int, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write the SAE of `layer` in SAELens format."""
        ...


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

    `tokens` and `evaluation` are tables of `isogloss.bilingual.documents`; `tokens` is read again from the
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

    from isogloss.tables import atomic_path, write_table

    where = f"checkpoint of step {step}"
    settings, token_budget, dtype = checked_recipe(dict(recipe), learning_rates), compute.token_budget, compute.dtype
    layers = sorted(layers)
    model = load_layers(lm, layers, dtype)
    check_documents(tokens, lm, model)
    identity = [settings, layers, seed, dtype, token_budget, step, metadata.get("code"), torch.__version__]
    state = State(Path(state_folder), [*identity, file_marks(lm), file_marks(tokens)])
    trainer = train(
        model,
        tokens,
        layers,
        settings,
        lambda first: make_trainer(settings, layers, first, seed),
        token_budget=token_budget,
        seed=seed,
        where=where,
        state=state,
        resume_every=bilingual.resume_every,
    )
    meters = [(layer, trainer.meter(layer)) for layer in layers]
    figures = measure_quality(model, evaluation, meters, settings, token_budget=token_budget, where=where)
    with atomic_path(Path(sae)) as folder:
        for layer, its in zip(layers, figures, strict=True):
            about = {
                "model_name": Path(lm).name,
                "hook_name": f"blocks.{layer}.hook_resid_post",
                "prepend_bos": True,
                "unit_norm_input": True,
                "step": step,
                "training_tokens": settings.tokens,
                "dataset": "documents of the study in " + ", ".join(documents_by_language(tokens)),
                "isogloss": dict(metadata),
            }
            trainer.save(layer, folder / f"layer_{layer}", about)
            logger.info("step %d, layer %d: %s", step, layer, its)
    frame = pl.DataFrame(
        {
            "step": [step] * len(layers),
            "layer": layers,
            "fvu": [its.fvu for its in figures],
            "l0": [its.l0 for its in figures],
            "dead_features": [its.dead_features for its in figures],
            "features": settings.features,
            "k": settings.k,
            "n_tokens": [its.n_tokens for its in figures],
            "learning_rate": settings.learning_rate,
            "loss": [its.loss for its in figures],
            "kind": settings.kind,
        },
        schema_overrides={"layer": pl.Int32},
    )
    write_table(quality, frame, metadata)
    state.remove()


def checked_recipe(recipe: Mapping[str, Any], learning_rates: str | None = None) -> Recipe:
    """`recipe` with the chosen rate of the table `learning_rates`, if there is one.

    Raises `IsoglossError` for a buffer smaller than a batch and a k above the number of features.
    """
    settings = Recipe(**recipe)
    if settings.buffer_tokens < settings.batch_tokens:
        raise IsoglossError(
            f"sae.buffer_tokens {settings.buffer_tokens} is smaller than a batch (sae.batch_tokens"
            f" {settings.batch_tokens}); enlarge the buffer"
        )
    if settings.k > settings.features:
        raise IsoglossError(f"sae.k {settings.k} is more than sae.features {settings.features}; lower it")
    if learning_rates is None:
        return settings
    from isogloss.tables import read_table

    table = read_table(learning_rates)
    chosen = table.filter(table["chosen"])["learning_rate"].to_list()
    if len(chosen) != 1:
        raise IsoglossError(f"{learning_rates}: {len(chosen)} rates are chosen, not one; search them again")
    return settings._replace(learning_rate=chosen[0])


def load_layers(lm: str, layers: Sequence[int], dtype: str) -> nn.Module:
    """The model down to the deepest of `layers`. Raises `IsoglossError` for one that it lacks."""
    return load_base_model(lm, last_layer=min(layers) if min(layers) < 0 else max(layers), dtype=getattr(torch, dtype))


def make_trainer(
    settings: Recipe, layers: Sequence[int], first: Float[Tensor, "layers batch d_model"], seed: int
) -> LayersTrainer:
    """The trainer of the recipe's kind, with b_dec at the geometric median of `first`."""
    if settings.kind != "topk":
        return SaelensTrainer(settings.kind, layers, first, settings, seed=seed)
    return SaeTrainer(
        layers,
        first,
        features=settings.features,
        k=settings.k,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        seed=seed,
        sparse=True,
    )


T = TypeVar("T", bound=Resumable)


class _Position(NamedTuple):
    """How far a training is."""

    documents: int = 0  # read so far, those read again counted again
    tokens: int = 0  # that went into the buffer
    steps: int = 0


def train(
    model: nn.Module,
    tokens: str,
    layers: Sequence[int],
    settings: Recipe,
    start: Callable[[Float[Tensor, "layers batch d_model"]], T],
    *,
    token_budget: int,
    seed: int,
    where: str,
    state: "State | None" = None,
    resume_every: int = 0,
) -> T:
    """Train what `start` makes of the first batch on `settings.tokens` tokens of the table `tokens`.

    Batches are the same tokens at all `layers`, at L2 norm 1; the last may be smaller. Errors as
    `train_checkpoint_saes`, prefixed by `where`.
    """
    buffer = ShuffleBuffer(settings.buffer_tokens, settings.batch_tokens, torch.Generator().manual_seed(seed))
    position = _Position()

    def save(documents: int, read: int) -> None:
        nonlocal position
        if state is not None and fit.trainer is not None and fit.steps >= position.steps + resume_every:
            position = _Position(documents, read, fit.steps)
            state.save({"position": list(position), "buffer": buffer.state(), "trainer": fit.trainer.state()})

    with Fit(start, settings.tokens) as fit:
        if state is not None and (saved := state.load(next(model.parameters()).device)):
            position = _Position(*saved["position"])
            buffer.load_state(saved["buffer"])
            # What it starts from is overwritten; only the shape counts.
            trainer = start(torch.ones_like(saved["buffer"]["rows"][:, :1], dtype=torch.float32))
            trainer.load_state(saved["trainer"])
            fit.resume(trainer, position.steps, position.tokens - saved["buffer"]["filled"])
            logger.info("%s: going on after batch %d", where, position.steps)
        documents, read = position.documents, position.tokens
        chunks = residual_chunks(
            model,
            read_documents(tokens, first=documents, again=True),
            layers,
            settings.tokens - read,
            group=min(4 * settings.batch_tokens, settings.buffer_tokens),
            token_budget=token_budget,
        )
        try:
            for chunk in chunks:
                fit.train_on(map(unit_norm, buffer.add(chunk.vectors)))
                documents += chunk.documents
                read += chunk.vectors.shape[1]
                save(documents, read)
            for batch in buffer.drain():
                fit.train_on([unit_norm(batch)])
                save(documents, read)
        except IsoglossError as error:
            raise IsoglossError(f"{where}: {error}") from error
    assert fit.trainer is not None
    return fit.trainer


def measure_quality(
    model: nn.Module,
    evaluation: str,
    meters: Sequence[tuple[int, QualityMeter]],
    settings: Recipe,
    *,
    token_budget: int,
    where: str,
) -> list[Quality]:
    """The quality of each SAE (its layer and meter) on the first `settings.held_out_tokens` tokens of `evaluation`."""
    layers = sorted({layer for layer, _ in meters})
    chunks = residual_chunks(
        model,
        read_documents(evaluation),
        layers,
        settings.held_out_tokens,
        group=4 * settings.batch_tokens,
        token_budget=token_budget,
    )
    try:
        for chunk in chunks:
            units = {layer: unit_norm(vectors) for layer, vectors in zip(layers, chunk.vectors, strict=True)}
            for layer, meter in meters:
                meter.add(units[layer])
    except IsoglossError as error:
        raise IsoglossError(f"{where}: {error}") from error
    return [meter.result() for _, meter in meters]


class State:
    """The state of an unfinished training, in a folder, with a digest of what it belongs to."""

    def __init__(self, folder: Path, identity: Sequence[Any]) -> None:
        self._folder = folder
        self._digest = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()

    def save(self, parts: Mapping[str, Any]) -> None:
        """Write the state aside, then put it in the place of the one before."""
        from isogloss.tables import atomic_path

        with atomic_path(self._folder / "state.pt") as path:
            torch.save({"digest": self._digest, **parts}, path)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state of an unfinished training of the same identity; one of another is thrown away."""
        path = self._folder / "state.pt"
        if not path.exists():
            return None
        saved = torch.load(path, weights_only=True, map_location=device)
        if saved["digest"] == self._digest:
            return saved
        logger.info("%s: of a run with other settings, code or files, thrown away", path)
        self.remove()
        return None

    def remove(self) -> None:
        """Remove it: the training is finished."""
        shutil.rmtree(self._folder, ignore_errors=True)


def file_marks(path: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the file `path`, or of the files in the folder `path`."""
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
