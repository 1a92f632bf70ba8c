"""The distinct texts of many phrases, each to be read once, in groups large enough to batch well."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from isogloss.models.batching import encode_phrases


class Distinct(NamedTuple):
    """Which text each row has; texts are numbered in the order of their first rows."""

    number: Int[np.ndarray, " rows"]  # of the row's text; -1 where the text is null
    first: Int[np.ndarray, " texts"]  # the first row of each text, ascending


class TextGroup(NamedTuple):
    """Consecutive texts."""

    start: int  # the number of the first
    ids: list[list[int]]  # of each, BOS first
    phrases: list[int]  # the first phrase that has each


def distinct_texts(tables: Iterable[pl.DataFrame]) -> Distinct:
    """Number the texts in the columns `text` and `ids` of consecutive tables: equal ids, or equal texts without ids.

    A text with ids and one without are two, whatever they spell. Memory holds a digest of 16 bytes a row, and while
    these are sorted 24 more; 4 bytes a row and 8 a text stay.
    """
    parts = [_digests(table) for table in tables]
    digests = np.concatenate(parts) if parts else np.empty(0, "S16")
    del parts
    present = np.flatnonzero(digests != b"")
    _, first, which = np.unique(digests[present], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), dtype=np.int32)
    rank[order] = np.arange(len(first), dtype=np.int32)
    number = np.full(len(digests), -1, dtype=np.int32)
    number[present] = rank[which]
    return Distinct(number, present[first[order]])


def _digests(table: pl.DataFrame) -> np.ndarray:
    """16 bytes for each row's text, none where it is null."""

    def digest(text: str | None, ids: list[int] | None) -> bytes:
        if text is None:
            return b""
        content = b"t" + text.encode() if ids is None else b"i" + np.array(ids, dtype=np.int64).tobytes()
        # NumPy takes zeros at the end for padding: two digests that differ still do.
        return blake2b(content, digest_size=16).digest()

    return np.array([digest(*row) for row in table.select("text", "ids").iter_rows()], dtype="S16")


def each_group(
    tables: Iterable[pl.DataFrame],
    distinct: Distinct,
    tokenizer: PreTrainedTokenizerBase,
    *,
    lang: str,
    context: int,
    tokens: int,
) -> Iterator[TextGroup]:
    """The texts of the `tables` that `distinct` numbers, in order, at least `tokens` tokens at a time but for the last.

    The tables have the columns `phrase`, `text` and `ids`; a group is larger than `tokens` by at most one table's
    texts. Raises `IsoglossError` naming language and phrase for a text without tokens or longer than `context`.
    """
    ids: list[list[int]] = []
    phrases: list[int] = []
    start = row = waiting = 0
    for table in tables:
        low, high = np.searchsorted(distinct.first, [row, row + len(table)])
        new = table[distinct.first[low:high] - row]
        row += len(table)
        own = new["phrase"].to_list()
        read = encode_phrases(tokenizer, new["text"], own, lang=lang, context=context, given=new["ids"].to_list())
        ids += read
        phrases += own
        waiting += sum(map(len, read))
        if waiting >= tokens:
            yield TextGroup(start, ids, phrases)
            start += len(ids)
            ids, phrases, waiting = [], [], 0
    if ids:
        yield TextGroup(start, ids, phrases)
