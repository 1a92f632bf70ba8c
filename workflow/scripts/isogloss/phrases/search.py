"""Stage `phrases`: the reference-language phrases that make each sampled feature fire (paper A, sec. 2.1)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute, Phrases
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.sae.autoencoder import Encoder, load_encoders
from isogloss.sae.top_windows import Windows, document_peaks, no_windows, qualifying, strongest
from isogloss.tables import TableWriter, iter_table, write_table
from isogloss.text.segments import read_segments

logger = logging.getLogger(__name__)

PHRASES = pa.schema(
    {
        "phrase": pa.int64(),
        "layer": pa.int32(),
        "feature": pa.int32(),
        "rank": pa.int32(),
        "text": pa.string(),
        "ids": pa.list_(pa.int32()),  # what the model reads of an exported phrase, BOS left out; null: the text
        "activation": pa.float32(),
        "feature_max": pa.float32(),
        "segments": pa.list_(pa.string()),
    }
)


class Statement(NamedTuple):
    """A document that consists of parallel segments, as the model reads it."""

    document: str
    segments: list[str]  # ids
    ids: list[int]  # tokens, BOS first
    first: Int[np.ndarray, " tokens"]  # first segment that the window round each own token touches
    last: Int[np.ndarray, " tokens"]  # last segment, inclusive


def find_phrases(
    *,
    lm: str,
    sae: str,
    documents: str,
    segments: str,
    phrases: str,
    counts: str,
    layers: Sequence[int],
    settings: Phrases,
    compute: Compute,
    metadata: Mapping[str, Any],
) -> None:
    """Write the phrases of every `feature_stride`-th feature of each layer's SAE (`sae`/layer_{l}).

    The statements of the table `documents` are read in file order until `corpus_tokens` tokens are
    reached. A document's strongest token, with `window` tokens on each side, is a window if its
    activation is at least `threshold` times the feature's maximum over the corpus; the `per_feature`
    strongest are kept, of equal ones the earliest. A window becomes a phrase by growing to whole
    segments, since these are what has a translation; a text that a feature already has is dropped
    and counted. `activation` is the one recorded in the document, to 16 significant bits.

    Memory holds the tables' segments, one group of documents and the kept windows. Raises
    `IsoglossError` for a missing or unfitting SAE, a document that is not its segments joined by
    spaces, and a NaN.
    """
    layers, corpus_tokens = sorted(layers), settings.corpus_tokens
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype))
    encoders = load_encoders(
        {layer: Path(sae) / f"layer_{layer}" for layer in layers},
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
    )
    stride = settings.feature_stride
    sampled = {layer: torch.arange(0, len(encoder.b_enc), stride) for layer, encoder in encoders.items()}
    memory = read_segments(segments)
    corpus = _statements(documents, memory, load_tokenizer(lm), context_length(model), settings.window)
    kept = {layer: no_windows(len(features), settings.per_feature) for layer, features in sampled.items()}

    places = sum(map(len, sampled.values()))
    group_size = min(512, max(16, 2**24 // places))
    n_documents = n_tokens = 0
    with tqdm(total=corpus_tokens, unit="token", desc="searching", mininterval=1) as bar:
        while n_tokens < corpus_tokens:
            group: list[Statement] = []
            start = n_tokens
            while len(group) < group_size and n_tokens < corpus_tokens and (statement := next(corpus, None)):
                group.append(statement)
                n_tokens += len(statement.ids) - 1
            if not group:
                break
            windows = _search(model, encoders, sampled, group, n_documents, compute.token_budget)
            kept = {layer: strongest(kept[layer], windows[layer]) for layer in layers}
            n_documents += len(group)
            bar.update(n_tokens - start)
    if n_documents == 0:
        raise IsoglossError(f"{documents}: no document there has segments, so there is nothing to find phrases in")
    if n_tokens < corpus_tokens:
        logger.info("the corpus ended after %d of %d tokens", n_tokens, corpus_tokens)

    needed = {int(number) for windows in kept.values() for number in windows.document.unique()}
    names = {
        number: row["segments"]
        for number, row in enumerate(_rows(documents))
        if number < n_documents and number in needed
    }
    tally = []
    total = 0
    with TableWriter(phrases, PHRASES, metadata) as writer:
        for layer in layers:
            rows, summary = _phrases(kept[layer], sampled[layer].tolist(), settings.threshold, names, memory)
            if rows:
                columns = ["feature", "rank", "text", "activation", "feature_max", "segments"]
                frame = pl.DataFrame(rows, schema=columns, orient="row")
                phrase = pl.int_range(total, total + len(rows), dtype=pl.Int64)
                ids = pl.lit(None, pl.List(pl.Int32))
                writer.write(frame.with_columns(phrase=phrase, layer=pl.lit(layer), ids=ids))
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
    group: Sequence[Statement],
    offset: int,
    token_budget: int,
) -> dict[int, Windows]:
    """One window a document and feature, by layer; `offset` is the number of the group's first document."""
    longest = max(len(statement.first) for statement in group)
    first, last = torch.zeros(len(group), longest, dtype=torch.long), torch.zeros(len(group), longest, dtype=torch.long)
    for row, statement in enumerate(group):
        first[row, : len(statement.first)] = torch.from_numpy(statement.first)
        last[row, : len(statement.last)] = torch.from_numpy(statement.last)
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
        each_batch([statement.ids for statement in group], work, token_budget=token_budget)
    numbers = torch.arange(offset, offset + len(group))[:, None]
    windows = {}
    for layer, values in activation.items():
        if values.isnan().any():
            row = int(values.isnan().any(dim=1).nonzero()[0])
            raise IsoglossError(
                f"layer {layer}, document {group[row].document}: activations are NaN; try compute.dtype float32"
            )
        columns = (values, numbers.expand_as(values), first.gather(1, position[layer]), last.gather(1, position[layer]))
        windows[layer] = Windows(*(column.T for column in columns))
    return windows


