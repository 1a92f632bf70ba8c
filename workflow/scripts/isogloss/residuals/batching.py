"""Length-bucketed, right-padded batches under a token budget, BOS first."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from isogloss.errors import IsoglossError


class Batch(NamedTuple):
    """Texts that go through the model together."""

    rows: list[int]  # which of the texts, by position in the sequence that was batched
    input_ids: Int[Tensor, "batch pos"]  # BOS first, right-padded
    attention_mask: Int[Tensor, "batch pos"]
    content: Bool[Tensor, "batch pos"]  # True on the text's own tokens: neither BOS nor padding


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
    """Token ids of each text, BOS first exactly once, cut at `max_length` tokens.

    Raises `IsoglossError` for a text without any token of its own.
    """
    encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # type: ignore[assignment]
    bos = tokenizer.bos_token_id
    assert isinstance(bos, int)
    for row, ids in enumerate(encoded):
        if not ids:
            raise IsoglossError(f"text {row} is empty ({texts[row]!r}); every phrase needs at least one token")
    return [[bos, *ids][:max_length] for ids in encoded]


def make_batches(
    ids: Sequence[Sequence[int]], *, token_budget: int, depth: Sequence[int] | None = None, pad_id: int = 0
) -> Iterator[Batch]:
    """Batches of at most `token_budget` tokens, padding included, rows of like length together.

    With `depth` (the last layer that each text is needed at), texts of like depth go together, so
    that a forward can stop early. The order is a function of the texts alone. A text longer than the
    budget makes a batch of its own.
    """
    order = sorted(range(len(ids)), key=lambda row: (depth[row] if depth else 0, len(ids[row]), row))
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and len(ids[order[stop]]) * (stop + 1 - start) <= token_budget
            and (depth is None or depth[order[stop]] == depth[order[start]])
        ):
            stop += 1
        yield collate([ids[row] for row in order[start:stop]], rows=order[start:stop], pad_id=pad_id)
        start = stop


def collate(ids: Sequence[Sequence[int]], *, rows: list[int] | None = None, pad_id: int = 0) -> Batch:
    """Pad token ids (BOS first) on the right into one batch."""
    width = max(map(len, ids))
    input_ids = torch.full((len(ids), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(ids), width), dtype=torch.long)
    for row, sequence in enumerate(ids):
        input_ids[row, : len(sequence)] = torch.tensor(sequence)
        attention_mask[row, : len(sequence)] = 1
    content = attention_mask.bool()
    content[:, 0] = False
    return Batch(rows if rows is not None else list(range(len(ids))), input_ids, attention_mask, content)
