"""Greedy generation by an unfinished model, with and without features of the fully trained one."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from isogloss.bilingual.injection import (
    Codes,
    Decoding,
    Dictionary,
    add_scaled,
    changed_after,
    decode_masked,
    encode_sparsely,
    read_after,
)
from isogloss.models.architecture import hidden_of
from isogloss.models.batching import Batch, each_batch


class Injection(NamedTuple):
    """Features that are added and how strongly: m and α of eq. 7."""

    mask: Bool[Tensor, " features"]
    alpha: float


class _Read(NamedTuple):
    """What the fully trained model had to say of some positions, and its cache after them."""

    codes: Codes
    cache: Any


def stopping_tokens(tokenizer: PreTrainedTokenizerBase) -> Bool[Tensor, " vocabulary"]:
    """Which tokens end a line or a text: those with a line break, and EOS."""
    pieces = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
    stops = torch.tensor(["\n" in piece for piece in pieces])
    if isinstance(eos := tokenizer.eos_token_id, int):
        stops[eos] = True
    return stops


@torch.inference_mode()
def continue_greedily(
    model: nn.Module,
    full: nn.Module,
    dictionary: Dictionary,
    prompts: Sequence[Sequence[int]],
    *,
    layer: int,
    injections: Sequence[Injection | None],
    decoding: Decoding,
    stops: Bool[Tensor, " vocabulary"],
    new_tokens: int,
    token_budget: int,
) -> list[list[list[int]]]:
    """What the causal LM `model` says after each of `prompts` (token ids, BOS first), for each injection (None: plain).

    The most probable token each time, up to and without the first that stops, or `new_tokens`. Both
    models read the growing text with key/value caches; features are injected at all of its positions
    but BOS, those that were generated included. `full` must end at `layer`; it reads a prompt once
    for all injections. Prompts are padded on the left, so that distances within a sliding window stay.
    """
    found: list[list[list[int]]] = [[[] for _ in prompts] for _ in injections]
    device = next(model.parameters()).device
    stops = stops.to(device)
    progress = tqdm(total=len(prompts), unit="prompt", desc="generation", mininterval=2)

    def work(batch: Batch) -> None:
        ids, mask = _left_padded([prompts[row] for row in batch.rows], device)
        content = mask.cumsum(dim=1) > 1
        read = _read(full, dictionary, layer, ids, mask, content, None) if any(injections) else None
        for place, injection in enumerate(injections):
            own = _Read(read.codes, deepcopy(read.cache)) if injection and read else None
            texts = _continued(
                model, full, dictionary, ids, mask, own, layer, injection, decoding, stops=stops, new_tokens=new_tokens
            )
            for row, text in zip(batch.rows, texts, strict=True):
                found[place][row] = text
        progress.update(len(batch.rows))

    with progress:
        each_batch(prompts, work, token_budget=token_budget)
    return found


def _continued(
    model: nn.Module,
    full: nn.Module,
    dictionary: Dictionary,
    ids: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    read: _Read | None,
    layer: int,
    injection: Injection | None,
    decoding: Decoding,
    *,
    stops: Bool[Tensor, " vocabulary"],
    new_tokens: int,
) -> list[list[int]]:
    content = mask.cumsum(dim=1) > 1
    cache: Any = None
    said: list[Tensor] = []
    stopped = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for step in range(new_tokens):
        if read and step:
            read = _read(full, dictionary, layer, ids, mask, content, read.cache)
        injected = nullcontext()
        if injection and read:
            decoded = decode_masked(dictionary, read.codes, injection.mask, decoding)
            change = partial(add_scaled, content=content, decoded=decoded, alpha=injection.alpha)
            injected = changed_after(model, layer, change)
        with injected:
            run = model(**_inputs(ids, mask, cache), logits_to_keep=1)
        cache = run.past_key_values
        token = run.logits[:, -1].argmax(dim=1)
        stopped = stopped | stops[token]
        said.append(torch.where(stopped, -1, token))
        if stopped.all():
            break
        ids = token[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        content = torch.ones_like(ids, dtype=torch.bool)
    return [[token for token in text if token >= 0] for text in torch.stack(said, dim=1).tolist()]


def _read(
    full: nn.Module,
    dictionary: Dictionary,
    layer: int,
    ids: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch all"],
    content: Bool[Tensor, "batch pos"],
    cache: Any,
) -> _Read:
    """E(H_full) at the `content` positions of `ids`, which follow what is in the cache."""
    with read_after(full, layer) as outputs:
        run = full(**_inputs(ids, mask, cache))
    return _Read(encode_sparsely(dictionary.encoder, hidden_of(outputs[0])[content]), run.past_key_values)


def _inputs(ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch all"], cache: Any) -> dict[str, Any]:
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :],
        "past_key_values": cache,
        "use_cache": True,
    }


def _left_padded(
    ids: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    width = max(map(len, ids))
    tokens = torch.zeros((len(ids), width), dtype=torch.long)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for row, sequence in enumerate(ids):
        tokens[row, width - len(sequence) :] = torch.tensor(sequence)
        mask[row, width - len(sequence) :] = 1
    return tokens.to(device), mask.to(device)
