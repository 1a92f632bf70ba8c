"""Stage `encode`: how strongly each phrase fires its own feature at its own layer (paper A, sec. 2.4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import nn
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.residuals.batching import Batch, each_batch, encode_phrases
from isogloss.residuals.stream import visit_residuals
from isogloss.sae.autoencoder import Encoder, load_encoders
from isogloss.sae.own_feature import measure
from isogloss.sae.partners import random_features, shuffled_features
from isogloss.tables import TableWriter, iter_table

ACTIVATIONS = pa.schema(
    {
        "phrase": pa.int64(),
        "layer": pa.int32(),
        "feature": pa.int32(),
        "activation": pa.float32(),
        "pre_activation": pa.float32(),
        "n_tokens": pa.int32(),
        "n_characters": pa.int32(),
        "shuffled_activation": pa.float32(),
        "random_activation": pa.float32(),
    }
)
_PHRASES = 4096  # phrases of a row group


def encode(
    *,
    lm: str,
    adapter: str | None,
    sae: str,
    translations: str,
    output: str,
    lang: str,
    layers: Sequence[int],
    token_budget: int,
    dtype: str,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write one row for each phrase of `layers` (the job's block), in the order of the phrases.

    `activation` is the maximum over the text's tokens, BOS left out, of the phrase's own feature;
    `shuffled_activation` and `random_activation` are the same text's with the control features of
    `isogloss.sae.partners`. A text goes through the model once, no deeper than the deepest of its
    phrases' layers. No residual is written, and no more than a row group of phrases is held, but
    for the block's phrase and feature numbers.

    Raises `IsoglossError` for a missing or unfitting SAE (`sae`/layer_{l}) and on a NaN, naming
    layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, dtype))
    tokenizer = load_tokenizer(lm)
    encoders = load_encoders(
        {layer: Path(sae) / f"layer_{layer}" for layer in layers},
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
    )
    controls = _control_features(translations, {layer: len(its.b_enc) for layer, its in encoders.items()}, seed)
    with TableWriter(output, ACTIVATIONS, metadata) as writer, tqdm(total=len(controls), unit="phrase") as bar:
        for rows in iter_table(translations, batch_size=_PHRASES):
            rows = rows.filter(pl.col("layer").is_in(layers))
            if rows.is_empty():
                continue
            rows = rows.join(controls, on="phrase", how="left", maintain_order="left")
            texts = rows["text"].unique(maintain_order=True)
            text_of = rows.join(texts.to_frame().with_row_index("row"), on="text", how="left", maintain_order="left")
            first = rows.unique("text", keep="first", maintain_order=True)
            ids = encode_phrases(tokenizer, texts, first["phrase"], lang=lang, context=context_length(model))
            activation, pre_activation, budget = _measure_rows(
                model,
                encoders,
                ids,
                text_of["row"].to_numpy().astype(np.int64),
                rows["layer"].to_numpy(),
                torch.tensor(rows.select("feature", "shuffled", "random").to_numpy(), dtype=torch.long),
                token_budget,
            )
            token_budget = budget
            broken = (~torch.isfinite(pre_activation)).any(dim=1).nonzero()
            if len(broken):
                row = int(broken[0])
                raise IsoglossError(
                    f"layer {rows['layer'][row]}, language {lang}, phrase {rows['phrase'][row]}: the activation is"
                    " not finite; try compute.dtype float32"
                )
            lengths = pl.Series([len(text) - 1 for text in ids], dtype=pl.Int32)
            writer.write(
                rows.with_columns(
                    activation=activation[:, 0].numpy(),
                    pre_activation=pre_activation[:, 0].numpy(),
                    n_tokens=lengths.gather(text_of["row"]),
                    n_characters=pl.col("text").str.len_chars(),
                    shuffled_activation=activation[:, 1].numpy(),
                    random_activation=activation[:, 2].numpy(),
                )
            )
            bar.update(len(rows))


def _control_features(translations: str, dictionaries: Mapping[int, int], seed: int) -> pl.DataFrame:
    """Columns phrase, shuffled, random of all phrases of the layers in `dictionaries` (their SAEs' widths)."""
    own = pl.concat(
        [
            rows.filter(pl.col("layer").is_in(list(dictionaries)))
            for rows in iter_table(translations, columns=["phrase", "layer", "feature"])
        ]
        or [pl.DataFrame(schema={"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32})]
    )
    parts = []
    for layer, dictionary in dictionaries.items():
        rows = own.filter(pl.col("layer") == layer)
        if rows.is_empty():
            continue
        features, phrases = rows["feature"].to_numpy(), rows["phrase"].to_numpy()
        if features.max() >= dictionary:
            raise IsoglossError(
                f"{translations}: layer {layer} has phrases of feature {features.max()}, but its SAE has"
                f" {dictionary} features; make the phrases again with this SAE"
            )
        parts.append(
            pl.DataFrame(
                {
                    "phrase": phrases,
                    "shuffled": shuffled_features(features, phrases, layer=layer, seed=seed),
                    "random": random_features(features, phrases, layer=layer, dictionary=dictionary, seed=seed),
                }
            )
        )
    if not parts:
        raise IsoglossError(
            f"{translations}: no phrases of layers {list(dictionaries)}; lower phrases.feature_stride or"
            " phrases.threshold"
        )
    return pl.concat(parts)


@torch.no_grad()
def _measure_rows(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    ids: list[list[int]],
    text: np.ndarray,
    layer: np.ndarray,
    features: torch.Tensor,
    token_budget: int,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Activation and pre-activation of each phrase's features [phrases, 3], and the token budget that fitted.

    `text` is each phrase's row in `ids`, `layer` its layer.
    """
    activation = torch.full(features.shape, torch.nan)
    pre_activation = torch.full(features.shape, torch.nan)
    depth = np.zeros(len(ids), dtype=np.int64)
    np.maximum.at(depth, text, layer)

    def work(batch: Batch) -> None:
        place = np.full(len(ids), -1)
        place[batch.rows] = np.arange(len(batch.rows))
        row = place[text]  # of each phrase's text in the batch, -1 if it is not there
        wanted = {int(number) for number in np.unique(layer[row >= 0])}

        def visit(number: int, residual: torch.Tensor) -> None:
            device = residual.device
            phrases = np.flatnonzero((row >= 0) & (layer == number))
            measured = measure(
                encoders[number],
                residual,
                batch.content.to(device),
                torch.from_numpy(row[phrases]).to(device),
                features[phrases].to(device),
            )
            activation[phrases] = measured.activation.cpu()
            pre_activation[phrases] = measured.pre_activation.cpu()

        visit_residuals(model, batch, sorted(wanted), visit)

    budget = each_batch(ids, work, token_budget=token_budget, depth=depth.tolist())
    return activation, pre_activation, budget
