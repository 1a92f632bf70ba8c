"""Stage `train_sae`: TopK SAEs of all analysed layers from one pass of the model over the documents."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.models.batching import encode_texts
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.residuals.pooling import token_residuals
from isogloss.sae.autoencoder import unit_norm
from isogloss.sae.buffer import ShuffleBuffer
from isogloss.sae.topk import QualityMeter, Recipe, SaeTrainer, TopKAutoencoder, save_saelens
from isogloss.text.tokens import is_held_out

logger = logging.getLogger(__name__)


def train_saes(
    *,
    lm: str,
    documents: Mapping[str, str],
    sae: str,
    quality: str,
    layers: Sequence[int],
    shares: Mapping[str, float],
    recipe: SaeRecipe,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Train an SAE a layer by paper C's recipe; writes `sae`/layer_{l} and the table `sae_quality`.

    `documents` are tables by language, drawn so that each language has its share of the tokens;
    they are repeated if they are fewer than `recipe.tokens`. The SAEs
    see residuals at L2 norm 1, BOS left out; documents are cut at the model's context, and how many were
    is logged and in the metadata of `quality` (`documents_cut`, by language). Token budget and
    padding change no number beyond float tolerance: vectors enter the buffer in document order.
    The quality is that on one document in ten, which is never trained on.
    Raises `IsoglossError` on a NaN, naming layer and step.
    """
    import polars as pl

    from isogloss.tables import atomic_path, write_table

    settings, token_budget = Recipe(**dict(recipe)), compute.token_budget
    if settings.kind != "topk":
        raise IsoglossError(f"sae.kind {settings.kind!r}: the SAEs of a model's phrases are topk; leave sae.kind out")
    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype))
    context = context_length(model)
    tokenizer = load_tokenizer(lm)
    cut: Counter[str] = Counter()

    def vectors(tokens: int, *, held_out: bool) -> Iterator[Float[Tensor, "layers tokens d_model"]]:
        streams = {
            lang: _cut(_documents(path, tokenizer, held_out=held_out, seed=seed), context, lang, cut)
            for lang, path in documents.items()
        }
        group = min(4 * settings.batch_tokens, settings.buffer_tokens)
        chunks = residual_chunks(
            model, interleave(streams, shares), layers, tokens, group=group, token_budget=token_budget
        )
        return (unit_norm(chunk.vectors) for chunk in chunks)

    trained = _train(vectors(settings.tokens, held_out=False), layers, settings, seed)
    meters = {layer: QualityMeter(autoencoder) for layer, autoencoder in trained.items()}
    for chunk in vectors(settings.held_out_tokens, held_out=True):
        for meter, x in zip(meters.values(), chunk, strict=True):
            meter.add(x)
    for lang, count in cut.items():
        logger.info("%s: %d documents were cut at the model's context of %d tokens", lang, count, context)
    figures = {layer: meter.result() for layer, meter in meters.items()}

    with atomic_path(Path(sae)) as folder:
        for layer, autoencoder in trained.items():
            about = {
                "model_name": Path(lm).parent.name,
                "hook_name": f"blocks.{layer}.hook_resid_post",
                "prepend_bos": True,
                "unit_norm_input": True,
                "training_tokens": settings.tokens,
                "dataset": "documents of the study in " + ", ".join(documents),
                "isogloss": dict(metadata),
            }
            save_saelens(folder / f"layer_{layer}", autoencoder, about)
            logger.info("layer %d: %s", layer, figures[layer])
    frame = pl.DataFrame(
        {
            "layer": layers,
            "fvu": [its.fvu for its in figures.values()],
            "l0": [its.l0 for its in figures.values()],
            "dead_features": [its.dead_features for its in figures.values()],
            "features": settings.features,
            "k": settings.k,
            "n_tokens": [its.n_tokens for its in figures.values()],
        }
    )
    write_table(quality, frame, {**metadata, "documents_cut": dict(cut)})


def _train(
    chunks: Iterator[Float[Tensor, "layers tokens d_model"]], layers: list[int], settings: Recipe, seed: int
) -> dict[int, TopKAutoencoder]:
    buffer = ShuffleBuffer(settings.buffer_tokens, settings.batch_tokens, torch.Generator().manual_seed(seed))

    def start(batch: Tensor) -> SaeTrainer:
        return SaeTrainer(
            layers,
            torch.cat([buffer.held, batch], dim=1),
            features=settings.features,
            k=settings.k,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            seed=seed,
        )

    with Fit(start, settings.tokens) as fit:
        for chunk in chunks:
            fit.train_on(buffer.add(chunk))
        fit.train_on(buffer.drain())
    assert fit.trainer is not None
    return fit.trainer.saes


