"""Stage `encode`: how strongly each phrase fires its own feature at its own layer (paper A, sec. 2.4)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.background import ahead, behind
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, Finish, beside_gpu, each_batch
from isogloss.models.finite import remedy
from isogloss.models.fused.faster import compile_layers
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of, reads_padding
from isogloss.models.transfer import read_back, sent
from isogloss.sae.autoencoder import Encoder, holds_columns, load_encoders, sae_width
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
_MEASURED = ("activation", "shuffled_activation", "random_activation", "pre_activation", "n_tokens")
_PHRASES = 4096  # phrases of a row group
_TOKENS = 20  # of a phrase, about
_BUDGETS = 32  # token budgets of texts that are sorted by depth and length together;
_BUDGETS_BESIDE = 4  # beside a GPU fewer, since it waits for the first ones to be tokenised


class _Phrases(NamedTuple):
    """The phrases of a language, in order, and what is measured of them."""

    lang: str
    path: str
    layer: Int[np.ndarray, " phrases"]
    features: Int[np.ndarray, "phrases three"]  # own, shuffled, random
    text: Int[np.ndarray, " phrases"]  # its number; -1 where there is none
    texts: int
    activation: Float[np.ndarray, "phrases three"]
    pre_activation: Float[np.ndarray, "phrases three"]
    n_tokens: Int[np.ndarray, " phrases"]

    def read(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Their table, some rows at a time."""
        return iter_layers([self.path], np.unique(self.layer).tolist(), columns, batch_size=_PHRASES)


class _Group(NamedTuple):
    """Texts that are sorted by depth and length together, and their phrases."""

    phrases: _Phrases
    ids: list[list[int]]
    own: Int[np.ndarray, " pairs"]  # the phrases, by position in the language, text by text
    text: Int[np.ndarray, " pairs"]  # of each, by position in the group


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
    100 bytes a phrase of the job: its text's number, layer, features and values (`isogloss.text.distinct`). Beside a
    GPU phrases are read, tokenised and written in threads, the next language's and the last one's while it computes.

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
    folders = {layer: Path(sae) / f"layer_{layer}" for layer in layers}
    encoders = load_encoders(
        folders,
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
        features=_wanted(translations, folders, seed),
    )
    metadata = {**metadata, **kernels_of(model)}
    token_budget, beside = compute.token_budget, beside_gpu()
    tokens = (_BUDGETS_BESIDE if beside else _BUDGETS) * token_budget
    reading = _groups(translations, encoders, tokenizer, context=context_length(model), tokens=tokens, seed=seed)
    with ahead(reading, threaded=beside) as groups, behind(threaded=beside) as call, ExitStack() as stack:
        bar: tqdm | None = None
        for group in groups:
            lang = group.phrases.lang
            if bar is None:
                bar = stack.enter_context(tqdm(total=group.phrases.texts, unit="text", desc=f"encoding {lang}"))
            if group.ids:
                token_budget = _measure(model, encoders, group, token_budget)
                _require_finite(group, remedy(model, read="the SAE"))
                bar.update(len(group.ids))
            else:
                stack.close()
                bar = None
                call(_write, outputs[lang], {**metadata, "lang": lang}, group.phrases)


def _groups(
    translations: Mapping[str, str],
    encoders: Mapping[int, Encoder],
    tokenizer: PreTrainedTokenizerBase,
    *,
    context: int,
    tokens: int,
    seed: int,
) -> Iterator[_Group]:
    """The texts of language after language, each of which ends with a group of none."""
    for lang, path in translations.items():
        read = partial(iter_layers, [path], sorted(encoders), batch_size=_PHRASES)
        widths = {layer: encoder.width for layer, encoder in encoders.items()}
        layer, features = _pairs(read(["phrase", "layer", "feature"]), path, widths, seed)
        texts = distinct_texts(read(["text", "ids"]))
        phrases = _Phrases(
            lang,
            path,
            layer,
            features,
            texts.number,
            len(texts.first),
            activation=np.zeros(features.shape, dtype=np.float32),
            pre_activation=np.zeros(features.shape, dtype=np.float32),
            n_tokens=np.zeros(len(layer), dtype=np.int32),
        )
        by_text = np.argsort(texts.number, kind="stable")[(texts.number < 0).sum() :]
        bounds = np.searchsorted(texts.number[by_text], np.arange(len(texts.first) + 1))
        rows = read(["phrase", "text", "ids"])
        for group in each_group(rows, texts, tokenizer, lang=lang, context=context, tokens=tokens):
            own = by_text[bounds[group.start] : bounds[group.start + len(group.ids)]]
            yield _Group(phrases, group.ids, own, texts.number[own] - group.start)
        yield _Group(phrases, [], by_text[:0], by_text[:0])


def _require_finite(group: _Group, mend: str) -> None:
    """Raises `IsoglossError` naming layer, language and phrase of what is not finite in the values of a group."""
    phrases = group.phrases
    if (broken := group.own[~np.isfinite(phrases.pre_activation[group.own]).all(axis=1)]).size:
        row = int(broken.min())
        phrase = pl.concat(list(phrases.read(["phrase"])))["phrase"][row]
        raise IsoglossError(
            f"layer {phrases.layer[row]}, language {phrases.lang}, phrase {phrase}: the activation is not finite;"
            f" {mend}"
        )


