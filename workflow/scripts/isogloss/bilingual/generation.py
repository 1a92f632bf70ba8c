"""Greedy generation by an unfinished model, with and without features of the fully trained one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor
from tqdm import tqdm

from isogloss.bilingual.injection import Codes, Models, add_scaled, decode_masked, encode_sparsely
from isogloss.models.architecture import hidden_of
from isogloss.models.batching import Batch, each_batch
from isogloss.models.decoding import Step, decode_greedily, first_steps
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
    models: Models,
    prompts: Sequence[Sequence[int]],
    *,
    injections: Sequence[Injection | None],
    stops: Bool[Tensor, " vocabulary"],
    new_tokens: int,
    token_budget: int,
) -> list[list[list[int]]]:
    """What the unfinished model says after each of `prompts` (token ids, BOS first), for each injection (None: plain).

    As `decode_greedily`. Both models read the growing text with key/value caches; features are injected at all
    of its positions but BOS, those that were generated included. The fully trained model must end at the layer; it
    reads a prompt once for all injections.
    """
    texts: list[list[list[int]]] = [[[] for _ in prompts] for _ in injections]
    progress = tqdm(total=len(prompts), unit="prompt", desc="generation", mininterval=2)

    def work(batch: Batch) -> None:
        for rows, start in first_steps(prompts, batch.rows, models=[models.unfinished, models.full]):
            of_prompts = _read(models, start, None) if any(injections) else None
            for number, injection in enumerate(injections):
                during = None
                if injection and of_prompts:
                    during = _injecting(models, injection, of_prompts)
                continued = decode_greedily(models.unfinished, start, stops=stops, new_tokens=new_tokens, during=during)
                for row, text in zip(rows, continued, strict=True):
                    texts[number][row] = text
            progress.update(len(rows))

    with progress:
        each_batch(prompts, work, token_budget=token_budget)
    return texts


def _injecting(
    models: Models, injection: Injection, of_prompts: _Reading
) -> Callable[[Step], AbstractContextManager[None]]:
    """What injects features at each step of a decoding, whose prompts the fully trained model has read."""
    reading = of_prompts._replace(cache=deepcopy(of_prompts.cache))  # a cache grows in place

    def during(step: Step) -> AbstractContextManager[None]:
        nonlocal reading
        if step.number:
            reading = _read(models, step, reading.cache)
        decoded = decode_masked(models.dictionary, reading.codes, injection.mask, models.decoding)
        change = partial(add_scaled, content=step.content, decoded=decoded, alpha=injection.alpha)
        return changed_after(models.unfinished, models.layer, change)

    return during


def _read(models: Models, step: Step, cache: Any) -> _Reading:
    """E(H_full) at the positions of a step but BOS, which follow what is in the cache."""
    with read_after(models.full, models.layer) as outputs:
        output = models.full(**step.inputs(cache))
    residual = hidden_of(outputs[0])[step.content]
    return _Reading(
        encode_sparsely(models.dictionary.encoder, residual), output.past_key_values if step.cached else None
    )
