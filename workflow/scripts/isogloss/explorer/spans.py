"""Texts that features are shown in: their tokens, and how strongly each token fires the feature."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from isogloss.bilingual.examples import token_strings
from isogloss.config.measures import Compute
from isogloss.errors import IsoglossError
from isogloss.models.architecture import decoder_of
from isogloss.models.batching import Batch, each_batch, encode_phrases
from isogloss.models.hooks import visit_residuals
from isogloss.models.loading import context_length, load_base_model, load_tokenizer
from isogloss.models.path import kernels_of, reads_padding
from isogloss.sae.autoencoder import Encoder, activations, load_encoders

PHRASE, CONTEXT = "phrase", "context"
SHOWN = 64  # tokens of a text, round the strongest
_LARGEST = 2**24  # numbers of a full-width encoding held at once
_OVERLAP = 4  # tokens before those shown that their first character may begin in: UTF-8 has at most four bytes


class Span(NamedTuple):
    """A text in which a feature is shown."""

    layer: int
    feature: int
    kind: str  # PHRASE: in every language; CONTEXT: of one language's strongest
    item: int  # which of them, the strongest first
    lang: str
    origin: str  # the language in which it was chosen
    name: str  # of the phrase or the segment
    text: str | None  # None: no usable translation
    ids: tuple[int, ...] | None  # of a phrase cut out of a text: what the model reads, BOS left out


def measured_spans(
    spans: Sequence[Span], *, lm: str, sae: str, compute: Compute
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row of the explorer's table for each span, from one forward of its distinct texts to its layer.

    Beside them the path that the forward took (`kernels_of`), nothing without spans. Tokens are those that the model
    reads, BOS left out, at most `SHOWN` round the strongest. Memory holds the tokens and activations of all spans, and
    2**24 numbers of an encoding. Raises `IsoglossError` for a missing or unfitting SAE (`sae`/layer_{l}), a text longer
    than the model reads, and a NaN, naming layer, language and feature.
    """
    if not spans:
        return [], {}
    layers = sorted({span.layer for span in spans})
    model = load_base_model(lm, last_layer=layers[-1], dtype=getattr(torch, compute.dtype), kernels=compute.kernels)
    tokenizer = load_tokenizer(lm)
    encoders = load_encoders(
        {layer: Path(sae) / f"layer_{layer}" for layer in layers},
        d_model=decoder_of(model).d_model,
        device=next(model.parameters()).device,
        features={layer: torch.tensor([span.feature for span in spans if span.layer == layer]) for layer in layers},
    )
    ids = _token_ids(spans, tokenizer, context_length(model))
    values = token_activations(model, encoders, spans, ids, token_budget=compute.token_budget)
    return list(_rows(spans, ids, values, tokenizer)), kernels_of(model)


def _rows(
    spans: Sequence[Span],
    ids: Sequence[tuple[int, ...] | None],
    values: Sequence[np.ndarray | None],
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[dict[str, Any]]:
    """A row a span from what is read of it and the activations of that."""

    @cache
    def strings(own: tuple[int, ...]) -> list[str]:
        return token_strings(tokenizer, own)

    for span, own, fired in zip(spans, ids, values, strict=True):
        row = {**span._asdict(), "sae": "phrases", "n_characters": None if span.text is None else len(span.text)}
        if own is None or fired is None:
            yield row
            continue
        if not np.isfinite(fired).all():
            raise IsoglossError(
                f"layer {span.layer}, language {span.lang}, feature {span.feature}: the activation is not finite; try"
                " compute.dtype float32"
            )
        peak = int(fired.argmax())
        first = max(0, min(peak - SHOWN // 2, len(fired) - SHOWN))
        stop, begin = min(len(fired), first + SHOWN), max(0, first - _OVERLAP)
        yield row | {
            "activation": float(fired.max()),
            "n_tokens": len(fired),
            "first": first,
            "tokens": strings(own[1:][begin:stop])[first - begin :],
            "activations": fired[first:stop].tolist(),
        }


def _token_ids(spans: Sequence[Span], tokenizer: PreTrainedTokenizerBase, context: int) -> list[tuple[int, ...] | None]:
    """What the model reads of each span, BOS first; None without a text."""
    ids: list[tuple[int, ...] | None] = [None] * len(spans)
    for lang in dict.fromkeys(span.lang for span in spans):
        rows = [row for row, span in enumerate(spans) if span.lang == lang and span.text is not None]
        read = encode_phrases(
            tokenizer,
            [spans[row].text or "" for row in rows],
            rows,
            lang=lang,
            context=context,
            given=[spans[row].ids for row in rows],
        )
        for row, own in zip(rows, read, strict=True):
            ids[row] = tuple(own)
    return ids


@torch.no_grad()
def token_activations(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    spans: Sequence[Span],
    ids: Sequence[tuple[int, ...] | None],
    *,
    token_budget: int,
) -> list[np.ndarray | None]:
    """The activation of each span's feature at its own tokens; each text goes through the model once a layer."""
    texts: dict[tuple[int, tuple[int, ...]], list[int]] = {}  # by layer and what is read: which spans
    for row, (span, own) in enumerate(zip(spans, ids, strict=True)):
        if own is not None:
            texts.setdefault((span.layer, own), []).append(row)
    keys = list(texts)
    values: list[np.ndarray | None] = [None] * len(spans)

    def work(batch: Batch) -> None:
        def visit(layer: int, residual: Tensor) -> None:
            encoder = encoders[layer]
            here = [at for at, row in enumerate(batch.rows) if keys[row][0] == layer]
            size = max(1, _LARGEST // (residual.shape[1] * encoder.width))
            for start in range(0, len(here), size):
                part = here[start : start + size]
                rows = [row for at in part for row in texts[keys[batch.rows[at]]]]
                features, slot = np.unique([spans[row].feature for row in rows], return_inverse=True)
                column = dict(zip(rows, slot.tolist(), strict=True))
                fired = activations(encoder, residual[part], torch.from_numpy(features).to(residual.device))
                broken = residual[part].isnan().any(dim=-1, keepdim=True)
                fired = torch.where(broken, torch.nan, fired).cpu().numpy()  # [texts, pos, features]
                for number, at in enumerate(part):
                    key = keys[batch.rows[at]]
                    for row in texts[key]:
                        values[row] = fired[number, 1 : len(key[1]), column[row]].copy()

        visit_residuals(model, batch, sorted({keys[row][0] for row in batch.rows}), visit)

    if keys:
        depth = [layer for layer, _ in keys]
        read = [list(own) for _, own in keys]
        each_batch(read, work, token_budget=token_budget, depth=depth, padded=reads_padding(model))
    return values