@runtime_checkable
class Trainer(Protocol):
    """What is trained on the batches of a `Fit`."""

    def step(self, batch: Float[Tensor, "layers batch d_model"]) -> dict[int, float]:
        """One step for every layer; returns the loss by layer."""
        ...


T = TypeVar("T", bound=Trainer)


class Fit(Generic[T]):
    """Hands batches to a trainer that is made from the first of them, and shows how far it is.

    A context manager: the progress bar, of `tokens` tokens, is closed at its end.
    """

    def __init__(self, start: Callable[[Float[Tensor, "layers batch d_model"]], T], tokens: int) -> None:
        self.trainer: T | None = None
        self.steps = 0
        self._start = start
        self._bar = tqdm(total=tokens, unit="token", desc="SAE training", mininterval=1)

    def __enter__(self) -> "Fit[T]":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def resume(self, trainer: T, steps: int, tokens: int) -> None:
        """Go on with a trainer that has had `steps` batches of `tokens` tokens in all."""
        self.trainer, self.steps = trainer, steps
        self._bar.update(tokens)

    def train_on(self, batches: Iterable[Float[Tensor, "layers batch d_model"]]) -> None:
        """A step for each batch. Raises `IsoglossError` on a loss that is not finite, naming layer and step."""
        for batch in batches:
            if self.trainer is None:
                self.trainer = self._start(batch)
            losses = self.trainer.step(batch)
            self.steps += 1
            for layer, loss in losses.items():
                if not loss < float("inf"):
                    raise IsoglossError(
                        f"layer {layer}, step {self.steps}: the SAE's loss is {loss}; lower sae.learning_rate"
                    )
            self._bar.update(batch.shape[1])
            self._bar.set_postfix({f"loss {layer}": f"{loss:.3f}" for layer, loss in losses.items()}, refresh=False)


class Chunk(NamedTuple):
    """Residuals of some documents one after another."""

    vectors: Float[Tensor, "layers tokens d_model"]  # as the model has them, BOS left out
    documents: int


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


def interleave(streams: Mapping[str, Iterator[list[int]]], shares: Mapping[str, float]) -> Iterator[list[int]]:
    """Documents (token ids, BOS first) of several languages, each language holding its share of the tokens.

    The next document is of the language that lags furthest behind its share; a language whose stream
    ends drops out.
    """
    counted = dict.fromkeys(streams, 0)
    running = dict(streams)
    while running:
        total = sum(counted.values())
        lang = max(running, key=lambda code: shares[code] * total - counted[code] + shares[code])
        document = next(running[lang], None)
        if document is None:
            del running[lang]
            continue
        counted[lang] += len(document) - 1
        yield document


def _documents(path: str, tokenizer: PreTrainedTokenizerBase, *, held_out: bool, seed: int) -> Iterator[list[int]]:
    """Token ids of the held-out documents of a table once, or of the others again and again, shuffled.

    Only one row group is in memory at a time. A document is held out by a hash of its name, so all
    language versions of it are.
    """
    from isogloss.tables import open_table

    table = open_table(path)
    generator = torch.Generator().manual_seed(seed)
    while True:
        found = False
        for group in torch.randperm(table.num_row_groups, generator=generator).tolist():
            rows = table.read_row_group(group, columns=["document", "text"])
            texts = [
                text
                for name, text in zip(rows["document"].to_pylist(), rows["text"].to_pylist(), strict=True)
                if is_held_out(name, seed) == held_out
            ]
            order = torch.randperm(len(texts), generator=generator).tolist()
            for start in range(0, len(order), 64):
                found = True
                yield from encode_texts(tokenizer, [texts[row] for row in order[start : start + 64]])
        if not found:
            part = "held out for the quality table" if held_out else "left to train on"
            raise IsoglossError(f"{path}: too few documents, none is {part}; enlarge the world or the corpus")
        if held_out:
            return


def _cut(documents: Iterator[list[int]], context: int, lang: str, cut: Counter[str]) -> Iterator[list[int]]:
    """`documents` no longer than `context` tokens each; `cut` counts for `lang` those that were."""
    for ids in documents:
        if len(ids) > context:
            cut[lang] += 1
        yield ids[:context]