def _write(output: str, metadata: Mapping[str, Any], phrases: _Phrases) -> None:
    """Write one language's table: the phrases with their values, null where they have no text."""
    values = dict(zip(_MEASURED, [*phrases.activation.T, phrases.pre_activation[:, 0], phrases.n_tokens], strict=True))
    absent = phrases.text < 0
    start = 0
    with TableWriter(output, ACTIVATIONS, metadata) as writer:
        for rows in phrases.read(["phrase", "layer", "feature", "text", "chrf"]):
            here = slice(start, start + len(rows))
            start += len(rows)
            writer.write(
                {
                    **{name: rows[name].to_arrow() for name in ("phrase", "layer", "feature", "chrf")},
                    **{name: pa.array(column[here], mask=absent[here]) for name, column in values.items()},
                    "n_characters": rows["text"].str.len_chars().to_arrow(),
                }
            )


def _wanted(
    translations: Mapping[str, str], folders: Mapping[int, Path], seed: int
) -> dict[int, Int[torch.Tensor, " features"]] | None:
    """By layer the features that are measured in any language; None where encoders are needed whole."""
    if not any(map(holds_columns, folders.values())):
        return None
    wanted = {layer: np.zeros(sae_width(folder), dtype=bool) for layer, folder in folders.items()}
    widths = {layer: len(each) for layer, each in wanted.items()}
    for path in translations.values():
        tables = iter_layers([path], sorted(folders), ["phrase", "layer", "feature"], batch_size=_PHRASES)
        layer_of, features = _pairs(tables, path, widths, seed)
        for layer, each in wanted.items():
            each[features[layer_of == layer]] = True
    return {layer: torch.from_numpy(np.flatnonzero(each)) for layer, each in wanted.items()}


def _pairs(
    tables: Iterable[pl.DataFrame], path: str, widths: Mapping[int, int], seed: int
) -> tuple[Int[np.ndarray, " phrases"], Int[np.ndarray, "phrases three"]]:
    """Layer of each phrase; own, shuffled and random feature.

    Raises `IsoglossError` if there is none, and for an SAE of fewer features (`widths`, by layer) than phrases name.
    """
    own = pl.concat([pl.DataFrame(schema={"phrase": pl.Int64, "layer": pl.Int32, "feature": pl.Int32}), *tables])
    if not own.height:
        raise IsoglossError(
            f"{path}: no phrases of layers {list(widths)}; lower phrases.feature_stride or phrases.threshold"
        )
    phrases, layers, feature = (own[name].to_numpy() for name in ("phrase", "layer", "feature"))
    features = np.empty((len(feature), 3), dtype=np.int32)
    features[:, 0] = feature
    for layer in np.unique(layers).tolist():
        here, width = layers == layer, widths[layer]
        if (largest := feature[here].max()) >= width:
            raise IsoglossError(
                f"{path}: layer {layer} has phrases of feature {largest}, but its SAE has"
                f" {width} features; make the phrases again with this SAE"
            )
        features[here, 1] = shuffled_features(feature[here], phrases[here], layer=layer, seed=seed)
        features[here, 2] = random_features(feature[here], phrases[here], layer=layer, dictionary=width, seed=seed)
    return layers, features


@torch.no_grad()
def _measure(model: nn.Module, encoders: Mapping[int, Encoder], group: _Group, token_budget: int) -> int:
    """Put activation and pre-activation of the features of the group's phrases; returns the budget that fitted."""
    phrases, own = group.phrases, group.own
    layer_of = phrases.layer[own]
    lengths = np.array([len(ids) - 1 for ids in group.ids])
    phrases.n_tokens[own] = lengths[group.text]
    for values in (phrases.activation, phrases.pre_activation):
        values[own] = np.nan
    depth = np.zeros(len(group.ids), dtype=np.int32)
    np.maximum.at(depth, group.text, layer_of)

    def work(batch: Batch) -> Finish:
        position = np.full(len(group.ids), -1)
        position[batch.rows] = np.arange(len(batch.rows))
        here = np.flatnonzero(position[group.text] >= 0)
        here = here[np.argsort(layer_of[here], kind="stable")]
        layers, first = np.unique(layer_of[here], return_index=True)
        index = [torch.from_numpy(each) for each in (position[group.text[here]], phrases.features[own[here]])]
        if batch.content.is_pinned():
            index = [each.pin_memory() for each in index]
        parts = zip(*(each.tensor_split(first[1:].tolist()) for each in index), strict=True)
        wanted = dict(zip(layers.tolist(), parts, strict=True))
        content = sent(batch.content, next(model.parameters()).device)
        measured: list[Measured] = []

        def visit(layer: int, residual: torch.Tensor) -> None:
            measured.append(measure(encoders[layer], residual, content.to(residual.device), *wanted[layer]))

        visit_residuals(model, batch, list(wanted), visit)
        columns = zip(*measured, strict=True)
        arrived = read_back([torch.cat([part.to(content.device) for part in column]) for column in columns])

        def finish() -> None:
            activation, pre_activation = arrived()
            phrases.activation[own[here]] = activation.numpy()
            phrases.pre_activation[own[here]] = pre_activation.numpy()

        return finish

    return each_batch(group.ids, work, token_budget=token_budget, depth=depth.tolist(), padded=reads_padding(model))
