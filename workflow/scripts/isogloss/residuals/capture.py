"""Stage `capture`: mean-pooled residuals of sampled phrases at every analysed layer (paper A, sec. 2.2)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.fused.faster import compile_layers
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.residuals.pooling import each_mean
from isogloss.spill import SpillFile
from isogloss.tables import TableWriter, open_table
from isogloss.tables.layers import iter_layers
from isogloss.text.distinct import TextGroup, distinct_texts, each_group

_PHRASES = 1024  # phrases that are read at a time
_TOKENS = 20  # of a phrase, about
_BUDGETS = 32  # token budgets of texts that are sorted by length together
_ROWS = 1024  # rows (a phrase at a layer) of a row group: ten languages' are open at once in the similarity


def capture(
    *,
    lm: str,
    adapter: str | None,
    translations: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
    layers: Sequence[int],
    feature_stride: int,
    compute: Compute,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, the float32 mean over tokens (BOS left out) of the residual after each of `layers`.

    One row a phrase and layer, in the order of the phrases in a language's `translations` (the tables of
    all blocks of layers, in order). Of each layer's features that have phrases, every `feature_stride`-th in
    ascending order is sampled, and all of its phrases are read at all layers. A phrase with `ids` is
    read as these, any other as its text's tokens; `pooled` is null for a phrase without a text (no
    usable translation). Of a language each distinct text goes through the model once, however many phrases have it;
    its means wait on disk beside the output. Memory holds the texts of 32 token budgets, 1,024 phrases, and of each
    sampled phrase and distinct text some tens of bytes (`isogloss.text.distinct`).

    Raises `IsoglossError` on a NaN, naming layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(
        lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, compute.dtype), kernels=compute.kernels
    )
    phrases = sum(open_table(path).metadata.num_rows for paths in translations.values() for path in paths)
    compile_layers(model, _TOKENS * phrases // feature_stride)
    metadata = {**metadata, **kernels_of(model)}
    tokenizer = load_tokenizer(lm)
    token_budget = compute.token_budget
    for lang, paths in translations.items():
        token_budget = _capture_language(
            model,
            tokenizer,
            paths,
            outputs[lang],
            lang=lang,
            layers=layers,
            feature_stride=feature_stride,
            token_budget=token_budget,
            metadata={**metadata, "lang": lang},
        )


def _capture_language(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    translations: Sequence[str],
    output: str,
    *,
    lang: str,
    layers: list[int],
    feature_stride: int,
    token_budget: int,
    metadata: Mapping[str, Any],
) -> int:
    """Write one language's table; returns the token budget that memory sufficed for."""
    d_model = decoder_of(model).d_model
    schema = pa.schema({"phrase": pa.int64(), "layer": pa.int32(), "pooled": pa.list_(pa.float32(), d_model)})
    sampled = sampled_features(translations, feature_stride)
    texts = distinct_texts(_sampled_rows(translations, sampled))
    with TableWriter(output, schema, metadata) as writer, ExitStack() as stack:
        row = np.dtype([("pooled", np.float32, (len(layers), d_model))])
        spill = SpillFile(row, stack=stack, folder=Path(output).parent)
        groups = each_group(
            _sampled_rows(translations, sampled),
            texts,
            tokenizer,
            lang=lang,
            context=context_length(model),
            tokens=_BUDGETS * token_budget,
        )
        where, token_budget = _pool(model, groups, len(texts.first), spill, lang, layers, token_budget)
        start = 0
        for rows in _sampled_rows(translations, sampled):
            number = texts.number[start : start + len(rows)]
            start += len(rows)
            step = max(1, _ROWS // len(layers))
            for first in range(0, len(rows), step):
                own = number[first : first + step]
                absent = own < 0
                vectors = np.zeros((len(own), len(layers), d_model), dtype=np.float32)
                vectors[~absent] = spill.take(where[own[~absent]].tolist())["pooled"]
                phrase = rows["phrase"][first : first + step].to_numpy()
                table = {
                    "phrase": pa.array(phrase.repeat(len(layers))),
                    "layer": pa.array(layers * len(own), pa.int32()),
                    "pooled": pa.FixedSizeListArray.from_arrays(
                        pa.array(vectors.ravel()), d_model, mask=pa.array(absent.repeat(len(layers)))
                    ),
                }
                writer.write(table)
    return token_budget


def _pool(
    model: nn.Module,
    groups: Iterable[TextGroup],
    total: int,
    spill: SpillFile,
    lang: str,
    layers: list[int],
    token_budget: int,
) -> tuple[Int[np.ndarray, " texts"], int]:
    """Append each text's means to `spill`; returns the row there of each text, and the token budget that fitted."""
    where = np.empty(total, dtype=np.int64)
    done = 0
    with tqdm(total=total, unit="text", desc=f"capturing {lang}") as bar:
        for group in groups:
            broken: list[tuple[int, int]] = []  # text, number of the layer

            def keep(rows: list[int], means: torch.Tensor, group: TextGroup = group, broken: list = broken) -> None:
                nonlocal done
                broken += [(rows[row], layer) for row, layer in (~means.isfinite()).any(dim=2).nonzero().tolist()]
                spill.append(means.numpy())
                where[group.start + np.array(rows)] = done + np.arange(len(rows))
                done += len(rows)
                bar.update(len(rows))

            token_budget = each_mean(model, group.ids, layers, keep, token_budget=token_budget)
            if broken:
                text, number = min(broken)
                raise IsoglossError(
                    f"layer {layers[number]}, language {lang}, phrase {group.phrases[text]}: the residual is not"
                    " finite; try compute.dtype float32"
                )
    return where, token_budget


def sampled_features(translations: Sequence[str], stride: int) -> pl.DataFrame:
    """Layer and feature of every `stride`-th feature with phrases, ascending within each layer."""
    seen = pl.DataFrame(schema={"layer": pl.Int32, "feature": pl.Int32})
    for rows in iter_layers(translations, None, ["layer", "feature"]):
        seen = pl.concat([seen, rows.unique().join(seen, on=["layer", "feature"], how="anti")])
    return seen.sort("layer", "feature").filter(pl.int_range(pl.len()).over("layer") % stride == 0)


def _sampled_rows(translations: Sequence[str], sampled: pl.DataFrame) -> Iterator[pl.DataFrame]:
    columns = ["phrase", "layer", "feature", "text", "ids"]
    for rows in iter_layers(translations, None, columns, batch_size=_PHRASES):
        rows = rows.join(sampled, on=["layer", "feature"], how="semi", maintain_order="left")
        if len(rows):
            yield rows
