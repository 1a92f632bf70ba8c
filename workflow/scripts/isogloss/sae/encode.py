"""Stage `encode`: how strongly each phrase fires its own feature at its own layer (paper A, sec. 2.4)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.fused.faster import compile_layers
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of
from isogloss.sae.autoencoder import Encoder, load_encoders
from isogloss.sae.control_features import random_features, shuffled_features
from isogloss.sae.own_feature import Measured, measure
from isogloss.tables import TableWriter, open_table
from isogloss.tables.layers import iter_layers
from isogloss.text.distinct import distinct_texts, each_group

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
        "chrf": pa.float32(),
    }
)
_MEASURED = ("activation", "shuffled_activation", "random_activation", "pre_activation")
_PHRASES = 4096  # phrases of a row group
_TOKENS = 20  # of a phrase, about
_BUDGETS = 32  # token budgets of texts that are sorted by depth and length together


class _Pairs(NamedTuple):
    """Phrases of a group of texts."""

    text: Int[np.ndarray, " pairs"]  # by position in the group
    layer: Int[np.ndarray, " pairs"]
    features: Int[np.ndarray, "pairs three"]  # own, shuffled, random


def encode(
    *,
    lm: str,
    adapter: str | None,
    sae: str,
    translations: Mapping[str, str],
    outputs: Mapping[str, str],
    layers: Sequence[int],
    compute: Compute,
    seed: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, one row for each phrase of `layers` (the job's block), in the order of the phrases.

    `activation` is the maximum over the text's tokens, BOS left out, of the phrase's own feature;
    `shuffled_activation` and `random_activation` are the same text's with the control features of
    `isogloss.sae.control_features`, which are drawn over all phrases, translated or not. A phrase with `ids` is
    read as these, any other as its text's tokens. Where the text is null (no usable translation) all
    values are null; `chrf` is copied from the translations.

    Of a language each distinct text goes through the model once, no deeper than the deepest of its phrases' layers. No
    residual is written. Memory holds 4,096 phrases, which are a row group, the texts of 32 token budgets, and less than
    100 bytes a phrase of the job: its text's number, layer, features and values (`isogloss.text.distinct`).

    Raises `IsoglossError` for a missing or unfitting SAE (`sae`/layer_{l}) and on a NaN, naming
    layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(
        lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, compute.dtype), kernels=compute.kernels
    )
    compile_layers(model, _TOKENS * sum(open_table(path).metadata.num_rows for path in translations.values()))
    metadata = {**metadata, **kernels_of(model)}
    tokenizer = load_tokenizer(lm)
    encoders = load_encoders(
        {layer: Path(sae) / f"layer_{layer}" for layer in layers},
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
    )
    token_budget = compute.token_budget
    for lang, path in translations.items():
        token_budget = _encode_language(
            model,
            tokenizer,
            encoders,
            path,
            outputs[lang],
            lang=lang,
            token_budget=token_budget,
            seed=seed,
            metadata={**metadata, "lang": lang},
        )


def _encode_language(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    encoders: Mapping[int, Encoder],
    translations: str,
    output: str,
    *,
    lang: str,
    token_budget: int,
    seed: int,
    metadata: Mapping[str, Any],
) -> int:
    """Write one language's table; returns the token budget that memory sufficed for."""
    read = partial(iter_layers, [translations], sorted(encoders), batch_size=_PHRASES)
    layer, features = _pairs(read(["phrase", "layer", "feature"]), translations, encoders, seed)
    texts = distinct_texts(read(["text", "ids"]))
    by_text = np.argsort(texts.number, kind="stable")[(texts.number < 0).sum() :]
    bounds = np.searchsorted(texts.number[by_text], np.arange(len(texts.first) + 1))
    values = {name: np.zeros(len(layer), dtype=np.float32) for name in _MEASURED}
    n_tokens = np.zeros(len(layer), dtype=np.int32)
    groups = each_group(
        read(["phrase", "text", "ids"]),
        texts,
        tokenizer,
        lang=lang,
        context=context_length(model),
        tokens=_BUDGETS * token_budget,
    )
    with tqdm(total=len(texts.first), unit="text", desc=f"encoding {lang}") as bar:
        for group in groups:
            own = by_text[bounds[group.start] : bounds[group.start + len(group.ids)]]
            pairs = _Pairs(texts.number[own] - group.start, layer[own], features[own])
            activation, pre_activation, token_budget = _measure(model, encoders, group.ids, pairs, token_budget)
            if (broken := own[~np.isfinite(pre_activation).all(axis=1)]).size:
                row = int(broken.min())
                phrase = pl.concat(list(read(["phrase"])))["phrase"][row]
                raise IsoglossError(
                    f"layer {layer[row]}, language {lang}, phrase {phrase}: the activation is not finite;"
                    " try compute.dtype float32"
                )
            for name, column in zip(_MEASURED, [*activation.T, pre_activation[:, 0]], strict=True):
                values[name][own] = column
            n_tokens[own] = np.array([len(tokens) - 1 for tokens in group.ids])[pairs.text]
            bar.update(len(group.ids))
    rows = read(["phrase", "layer", "feature", "text", "chrf"])
    _write(output, metadata, rows, {**values, "n_tokens": n_tokens}, texts.number < 0)
    return token_budget


