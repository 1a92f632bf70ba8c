"""Stage `codes`: which features each of the same texts fires in every language, and how strongly."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch, encode_texts
from isogloss.models.finite import remedy
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of, reads_padding
from isogloss.sae.autoencoder import Encoder, load_encoders, sae_width
from isogloss.sae.pool import Kind, Pool
from isogloss.sae.top_windows import document_peaks
from isogloss.spill import LayerFiles
from isogloss.tables import TableWriter

CODES = pa.schema(
    {
        "layer": pa.int32(),
        "text": pa.int64(),  # number of the text, the same in every language
        "wording": pa.int32(),  # 0: the text; 1: another wording of its fact, in the reference alone
        "n_tokens": pa.int32(),  # without BOS
        "features": pa.list_(pa.int32()),  # those sampled that fire, ascending
        "activations": pa.list_(pa.float32()),  # of each the maximum over the text's tokens, above 0
    }
)
_ENTRY = np.dtype([("text", np.int32), ("feature", np.int32), ("activation", np.float32)])


class _Reading(NamedTuple):
    """What a language's job reads: rows of its table, and the distinct sequences of tokens that they are."""

    text: Int[np.ndarray, " rows"]
    wording: Int[np.ndarray, " rows"]
    which: Int[np.ndarray, " rows"]  # of `ids`
    ids: list[list[int]]  # BOS first
    names: list[str]  # of the first row that has each


