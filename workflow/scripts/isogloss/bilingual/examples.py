"""Features shown by their strongest contexts in every language that they fire in (paper C, Figs. 4 and 7)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from isogloss.bilingual.classes import SILENT
from isogloss.bilingual.patterns import Documents, Patterns
from isogloss.models.batching import Batch, each_batch
from isogloss.models.hooks import visit_residuals
from isogloss.models.path import reads_padding
from isogloss.sae.autoencoder import Encoder, activations
from isogloss.sae.top_windows import round_to_16_bits

PART = "◌"  # stands for a token that ends inside a character; the token that completes it shows it
_WINDOW = 8  # tokens on each side of the peak
_CONTEXTS = 4  # of a feature in each language
_CANDIDATES = 4 * _CONTEXTS  # since some show the same tokens as another
_OVERLAP = 4  # tokens before a window that its first character may begin in: UTF-8 has at most four bytes
_LARGEST = 2**24  # numbers of a full-width encoding held at once


class Context(NamedTuple):
    """Where a feature peaks in a document."""

    layer: int
    feature: int
    rank: int  # 0 is the strongest of the feature in its language
    language: int
    document: int  # row of the table of tokens
    position: int


class Source(NamedTuple):
    """A document that contexts stand in."""

    name: str
    ids: list[int]  # BOS first


def choose_features(
    classes: Sequence[str],
    monosemanticity: Float[np.ndarray, " features"],
    n_activations: Int[np.ndarray, " features"],
    n_tokens_distinct: Int[np.ndarray, " features"],
    per_class: int,
) -> dict[int, str]:
    """Up to `per_class` features of each class but "silent", and why: "top" or "median".

    Of the class' features with at least its median number of counted activations and at least two
    tokens (all of the class where these are too few), ordered by monosemanticity, then activations,
    then number, half are the first and half stand round the middle: not only the best are shown.
    """
    names = np.array(classes)
    chosen: dict[int, str] = {}
    for name in sorted(set(classes) - {SILENT}):
        members = np.flatnonzero(names == name)
        strong = (n_activations[members] >= np.median(n_activations[members])) & (n_tokens_distinct[members] > 1)
        pool = members[strong] if strong.sum() >= per_class else members
        pool = pool[np.lexsort((pool, -n_activations[pool], -monosemanticity[pool]))]
        top = pool[: (per_class + 1) // 2]
        others = pool[len(top) :]
        wanted = per_class - len(top)
        first = int(np.clip(len(pool) // 2 - wanted // 2 - len(top), 0, max(0, len(others) - wanted)))
        chosen |= dict.fromkeys(top.tolist(), "top")
        chosen |= dict.fromkeys(others[first : first + wanted].tolist(), "median")
    return chosen


def strongest_contexts(patterns: Patterns, layer: int, features: Sequence[int]) -> list[Context]:
    """The strongest counted entries of each feature and language, one a document, of equal ones the earliest.

    Values are compared to 16 significant bits, so that batches do not change the choice.
    """
    kept: np.ndarray | None = None
    for entries in patterns.chunks():
        entries = entries[np.isin(entries["feature"], np.array(list(features), dtype=np.int32))]
        kept = _strongest(entries if kept is None else np.concatenate([kept, entries]))
    if kept is None:
        return []
    rank = _rank(kept)
    columns = (kept["feature"], rank, kept["language"], kept["document"], kept["position"])
    return [Context(layer, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _strongest(entries: np.ndarray) -> np.ndarray:
    """The `_CANDIDATES` strongest of each feature and language, feature by feature, one a document."""
    value = round_to_16_bits(torch.from_numpy(entries["value"].copy())).numpy()
    order = np.lexsort((entries["position"], entries["document"], -value, entries["language"], entries["feature"]))
    entries = entries[order]
    pair = entries["feature"].astype(np.int64) << 32 | entries["document"]
    entries = entries[np.sort(np.unique(pair, return_index=True)[1])]
    return entries[_rank(entries) < _CANDIDATES]


def _rank(entries: np.ndarray) -> Int[np.ndarray, " entries"]:
    """The rank of each entry among those of its feature and language, which stand together."""
    if not len(entries):
        return np.zeros(0, dtype=np.int64)
    group = entries["feature"].astype(np.int64) << 32 | entries["language"]
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    return np.arange(len(entries)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(entries)]])))


def sources(documents: Iterator[Documents], wanted: set[int]) -> dict[int, Source]:
    """The documents at the rows `wanted` of a table of tokens."""
    by_row: dict[int, Source] = {}
    for group in documents:
        for row in sorted(wanted.intersection(range(group.first, group.first + len(group.ids)))):
            by_row[row] = Source(group.names[row - group.first], group.ids[row - group.first])
    return by_row


def distinct_contexts(contexts: Sequence[Context], documents: Mapping[int, Source]) -> list[Context]:
    """The first `_CONTEXTS` of each feature and language that show other tokens than those before, ranked anew."""
    shown: dict[tuple[int, int, int], list[tuple[int, list[int]]]] = {}
    result: list[Context] = []
    for context in contexts:
        first, stop = _window(context, documents[context.document].ids)
        window = (context.position - first, documents[context.document].ids[first:stop])
        before = shown.setdefault((context.layer, context.feature, context.language), [])
        if window not in before and len(before) < _CONTEXTS:
            result.append(context._replace(rank=len(before)))
            before.append(window)
    return result


def _window(context: Context, ids: Sequence[int]) -> tuple[int, int]:
    """Where the shown tokens begin and end (exclusive); BOS is left out."""
    return max(1, context.position - _WINDOW), min(len(ids), context.position + _WINDOW + 1)


@torch.no_grad()
def context_activations(
    model: nn.Module,
    encoders: Mapping[int, Encoder],
    contexts: Sequence[Context],
    documents: Mapping[int, Source],
    *,
    token_budget: int,
) -> list[list[float]]:
    """The activations of each context's feature on the tokens shown, from one forward of the chosen documents alone."""
    values: list[list[float]] = [[] for _ in contexts]
    if not contexts:
        return values
    rows = sorted({context.document for context in contexts})
    of_layer = {
        layer: [number for number, context in enumerate(contexts) if context.layer == layer] for layer in encoders
    }

    def work(batch: Batch) -> None:
        local = {rows[row]: number for number, row in enumerate(batch.rows)}

        def visit(layer: int, residual: Tensor) -> None:
            encoder = encoders[layer]
            here = [number for number in of_layer[layer] if contexts[number].document in local]
            size = max(1, _LARGEST // (residual.shape[1] * len(encoder.b_enc)))
            for start in range(0, len(here), size):
                part = here[start : start + size]
                features, slot = np.unique([contexts[number].feature for number in part], return_inverse=True)
                streams = residual[[local[contexts[number].document] for number in part]]
                whole = activations(encoder, streams, torch.from_numpy(features).to(residual.device))
                own = whole[torch.arange(len(part)), :, torch.from_numpy(slot)].cpu()  # [contexts, pos]
                for number, line in zip(part, own, strict=True):
                    first, stop = _window(contexts[number], documents[contexts[number].document].ids)
                    values[number] = line[first:stop].tolist()

        visit_residuals(model, batch, list(encoders), visit)

    ids = [documents[row].ids for row in rows]
    each_batch(ids, work, token_budget=token_budget, padded=reads_padding(model))
    return values


def example_rows(
    contexts: Sequence[Context],
    values: Sequence[Sequence[float]],
    documents: Mapping[int, Source],
    tokenizer: PreTrainedTokenizerBase,
    languages: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """A row of the table of examples for each context, without what is known of its feature."""
    for context, line in zip(contexts, values, strict=True):
        ids = documents[context.document].ids
        first, stop = _window(context, ids)
        begin = max(1, first - _OVERLAP)
        yield {
            "layer": context.layer,
            "feature": context.feature,
            "rank": context.rank,
            "lang": languages[context.language],
            "document": documents[context.document].name,
            "position": context.position,
            "tokens": token_strings(tokenizer, ids[begin:stop])[first - begin :],
            "activations": list(line),
        }


def token_strings(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each token adds, as a reader sees it.

    A character of several bytes is shown by the token that completes it; a token that completes none
    is "◌".
    """
    strings: list[str] = []
    known = ""
    for stop in range(1, len(ids) + 1):
        text = tokenizer.decode(list(ids[:stop]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        whole = text.rstrip("\ufffd")  # what the first bytes of a character are decoded as
        strings.append(whole[len(known) :] or (PART if whole != text else ""))
        known = whole
    return strings