def _write(
    output: str,
    metadata: Mapping[str, Any],
    tables: Iterable[pl.DataFrame],
    values: Mapping[str, Shaped[np.ndarray, " phrases"]],
    absent: Bool[np.ndarray, " phrases"],
) -> None:
    """Write the phrases of consecutive tables with their `values`, null where they are `absent`."""
    start = 0
    with TableWriter(output, ACTIVATIONS, metadata) as writer:
        for rows in tables:
            here = slice(start, start + len(rows))
            start += len(rows)
            writer.write(
                {
                    **{name: rows[name].to_arrow() for name in ("phrase", "layer", "feature", "chrf")},
                    **{name: pa.array(column[here], mask=absent[here]) for name, column in values.items()},
                    "n_characters": rows["text"].str.len_chars().to_arrow(),
                }
            )


def _pairs(
    tables: Iterable[pl.DataFrame], path: str, encoders: Mapping[int, Encoder], seed: int
) -> tuple[Int[np.ndarray, " phrases"], Int[np.ndarray, "phrases three"]]:
    """Layer of each phrase; own, shuffled and random feature.

    Raises `IsoglossError` if there is none, and for an SAE (in `encoders`) with fewer features than phrases name.
    """
    own = pl.concat([pl.DataFrame(schema={"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32}), *tables])
    if not own.height:
        raise IsoglossError(
            f"{path}: no phrases of layers {list(encoders)}; lower phrases.feature_stride or phrases.threshold"
        )
    phrases, layers, feature = (own[name].to_numpy() for name in ("phrase", "layer", "feature"))
    features = np.empty((len(feature), 3), dtype=np.int32)
    features[:, 0] = feature
    for layer in np.unique(layers).tolist():
        here, width = layers == layer, len(encoders[layer].b_enc)
        if (largest := feature[here].max()) >= width:
            raise IsoglossError(
                f"{path}: layer {layer} has phrases of feature {largest}, but its SAE has"
                f" {width} features; make the phrases again with this SAE"
            )
        features[here, 1] = shuffled_features(feature[here], phrases[here], layer=layer, seed=seed)
        features[here, 2] = random_features(feature[here], phrases[here], layer=layer, dictionary=width, seed=seed)
    return layers, features


@torch.no_grad()
def _measure(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    ids: list[list[int]],
    pairs: _Pairs,
    token_budget: int,
) -> tuple[Float[np.ndarray, "pairs three"], Float[np.ndarray, "pairs three"], int]:
    """Activation and pre-activation of the features of each pair, and the token budget that fitted."""
    activation = np.full(pairs.features.shape, np.nan, dtype=np.float32)
    pre_activation = np.full(pairs.features.shape, np.nan, dtype=np.float32)
    depth = np.zeros(len(ids), dtype=np.int32)
    np.maximum.at(depth, pairs.text, pairs.layer)

    def work(batch: Batch) -> None:
        position = np.full(len(ids), -1)
        position[batch.rows] = np.arange(len(batch.rows))
        here = np.flatnonzero(position[pairs.text] >= 0)
        wanted = {layer: here[pairs.layer[here] == layer] for layer in np.unique(pairs.layer[here]).tolist()}
        measured: dict[int, Measured] = {}

        def visit(layer: int, residual: torch.Tensor) -> None:
            device, own = residual.device, wanted[layer]
            measured[layer] = measure(
                encoders[layer],
                residual,
                batch.content.to(device),
                torch.from_numpy(position[pairs.text[own]]).to(device),
                torch.from_numpy(pairs.features[own]).to(device),
            )

        visit_residuals(model, batch, list(wanted), visit)
        for layer, values in measured.items():
            activation[wanted[layer]] = values.activation.cpu().numpy()
            pre_activation[wanted[layer]] = values.pre_activation.cpu().numpy()

    budget = each_batch(ids, work, token_budget=token_budget, depth=depth.tolist())
    return activation, pre_activation, budget
