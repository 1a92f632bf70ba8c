"""Length-bucketed, right-padded batches under a token budget, BOS first."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from isogloss.errors import IsoglossError
from isogloss.models.tokenization import token_ids

logger = logging.getLogger(__name__)

_PADDED = 1.15  # a batch with more tokens than this, padding included, for each real one is closed early,
_SMALLEST = 16  # unless it is below this part of the budget, where a forward's fixed cost is dearer than padding


class Batch(NamedTuple):
    """Texts that go through the model together."""

    rows: list[int]  # which of the texts, by position in the sequence that was batched
    input_ids: Int[Tensor, "batch pos"]  # BOS first, right-padded
    attention_mask: Int[Tensor, "batch pos"]
    content: Bool[Tensor, "batch pos"]  # True on the text's own tokens: neither BOS nor padding


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    given: Sequence[Sequence[int] | None] | None = None,
) -> list[list[int]]:
    """Token ids of each text, BOS first exactly once: the ids `given` for it (without BOS), else its own.

    A text with given ids is not tokenised: the model reads what was recorded, however the text would
    come out. Raises `IsoglossError` for a text without any token of its own.
    """
    encoded = list(given) if given is not None else [None] * len(texts)
    plain = [row for row, ids in enumerate(encoded) if ids is None]
    if plain:
        for row, ids in zip(plain, token_ids(tokenizer, [texts[row] for row in plain]), strict=True):
            encoded[row] = ids
    bos = tokenizer.bos_token_id
    assert isinstance(bos, int)
    result: list[list[int]] = []
    for row, ids in enumerate(encoded):
        if not ids:
            raise IsoglossError(f"text {row} is empty ({texts[row]!r}); every phrase needs at least one token")
        result.append([bos, *ids])
    return result


def encode_phrases(
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    phrases: Iterable[int],
    *,
    lang: str,
    context: int,
    given: Sequence[Sequence[int] | None] | None = None,
) -> list[list[int]]:
    """Token ids of each phrase, BOS first, those `given` for it where there are any (`encode_texts`).

    Raises `IsoglossError` naming language and phrase for one without tokens or longer than `context`.
    """
    texts, phrases = list(texts), list(phrases)
    for phrase, text, ids in zip(phrases, texts, given or [None] * len(texts), strict=True):
        if not (text if ids is None else ids):
            raise IsoglossError(f"language {lang}, phrase {phrase}: empty text; translate it again")
    encoded = encode_texts(tokenizer, texts, given=given)
    for phrase, ids in zip(phrases, encoded, strict=True):
        if len(ids) > context:
            raise IsoglossError(
                f"language {lang}, phrase {phrase}: {len(ids)} tokens, but the model reads {context};"
                " lower phrases.window"
            )
    return encoded


def make_batches(
    ids: Sequence[Sequence[int]], *, token_budget: int, depth: Sequence[int] | None = None, pad_id: int = 0
) -> Iterator[Batch]:
    """Batches of at most `token_budget` tokens, padding included, rows of like length together.

    With `depth` (the last layer that each text is needed at), texts of like depth go together, so
    that a forward can stop early. The order is a function of the texts alone. A text longer than the
    budget makes a batch of its own; a batch stays below the budget where padding would take over.
    """
    order = sorted(range(len(ids)), key=lambda row: (depth[row] if depth else 0, len(ids[row]), row))
    start = 0
    while start < len(order):
        stop = start
        tokens = 0
        while stop < len(order):
            row = order[stop]
            size = len(ids[row]) * (stop + 1 - start)
            wasteful = size > _PADDED * (tokens + len(ids[row])) and size > token_budget // _SMALLEST
            other_depth = depth is not None and depth[row] != depth[order[start]]
            if stop > start and (size > token_budget or wasteful or other_depth):
                break
            tokens += len(ids[row])
            stop += 1
        yield collate([ids[row] for row in order[start:stop]], rows=order[start:stop], pad_id=pad_id)
        start = stop


def each_batch(
    ids: Sequence[Sequence[int]],
    work: Callable[[Batch], None],
    *,
    token_budget: int,
    depth: Sequence[int] | None = None,
    pad_id: int = 0,
) -> int:
    """Call `work` on every batch of `make_batches`; returns the token budget that fitted.

    When the device runs out of memory, the budget is halved and the texts not yet done go on in
    smaller batches. `work` may therefore see a text twice: it must store results by row, not add
    them up. Raises `IsoglossError` if a single text does not fit.
    """
    left = list(range(len(ids)))
    while left:
        done: set[int] = set()
        for batch in make_batches(
            [ids[row] for row in left],
            token_budget=token_budget,
            depth=None if depth is None else [depth[row] for row in left],
            pad_id=pad_id,
        ):
            batch = batch._replace(rows=[left[row] for row in batch.rows])
            try:
                work(batch)
            except torch.OutOfMemoryError as error:
                if len(batch.rows) == 1:
                    raise IsoglossError(
                        f"out of device memory on a single text of {batch.input_ids.numel()} tokens;"
                        " use a device with more memory or compute.dtype bfloat16"
                    ) from error
                token_budget = min(token_budget, batch.input_ids.numel()) // 2
                break
            done.update(batch.rows)
        left = [row for row in left if row not in done]
        if left:  # outside the handler, where the failed forward's tensors are free again
            logger.warning("out of device memory: going on with a token budget of %d", token_budget)
            torch.cuda.empty_cache()
    return token_budget


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
