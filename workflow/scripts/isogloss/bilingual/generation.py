"""Greedy generation by an unfinished model, with and without features of the fully trained one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from tqdm import tqdm

from isogloss.bilingual.injection import Codes, Decoding, Dictionary, add_scaled, decode_masked, encode_sparsely
from isogloss.models.architecture import hidden_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.decoding import Step, decode_greedily, first_step
from isogloss.models.hooks import changed_after, read_after


class Injection(NamedTuple):
    """Features that are added and how strongly: m and α of eq. 7."""

    mask: Bool[Tensor, " features"]
    alpha: float


class _Reading(NamedTuple):
    """What the fully trained model makes of the positions of a step, and its cache after them."""

    codes: Codes
    cache: Any


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

    As `decode_greedily`. Both models read the growing text with key/value caches; features are injected at all
    of its positions but BOS, those that were generated included. `full` must end at `layer`; it reads a prompt
    once for all injections.
    """
    read = partial(_read, full, dictionary, layer)
    texts: list[list[list[int]]] = [[[] for _ in prompts] for _ in injections]
    device = next(model.parameters()).device
    progress = tqdm(total=len(prompts), unit="prompt", desc="generation", mininterval=2)

    def work(batch: Batch) -> None:
        start = first_step([prompts[row] for row in batch.rows], device)
        of_prompts = read(start, None) if any(injections) else None
        for number, injection in enumerate(injections):
            during = None
            if injection and of_prompts:
                during = _injecting(model, dictionary, layer, injection, decoding, of_prompts, read)
            continued = decode_greedily(model, start, stops=stops, new_tokens=new_tokens, during=during)
            for row, text in zip(batch.rows, continued, strict=True):
                texts[number][row] = text
        progress.update(len(batch.rows))

    with progress:
        each_batch(prompts, work, token_budget=token_budget)
    return texts


def _injecting(
    model: nn.Module,
    dictionary: Dictionary,
    layer: int,
    injection: Injection,
    decoding: Decoding,
    of_prompts: _Reading,
    read: Callable[[Step, Any], _Reading],
) -> Callable[[Step], AbstractContextManager[None]]:
    """What injects features into `model` at each step of a decoding, whose prompts have been read."""
    reading = of_prompts._replace(cache=deepcopy(of_prompts.cache))  # a cache grows in place

    def during(step: Step) -> AbstractContextManager[None]:
        nonlocal reading
        if step.number:
            reading = read(step, reading.cache)
        decoded = decode_masked(dictionary, reading.codes, injection.mask, decoding)
        change = partial(add_scaled, content=step.content, decoded=decoded, alpha=injection.alpha)
        return changed_after(model, layer, change)

    return during


def _read(full: nn.Module, dictionary: Dictionary, layer: int, step: Step, cache: Any) -> _Reading:
    """E(H_full) at the positions of a step but BOS, which follow what is in the cache."""
    with read_after(full, layer) as outputs:
        output = full(**step.inputs(cache))
    residual = hidden_of(outputs[0])[step.content]
    return _Reading(encode_sparsely(dictionary.encoder, residual), output.past_key_values)
