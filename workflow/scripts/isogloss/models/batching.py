"""Length-bucketed, right-padded batches under a token budget, BOS first."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from isogloss.background import ahead
from isogloss.errors import IsoglossError, shown
from isogloss.models.batch_rows import batch_rows
from isogloss.models.tokenization import token_ids

logger = logging.getLogger(__name__)

# What launching a decoder layer's kernels costs on a GPU, in tokens that it would compute meanwhile: some 55 kernels
# at 7 microseconds are .4 ms, in which an H100 does 800 tokens of a 2B model as transformers does it, and 2,000 at the
# rate of the matrix products alone. Launches run ahead of all but small batches, so rather too little than too much.
_LAUNCH = 1024

Finish = Callable[[], None]


def beside_gpu() -> bool:
    """Whether a GPU computes, beside which other work goes on in threads."""
    return torch.cuda.is_available()


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
    name: Callable[[int], str] = "text {}".format,
) -> list[list[int]]:
    """Token ids of each text, BOS first exactly once: the ids `given` for it (without BOS), else its own.

    A text with given ids is not tokenised: the model reads what was recorded, however the text would
    come out. Raises `IsoglossError` for a text without any token of its own, which is called its `name`.
    """
    encoded: list[Sequence[int] | None] = list(given) if given is not None else [None] * len(texts)
    plain = [row for row, ids in enumerate(encoded) if ids is None]
    if plain:
        for row, ids in zip(plain, token_ids(tokenizer, [texts[row] for row in plain]), strict=True):
            encoded[row] = ids
    bos = tokenizer.bos_token_id
    assert isinstance(bos, int)
    result: list[list[int]] = []
    for row, ids in enumerate(encoded):
        if not ids:
            raise IsoglossError(
                f"{name(row)}: the model's tokenizer makes no token of {shown(texts[row])}; correct it, or leave it out"
            )
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
    encoded = encode_texts(tokenizer, texts, given=given, name=lambda row: f"language {lang}, phrase {phrases[row]}")
    for phrase, ids in zip(phrases, encoded, strict=True):
        if len(ids) > context:
            raise IsoglossError(
                f"language {lang}, phrase {phrase}: {len(ids)} tokens, but the model reads {context};"
                " lower phrases.window"
            )
    return encoded


def make_batches(
    ids: Sequence[Sequence[int]],
    *,
    token_budget: int,
    depth: Sequence[int] | None = None,
    pad_id: int = 0,
    fixed: int | None = None,
    padded: bool = True,
) -> Iterator[Batch]:
    """Batches of at most `token_budget` tokens, padding included, rows of like length together (`batch_rows`).

    With `depth` (the last layer that each text is needed at), texts of like depth go together, so that a forward can
    stop early. The order is a function of the texts and of the device: `fixed`, in tokens, is what launching a layer's
    kernels costs; by default a GPU's, or none on the CPU. A text longer than the budget makes a batch of its own.
    For a model that reads a batch's texts without its padding, `padded` is false, and the budget is of their tokens.
    """
    fixed = (_LAUNCH if torch.cuda.is_available() else 0) if fixed is None else fixed
    lengths = list(map(len, ids))
    for rows in batch_rows(lengths, token_budget=token_budget, depth=depth, fixed=fixed, padded=padded):
        yield collate([ids[row] for row in rows], rows=rows, pad_id=pad_id)


def each_batch(
    ids: Sequence[Sequence[int]],
    work: Callable[[Batch], Finish | None],
    *,
    token_budget: int,
    depth: Sequence[int] | None = None,
    pad_id: int = 0,
    padded: bool = True,
) -> int:
    """Call `work` on every batch of `make_batches`; returns the token budget that fitted.

    `padded` is whether the model that `work` has reads their padding (`isogloss.models.path.reads_padding`).

    Beside a GPU batches are made in a thread, in pinned memory, and what `work` returns, which takes its results
    from there (`isogloss.models.transfer`), is called after the next batch's `work`, so that the GPU has that to do; on
    the CPU at once. When the device runs out of memory, the budget is halved and the texts not yet done go on in
    smaller batches. `work` may therefore see a text twice: it must store results by row, not add
    them up. Raises `IsoglossError` if a single text does not fit.
    """
    beside = beside_gpu()
    left = list(range(len(ids)))
    while left:
        done: set[int] = set()
        batches = make_batches(
            [ids[row] for row in left],
            token_budget=token_budget,
            depth=None if depth is None else [depth[row] for row in left],
            pad_id=pad_id,
            padded=padded,
        )
        finish: Finish | None = None
        with ahead(map(_pinned, batches), threaded=beside) as ready:
            for batch in ready:
                batch = batch._replace(rows=[left[row] for row in batch.rows])
                try:
                    following = work(batch)
                except torch.OutOfMemoryError as error:
                    if len(batch.rows) == 1:
                        raise IsoglossError(
                            f"out of device memory on a single text of {batch.input_ids.numel()} tokens;"
                            " use a device with more memory or compute.dtype bfloat16"
                        ) from error
                    token_budget = min(token_budget, batch.input_ids.numel()) // 2
                    break
                done.update(batch.rows)
                if not beside:
                    finish, following = following, None
                if finish is not None:
                    finish()
                finish = following
        if finish is not None:
            finish()
        left = [row for row in left if row not in done]
        if left:  # outside the handler, where the failed forward's tensors are free again
            logger.warning("out of device memory: going on with a token budget of %d", token_budget)
            torch.cuda.empty_cache()
    return token_budget


def collate(ids: Sequence[Sequence[int]], *, rows: list[int] | None = None, pad_id: int = 0) -> Batch:
    """Pad token ids (BOS first) on the right into one batch."""
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    mask = np.arange(lengths.max()) < lengths[:, None]
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    input_ids[mask] = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
    content = torch.from_numpy(mask.copy())
    content[:, 0] = False
    rows = rows if rows is not None else list(range(len(ids)))
    return Batch(rows, torch.from_numpy(input_ids), torch.from_numpy(mask.astype(np.int64)), content)


def _pinned(batch: Batch) -> Batch:
    """The batch in memory that a GPU copies from while it computes; as it is where there is none."""
    if not torch.cuda.is_available():
        return batch
    return Batch(batch.rows, *(tensor.pin_memory() for tensor in batch[1:]))
