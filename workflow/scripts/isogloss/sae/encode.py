"""Stage `encode`: how strongly each phrase fires its own feature at its own layer (paper A, sec. 2.4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Bool, Int
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch, encode_phrases
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.sae.autoencoder import Encoder, load_encoders
from isogloss.sae.control_features import random_features, shuffled_features
from isogloss.sae.own_feature import measure
from isogloss.tables import TableWriter
from isogloss.tables.layers import iter_layers

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
_PHRASES = 4096  # phrases of a row group


class _Controls(NamedTuple):
    """The control features of a layer's phrases."""

    phrases: Int[np.ndarray, " phrases"]  # ascending
    features: Int[np.ndarray, "phrases two"]  # shuffled, random


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

    A text goes through the model once, no deeper than the deepest of its phrases' layers. No residual
    is written, and no more is held than 4,096 phrases, which are a row group, and the features of one
    layer's phrases (24 bytes a phrase) for the control features.

    Raises `IsoglossError` for a missing or unfitting SAE (`sae`/layer_{l}) and on a NaN, naming
    layer, language and phrase.
    """
    layers = sorted(layers)
    model = load_base_model(lm, last_layer=layers[-1], adapter=adapter, dtype=getattr(torch, compute.dtype))
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
    widths = {layer: len(encoder.b_enc) for layer, encoder in encoders.items()}
    total = _count(translations, widths)
    controls: dict[int, _Controls] = {}
    columns = ["phrase", "layer", "feature", "text", "ids", "chrf"]
    with TableWriter(output, ACTIVATIONS, metadata) as writer, tqdm(total=total, unit="phrase") as bar:
        for rows in iter_layers([translations], sorted(encoders), columns, batch_size=_PHRASES):
            here = rows["layer"].unique().to_list()
            controls = {
                layer: controls.get(layer) or _control_features(translations, layer, widths[layer], seed)
                for layer in here
            }
            present = rows["text"].is_not_null().to_numpy()
            spoken = rows.filter(present)
            first, text = _distinct(spoken)
            texts = spoken[first]
            ids = encode_phrases(
                tokenizer,
                texts["text"],
                texts["phrase"],
                lang=lang,
                context=context_length(model),
                given=texts["ids"].to_list(),
            )
            activation, pre_activation, token_budget = _measure_rows(
                model, encoders, ids, text, spoken["layer"].to_numpy(), _features(spoken, controls), token_budget
            )
            broken = (~torch.isfinite(pre_activation)).any(dim=1).nonzero()
            if len(broken):
                row = int(broken[0])
                raise IsoglossError(
                    f"layer {spoken['layer'][row]}, language {lang}, phrase {spoken['phrase'][row]}: the activation is"
                    " not finite; try compute.dtype float32"
                )
            lengths = np.array([len(tokens) - 1 for tokens in ids], dtype=np.int32)
            writer.write(
                {
                    **{name: rows[name].to_arrow() for name in ("phrase", "layer", "feature", "chrf")},
                    "activation": _where(present, activation[:, 0].numpy()),
                    "pre_activation": _where(present, pre_activation[:, 0].numpy()),
                    "n_tokens": _where(present, lengths[text]),
                    "n_characters": rows["text"].str.len_chars().to_arrow(),
                    "shuffled_activation": _where(present, activation[:, 1].numpy()),
                    "random_activation": _where(present, activation[:, 2].numpy()),
                }
            )
            bar.update(len(rows))
    return token_budget


def _count(translations: str, widths: Mapping[int, int]) -> int:
    """The phrases of the layers in `widths` (their SAEs' features); raises `IsoglossError` if an SAE has too few."""
    total = 0
    for rows in iter_layers([translations], widths, ["layer", "feature"]):
        total += rows.height
        for layer, largest in rows.group_by("layer").agg(pl.col("feature").max()).iter_rows():
            if largest >= widths[layer]:
                raise IsoglossError(
                    f"{translations}: layer {layer} has phrases of feature {largest}, but its SAE has"
                    f" {widths[layer]} features; make the phrases again with this SAE"
                )
    if not total:
        raise IsoglossError(
            f"{translations}: no phrases of layers {list(widths)}; lower phrases.feature_stride or phrases.threshold"
        )
    return total


def _control_features(translations: str, layer: int, dictionary: int, seed: int) -> _Controls:
    """The control features of all phrases of `layer`, whose SAE has `dictionary` features."""
    own = pl.concat(list(iter_layers([translations], [layer], ["phrase", "feature"]))).sort("phrase")
    phrases, features = own["phrase"].to_numpy(), own["feature"].to_numpy()
    return _Controls(
        phrases,
        np.column_stack(
            [
                shuffled_features(features, phrases, layer=layer, seed=seed),
                random_features(features, phrases, layer=layer, dictionary=dictionary, seed=seed),
            ]
        ),
    )


def _features(rows: pl.DataFrame, controls: Mapping[int, _Controls]) -> Int[torch.Tensor, "phrases three"]:
    """Own, shuffled and random feature of each phrase."""
    features = np.empty((rows.height, 3), dtype=np.int64)
    features[:, 0] = rows["feature"].to_numpy()
    phrase, layer = rows["phrase"].to_numpy(), rows["layer"].to_numpy()
    for number, control in controls.items():
        here = layer == number
        features[here, 1:] = control.features[np.searchsorted(control.phrases, phrase[here])]
    return torch.from_numpy(features)


def _distinct(rows: pl.DataFrame) -> tuple[list[int], Int[np.ndarray, " phrases"]]:
    """The first row of each distinct text (ids where given), and which of these every row has."""
    row_of: dict[str | tuple[int, ...], int] = {}
    first: list[int] = []
    which = np.empty(rows.height, dtype=np.int64)
    for row, (text, ids) in enumerate(rows.select("text", "ids").iter_rows()):
        key = text if ids is None else tuple(ids)
        if key not in row_of:
            row_of[key] = len(first)
            first.append(row)
        which[row] = row_of[key]
    return first, which


def _where(present: Bool[np.ndarray, " phrases"], values: np.ndarray) -> pa.Array:
    """`values` of the phrases that are `present`, null for the others."""
    whole = np.zeros(len(present), dtype=values.dtype)
    whole[present] = values
    return pa.array(whole, mask=~present)


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
        position = np.full(len(ids), -1)
        position[batch.rows] = np.arange(len(batch.rows))
        row = position[text]  # of each phrase's text in the batch, -1 if it is not there
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