def _phrases(
    windows: Windows,
    features: Sequence[int],
    threshold: float,
    names: Mapping[int, Sequence[str]],
    memory: Mapping[str, str],
) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """The rows of a layer's phrases, features ascending, and what was found and dropped."""
    rows: list[tuple[Any, ...]] = []
    enough = qualifying(windows, threshold)
    with_phrases = duplicates = 0
    for index in enough[:, 0].nonzero().squeeze(1).tolist():
        with_phrases += 1
        texts: dict[str, tuple[float, list[str]]] = {}
        for window in enough[index].nonzero().squeeze(1).tolist():
            span = slice(int(windows.first[index, window]), int(windows.last[index, window]) + 1)
            ids = list(names[int(windows.document[index, window])][span])
            text = " ".join(memory[name] for name in ids)
            if text in texts:
                duplicates += 1
            else:
                texts[text] = (float(windows.activation[index, window]), ids)
        maximum = float(windows.activation[index, 0])
        rows += [
            (features[index], rank, text, activation, maximum, ids)
            for rank, (text, (activation, ids)) in enumerate(texts.items())
        ]
    summary = {
        "features_sampled": len(features),
        "features_with_phrases": with_phrases,
        "windows": int(enough.sum()),
        "duplicates_dropped": duplicates,
        "n_phrases": len(rows),
    }
    return rows, summary


def _rows(path: str) -> Iterator[dict[str, Any]]:
    """The documents that consist of segments, in file order."""
    for frame in iter_table(path, columns=["document", "segments", "text"], batch_size=512):
        for row in frame.iter_rows(named=True):
            if row["segments"]:
                yield row


def _statements(
    path: str, memory: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, max_length: int, window: int
) -> Iterator[Statement]:
    if not tokenizer.is_fast:
        raise IsoglossError(f"{path}: finding phrases needs a fast tokenizer (tokenizer.json) for character offsets")
    for row in _rows(path):
        lacking = [segment for segment in row["segments"] if segment not in memory]
        if lacking:
            raise IsoglossError(
                f"{path}: document {row['document']}: segment {lacking[0]!r} is not in the segments' table;"
                " make both tables again"
            )
        texts = [memory[segment] for segment in row["segments"]]
        if " ".join(texts) != row["text"]:
            raise IsoglossError(
                f"{path}: document {row['document']} is not its segments joined by one space; make the table again"
            )
        encoded = tokenizer(row["text"], add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]  # type: ignore[assignment]
        if len(ids) >= max_length:
            raise IsoglossError(
                f"{path}: document {row['document']} has {len(ids)} tokens, the model reads {max_length - 1};"
                " raise architecture.context"
            )
        first, last = touched_segments(np.array(encoded["offset_mapping"]), [len(text) for text in texts], window)
        yield Statement(row["document"], row["segments"], [int(tokenizer.bos_token_id), *ids], first, last)  # type: ignore[arg-type]


def touched_segments(
    offsets: Int[np.ndarray, "tokens two"], lengths: Sequence[int], window: int
) -> tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " tokens"]]:
    """First and last segment touched by the window of `window` tokens on each side of every token.

    `offsets` are the tokens' character spans, `lengths` the segments' characters; segments are joined by one space.
    """
    ends = np.cumsum(np.array(lengths) + 1) - 1
    starts = ends - np.array(lengths)
    tokens = np.arange(len(offsets))
    low = offsets[np.maximum(tokens - window, 0), 0]
    high = offsets[np.minimum(tokens + window, len(offsets) - 1), 1]
    first = np.searchsorted(ends, low, side="right")
    last = np.searchsorted(starts, high, side="left") - 1
    return np.minimum(first, last), last