def write_codes(
    *,
    lm: str,
    sae: str,
    tables: Mapping[str, Sequence[str]],
    kind: Kind,
    outputs: Mapping[str, str],
    reference: str,
    layers: Sequence[int],
    texts: int,
    feature_stride: int,
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, for each language of `outputs`, the SAE code of the same texts after each of `layers` (the job's block).

    A code holds, of every `feature_stride`-th feature, the maximum over the text's tokens, BOS left out, of the
    activation (paper A, sec. 2.4, of all features instead of one), to 16 significant bits, as in the search for
    phrases; only those above 0 are written. Rows stand layer by layer, a layer a row group, texts ascending; in the
    reference's table other wordings of the texts follow, where there are any (`wording` 1).

    The texts are those of `isogloss.sae.pool`: segments or phrases (`kind`) in `tables` of every language, at most
    `texts`, the same in all jobs. The tables' metadata have `pool`, the number of texts (`n_texts`), of other wordings
    (`n_wordings`), and what was left out: texts that a language lacks (`n_lacking`), and those that are there already
    (`n_alike`).

    A language's distinct texts go through the model once, no deeper than the block's last layer. Codes wait on disk
    beside the output; memory holds a layer's codes of one language, 12 bytes for each feature that a text fires.

    Raises `IsoglossError` for a missing or unfitting SAE (`sae`/layer_{l}), no text that every language has, a text
    that is longer than the model reads, and a NaN, naming layer, language and text.
    """
    layers = sorted(layers)
    pool = Pool.sample(tables, kind, reference=reference, most=texts, seed=seed)
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    metadata = {**metadata, **kernels_of(model)}
    tokenizer = load_tokenizer(lm)
    folders = {layer: Path(sae) / f"layer_{layer}" for layer in layers}
    sampled = {layer: torch.arange(0, sae_width(folder), feature_stride) for layer, folder in folders.items()}
    encoders = load_encoders(
        folders, d_model=decoder_of(model).d_model, device=next(model.parameters()).device, features=sampled
    )
    token_budget = compute.token_budget
    for lang, output in outputs.items():
        others = pool.others if lang == reference else []
        reading = _read(tokenizer, pool, others, tables[lang], lang, context_length(model))
        notes = {
            **metadata,
            "lang": lang,
            "pool": pool.kind,
            "n_texts": len(pool.names),
            "n_wordings": int(reading.wording.sum()),
            "n_lacking": pool.lacking,
            "n_alike": pool.alike,
        }
        with ExitStack() as stack:
            entries = LayerFiles(_ENTRY, stack=stack, folder=Path(output).parent)
            token_budget = _encode(model, encoders, sampled, reading, entries, lang, token_budget)
            with TableWriter(output, CODES, notes) as writer:
                for layer in layers:
                    writer.write(_rows(layer, reading, entries.read(layer)))


def _read(
    tokenizer: PreTrainedTokenizerBase,
    pool: Pool,
    others: Sequence[Any],
    paths: Sequence[str],
    lang: str,
    context: int,
) -> _Reading:
    """The pool's texts in a language, and other wordings of them: the names `others`, None where there is none."""
    worded = [number for number, other in enumerate(others) if other is not None]
    names = [*pool.names, *(others[number] for number in worded)]
    texts = pool.read(paths, names)
    ids = encode_texts(
        tokenizer,
        [one.text for one in texts],
        given=[one.ids for one in texts],
        name=lambda row: f"{', '.join(paths)}: {lang}, {names[row]!r}",
    )
    for name, tokens in zip(names, ids, strict=True):
        if len(tokens) > context:
            raise IsoglossError(
                f"{', '.join(paths)}: {lang}, {name!r} has {len(tokens)} tokens, but the model reads {context}; shorten"
                " it, or leave it out"
            )
    first: dict[tuple[int, ...], int] = {}
    which = [first.setdefault(tuple(tokens), len(first)) for tokens in ids]
    own = [str(names[which.index(number)]) for number in range(len(first))]
    wording = np.repeat([0, 1], [len(pool.names), len(worded)])
    return _Reading(np.array([*range(len(pool.names)), *worded]), wording, np.array(which), list(map(list, first)), own)


@torch.no_grad()
def _encode(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    sampled: Mapping[int, torch.Tensor],
    reading: _Reading,
    entries: LayerFiles,
    lang: str,
    token_budget: int,
) -> int:
    """Append what each distinct text fires to its layer's `entries`; returns the token budget that fitted."""
    with tqdm(total=len(reading.ids), unit="text", desc=f"codes {lang}") as bar:

        def work(batch: Batch) -> None:
            found: dict[int, np.ndarray] = {}

            def visit(layer: int, residual: torch.Tensor) -> None:
                device = residual.device
                peaks = document_peaks(
                    encoders[layer], residual, batch.content.to(device), sampled[layer].to(device)
                ).activation
                if not (finite := peaks.isfinite().all(dim=1)).all():
                    name = reading.names[batch.rows[int((~finite).nonzero()[0])]]
                    raise IsoglossError(
                        f"layer {layer}, language {lang}, text {name}: the activation is not finite;"
                        f" {remedy(model, read='the SAE')}"
                    )
                row, column = (part.cpu() for part in peaks.nonzero(as_tuple=True))
                found[layer] = np.empty(len(row), _ENTRY)
                found[layer]["text"] = np.array(batch.rows)[row.numpy()]
                found[layer]["feature"] = sampled[layer][column].numpy()
                found[layer]["activation"] = peaks.cpu()[row, column].numpy()

            visit_residuals(model, batch, list(encoders), visit)
            for layer, part in found.items():  # once all of the batch fitted
                entries.append(layer, part)
            bar.update(len(batch.rows))

        return each_batch(reading.ids, work, token_budget=token_budget, padded=reads_padding(model))


def _rows(layer: int, reading: _Reading, entries: np.ndarray) -> dict[str, Any]:
    """A layer's rows of the table from what its distinct texts fire."""
    entries = entries[np.lexsort((entries["feature"], entries["text"]))]
    bounds = pa.array(np.searchsorted(entries["text"], np.arange(len(reading.ids) + 1)), pa.int32())
    which = pa.array(reading.which)
    lengths = np.array([len(tokens) - 1 for tokens in reading.ids])
    return {
        "layer": pa.array(np.full(len(which), layer), pa.int32()),
        "text": pa.array(reading.text),
        "wording": pa.array(reading.wording),
        "n_tokens": pa.array(lengths[reading.which]),
        "features": pa.ListArray.from_arrays(bounds, pa.array(entries["feature"])).take(which),
        "activations": pa.ListArray.from_arrays(bounds, pa.array(entries["activation"])).take(which),
    }
