"""Stage `capture`: mean-pooled residuals of sampled phrases at every analysed layer (paper A, sec. 2.2)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import torch
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.residuals.batching import encode_phrases
from isogloss.residuals.pooling import mean_residuals
from isogloss.tables import TableWriter, iter_table

_PHRASES = 1024  # phrases of a row group


def capture(
    *,
    lm: str,
    adapter: str | None,
    translations: str,
    output: str,
    lang: str,
    layers: Sequence[int],
    feature_stride: int,
    token_budget: int,
    dtype: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write the float32 mean over tokens (BOS left out) of the residual after each of `layers`.

    One row a phrase and layer, in the order of the phrases. Of each layer's features that have
    phrases, every `feature_stride`-th in ascending order is sampled, and all of its phrases are read
    at all layers. Raises `IsoglossError` on a NaN, naming layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, dtype))
    tokenizer = load_tokenizer(lm)
    d_model = decoder_of(model).d_model
    schema = pa.schema({"phrase": pa.int64(), "layer": pa.int32(), "pooled": pa.list_(pa.float32(), d_model)})
    sampled = sampled_features(translations, feature_stride)
    with TableWriter(output, schema, metadata) as writer, tqdm(unit="phrase", desc=f"capturing {lang}") as bar:
        for rows in _sampled_rows(translations, sampled):
            ids = encode_phrases(tokenizer, rows["text"], rows["phrase"], lang=lang, context=context_length(model))
            pooled = mean_residuals(model, ids, layers, token_budget=token_budget)
            broken = (~torch.isfinite(pooled)).any(dim=2).nonzero()
            if len(broken):
                row, place = broken[0].tolist()
                raise IsoglossError(
                    f"layer {layers[place]}, language {lang}, phrase {rows['phrase'][row]}: the residual is not finite;"
                    " try compute.dtype float32"
                )
            writer.write(
                {
                    "phrase": pa.array(rows["phrase"].repeat_by(len(layers)).explode().to_numpy()),
                    "layer": pa.array(layers * len(rows), pa.int32()),
                    "pooled": pa.FixedSizeListArray.from_arrays(pa.array(pooled.flatten().numpy()), d_model),
                }
            )
            bar.update(len(rows))


def sampled_features(translations: str, stride: int) -> pl.DataFrame:
    """Layer and feature of every `stride`-th feature with phrases, ascending within each layer."""
    seen = pl.DataFrame(schema={"layer": pl.Int32, "feature": pl.Int32})
    for rows in iter_table(translations, columns=["layer", "feature"]):
        seen = pl.concat([seen, rows]).unique()
    return seen.sort("layer", "feature").filter(pl.int_range(pl.len()).over("layer") % stride == 0)


def _sampled_rows(translations: str, sampled: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for rows in iter_table(translations, batch_size=_PHRASES):
        rows = rows.join(sampled, on=["layer", "feature"], how="semi", maintain_order="left")
        if len(rows):
            yield rows
