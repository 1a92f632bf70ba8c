"""Stage `train_sae`: TopK SAEs of all analysed layers from one pass of the model over the documents."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.config.model import SaeRecipe
from isogloss.errors import IsoglossError
from isogloss.models.fused.faster import compile_layers
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.models.tokenization import token_ids
from isogloss.sae.kinds.topk import SaeTrainer
from isogloss.sae.quality import measure_quality
from isogloss.sae.recipe import Recipe
from isogloss.sae.trainer import Chunk, residual_chunks, save_saes, train
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

    from isogloss.tables import write_table

    settings, token_budget = Recipe(**dict(recipe)), compute.token_budget
    if settings.kind != "topk":
        raise IsoglossError(f"sae.kind {settings.kind!r}: the SAEs of a model's phrases are topk; leave sae.kind out")
    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    compile_layers(model, settings.tokens)
    metadata = {**metadata, **kernels_of(model)}
    context = context_length(model)
    tokenizer = load_tokenizer(lm)
    cut: Counter[str] = Counter()

    def chunks(tokens: int, *, held_out: bool) -> Iterator[Chunk]:
        streams = {
            lang: _cut(_documents(path, tokenizer, held_out=held_out, seed=seed), context, lang, cut)
            for lang, path in documents.items()
        }
        group = min(4 * settings.batch_tokens, settings.buffer_tokens)
        return residual_chunks(
            model, interleave(streams, shares), layers, tokens, group=group, token_budget=token_budget
        )

    trainer = train(
        lambda _: chunks(settings.tokens, held_out=False),
        lambda first: SaeTrainer(layers, first, settings, seed=seed),
        settings,
        seed=seed,
        start_from="buffer",
    )
    held_out = (chunk.vectors for chunk in chunks(settings.held_out_tokens, held_out=True))
    figures = measure_quality(held_out, layers, [(layer, trainer.meter(layer)) for layer in layers])
    for lang, count in cut.items():
        logger.info("%s: %d documents were cut at the model's context of %d tokens", lang, count, context)
    for layer, quality_of_layer in zip(layers, figures, strict=True):
        logger.info("layer %d: %s", layer, quality_of_layer)

    about = {
        "training_tokens": settings.tokens,
        "dataset": "documents of the study in " + ", ".join(documents),
        "isogloss": dict(metadata),
    }
    save_saes(sae, trainer, layers, Path(lm).parent.name, about)
    frame = pl.DataFrame(
        {
            "layer": layers,
            "fvu": [figure.fvu for figure in figures],
            "l0": [figure.l0 for figure in figures],
            "dead_features": [figure.dead_features for figure in figures],
            "features": settings.features,
            "k": settings.k,
            "n_tokens": [figure.n_tokens for figure in figures],
        }
    )
    write_table(quality, frame, {**metadata, "documents_cut": dict(cut)})


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
    bos = tokenizer.bos_token_id
    assert isinstance(bos, int)
    while True:
        some = False
        for group in torch.randperm(table.num_row_groups, generator=generator).tolist():
            rows = table.read_row_group(group, columns=["document", "text"])
            texts = [
                text
                for name, text in zip(rows["document"].to_pylist(), rows["text"].to_pylist(), strict=True)
                if is_held_out(name, seed) == held_out
            ]
            order = torch.randperm(len(texts), generator=generator).tolist()
            for start in range(0, len(order), 64):
                for ids in token_ids(tokenizer, [texts[row] for row in order[start : start + 64]]):
                    if ids:  # of some texts a tokenizer makes nothing: those of spaces or marks that it leaves out
                        some = True
                        yield [bos, *ids]
        if not some:
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
