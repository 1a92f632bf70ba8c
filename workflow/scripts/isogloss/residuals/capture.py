"""Stage `capture`: mean-pooled residuals of sampled phrases at every analysed layer (paper A, sec. 2.2)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import encode_phrases
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.residuals.pooling import mean_residuals
from isogloss.tables import TableWriter
from isogloss.tables.layers import iter_layers

_PHRASES = 1024  # phrases that are read at a time
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
    usable translation). Memory holds 1,024 phrases at a time and the numbers of the sampled features.

    Raises `IsoglossError` on a NaN, naming layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, compute.dtype))
    tokenizer = load_tokenizer(lm)
    for lang, paths in translations.items():
        _capture_language(
            model,
            tokenizer,
            paths,
            outputs[lang],
            lang=lang,
            layers=layers,
            feature_stride=feature_stride,
            token_budget=compute.token_budget,
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
) -> None:
    d_model = decoder_of(model).d_model
    schema = pa.schema({"phrase": pa.int64(), "layer": pa.int32(), "pooled": pa.list_(pa.float32(), d_model)})
    sampled = sampled_features(translations, feature_stride)
    with TableWriter(output, schema, metadata) as writer, tqdm(unit="phrase", desc=f"capturing {lang}") as bar:
        for rows in _sampled_rows(translations, sampled):
            present = rows.filter(pl.col("text").is_not_null())
            ids = encode_phrases(
                tokenizer,
                present["text"],
                present["phrase"],
                lang=lang,
                context=context_length(model),
                given=present["ids"].to_list(),
            )
            pooled = mean_residuals(model, ids, layers, token_budget=token_budget)
            broken = (~torch.isfinite(pooled)).any(dim=2).nonzero()
            if len(broken):
                row, number = broken[0].tolist()
                raise IsoglossError(
                    f"layer {layers[number]}, language {lang}, phrase {present['phrase'][row]}: the residual is not"
                    " finite; try compute.dtype float32"
                )
            absent = rows["text"].is_null().to_numpy()
            vectors = pooled.numpy()
            if absent.any():
                vectors = np.zeros((len(rows), *pooled.shape[1:]), dtype=np.float32)
                vectors[~absent] = pooled.numpy()
            table = pa.table(
                {
                    "phrase": pa.array(rows["phrase"].repeat_by(len(layers)).explode().to_numpy()),
                    "layer": pa.array(layers * len(rows), pa.int32()),
                    "pooled": pa.FixedSizeListArray.from_arrays(
                        pa.array(vectors.ravel()), d_model, mask=pa.array(absent.repeat(len(layers)))
                    ),
                }
            )
            for start in range(0, table.num_rows, _ROWS):
                writer.write(table.slice(start, _ROWS))
            bar.update(len(rows))


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
