"""Stage `phrases`: the reference-language phrases that make each sampled feature fire (paper A, sec. 2.1)."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import torch
from torch import nn
from tqdm import tqdm

from isogloss.config.measures import Compute, Phrases
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.finite import remedy
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of, reads_padding
from isogloss.phrases.passages import Corpus, Excerpt, Passage
from isogloss.sae.autoencoder import Encoder, load_encoders, sae_width
from isogloss.sae.top_windows import Windows, document_peaks, no_windows, qualifying, strongest
from isogloss.tables import TableWriter, write_table

logger = logging.getLogger(__name__)

PHRASES = pa.schema(
    {
        "phrase": pa.int64(),
        "layer": pa.int32(),
        "feature": pa.int32(),
        "rank": pa.int32(),
        "text": pa.string(),
        "ids": pa.list_(pa.int32()),  # what the model reads of a phrase cut out of a text, BOS left out; null: the text
        "activation": pa.float32(),
        "feature_max": pa.float32(),
        "segments": pa.list_(pa.string()),
    }
)


def find_phrases(
    *,
    lm: str,
    sae: str,
    documents: str,
    segments: str | None,
    space: str,
    phrases: str,
    counts: str,
    layers: Sequence[int],
    settings: Phrases,
    compute: Compute,
    metadata: Mapping[str, Any],
) -> None:
    """Write the phrases of every `feature_stride`-th feature of each layer's SAE (`sae`/layer_{l}).

    The table `documents` is read in file order until `corpus_tokens` tokens are reached; a document that is longer
    than the model reads is searched in pieces. The strongest token of a document, or of a piece, with `window` tokens
    on each side is a window if its activation is at least `threshold` times the feature's maximum over the corpus;
    the `per_feature` strongest are kept, of equal ones the earliest. `activation` is the one recorded in the
    document, to 16 significant bits. A text that a feature already has is dropped and counted.

    With the table `segments`, documents that consist of parallel segments are searched, `space` between two, and a
    window becomes a phrase by growing to whole segments, since these are what has a translation; with the `unit`
    "segment" the phrase is the one segment in which the strongest token begins. Without the table every document is
    searched, and the window is the phrase, as in exports (`phrases.exported`): `ids` are its tokens, which are never
    tokenised again, `text` its characters without white space at the ends; a blank one is dropped and counted.

    Memory holds one group of documents, the kept windows, a layer's phrases, and of `segments` those searched. Raises
    `IsoglossError` for a missing or unfitting SAE, a document that is not its segments joined by `space`, and a NaN.
    """
    layers, corpus_tokens = sorted(layers), settings.corpus_tokens
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
    folders, stride = {layer: Path(sae) / f"layer_{layer}" for layer in layers}, settings.feature_stride
    sampled = {layer: torch.arange(0, sae_width(folder), stride) for layer, folder in folders.items()}
    encoders = load_encoders(
        folders, d_model=decoder_of(model).d_model, device=next(model.parameters()).device, features=sampled
    )
    corpus = Corpus(documents, segments, space, load_tokenizer(lm), context_length(model), corpus_tokens)
    passages = corpus.passages(None if settings.unit == "segment" else settings.window)
    kept = {layer: no_windows(len(features), settings.per_feature) for layer, features in sampled.items()}

    columns = sum(map(len, sampled.values()))
    group_size = min(512, max(16, 2**24 // columns))
    n_documents = n_tokens = 0
    with tqdm(total=corpus_tokens, unit="token", desc="searching", mininterval=1) as bar:
        while n_tokens < corpus_tokens:
            group: list[Passage] = []
            start = n_tokens
            while len(group) < group_size and n_tokens < corpus_tokens and (passage := next(passages, None)):
                group.append(passage)
                n_tokens += len(passage.ids) - 1
            if not group:
                break
            windows = _search(model, encoders, sampled, group, compute.token_budget)
            kept = {layer: strongest(kept[layer], windows[layer]) for layer in layers}
            n_documents = group[-1].number + 1
            bar.update(n_tokens - start)
    if n_documents == 0:
        what = "text" if segments is None else "segments"
        raise IsoglossError(f"{documents}: no document there has {what}, so there is nothing to find phrases in")
    if n_tokens < corpus_tokens:
        logger.info("the corpus ended after %d of %d tokens", n_tokens, corpus_tokens)

    tally = []
    total = 0
    with TableWriter(phrases, PHRASES, metadata) as writer:
        for layer in layers:
            rows, summary = _phrases(kept[layer], sampled[layer].tolist(), settings.threshold, corpus)
            if rows:
                columns = ["feature", "rank", "activation", "feature_max", *Excerpt._fields]
                lists: dict[str, Any] = {"ids": pl.List(pl.Int32), "segments": pl.List(pl.String)}
                frame = pl.DataFrame(rows, schema=columns, schema_overrides=lists, orient="row")
                phrase = pl.int_range(total, total + len(rows), dtype=pl.Int64)
                writer.write(frame.with_columns(phrase=phrase, layer=pl.lit(layer)))
            total += len(rows)
            tally.append({"layer": layer, **summary, "documents": n_documents, "tokens": n_tokens})
        if total == 0:
            raise IsoglossError(
                f"{documents}: no sampled feature of {sae} fires there; train the SAEs longer or raise"
                " phrases.corpus_tokens"
            )
    write_table(counts, pl.DataFrame(tally), metadata)


def _search(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    sampled: Mapping[int, torch.Tensor],
    group: Sequence[Passage],
    token_budget: int,
) -> dict[int, Windows]:
    """One window a passage and feature, by layer."""
    longest = max(len(passage.first) for passage in group)
    first, last = torch.zeros(len(group), longest, dtype=torch.long), torch.zeros(len(group), longest, dtype=torch.long)
    for row, passage in enumerate(group):
        first[row, : len(passage.first)] = torch.from_numpy(passage.first)
        last[row, : len(passage.last)] = torch.from_numpy(passage.last)
    activation = {layer: torch.zeros(len(group), len(features)) for layer, features in sampled.items()}
    position = {layer: torch.zeros(len(group), len(features), dtype=torch.long) for layer, features in sampled.items()}

    def work(batch: Batch) -> None:
        def visit(layer: int, residual: torch.Tensor) -> None:
            device = residual.device
            peaks = document_peaks(encoders[layer], residual, batch.content.to(device), sampled[layer].to(device))
            activation[layer][batch.rows] = peaks.activation.cpu()
            position[layer][batch.rows] = peaks.position.cpu()

        visit_residuals(model, batch, list(sampled), visit)

    with torch.no_grad():
        ids = [passage.ids for passage in group]
        each_batch(ids, work, token_budget=token_budget, padded=reads_padding(model))
    numbers = torch.tensor([passage.number for passage in group])[:, None]
    windows = {}
    for layer, values in activation.items():
        if values.isnan().any():
            row = int(values.isnan().any(dim=1).nonzero()[0])
            raise IsoglossError(
                f"layer {layer}, document {group[row].document}: activations are NaN; {remedy(model, read='the SAE')}"
            )
        columns = (values, numbers.expand_as(values), first.gather(1, position[layer]), last.gather(1, position[layer]))
        windows[layer] = Windows(*(column.T for column in columns))
    return windows


def _phrases(
    windows: Windows, features: Sequence[int], threshold: float, corpus: Corpus
) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """The rows of a layer's phrases, features ascending, and what was found and dropped."""
    enough = qualifying(windows, threshold)
    ranges = torch.stack(windows[1:], dim=-1)  # document, first and last
    spans = [list(map(tuple, of[keep].tolist())) for of, keep in zip(ranges, enough, strict=True)]
    excerpts = corpus.excerpts(set(chain.from_iterable(spans)))
    rows: list[tuple[Any, ...]] = []
    with_phrases = duplicates = empty = 0
    for index, feature in enumerate(features):
        values = windows.activation[index].tolist()
        seen: dict[str, tuple[Any, ...]] = {}
        for value, span in zip(values, spans[index], strict=False):
            excerpt = excerpts[span]
            if not excerpt.text:
                empty += 1
            elif excerpt.text in seen:
                duplicates += 1
            else:
                seen[excerpt.text] = (feature, len(seen), value, values[0], *excerpt)
        with_phrases += bool(seen)
        rows += seen.values()
    summary = {
        "features_sampled": len(features),
        "features_with_phrases": with_phrases,
        "windows": int(enough.sum()),
        "duplicates_dropped": duplicates,
        "empty_dropped": empty,
        "n_phrases": len(rows),
    }
    return rows, summary
