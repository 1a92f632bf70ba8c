"""Greedy decoding of prompts of several lengths, with what is done to the model at each step.

With a cache, prompts of several lengths together, where a trial finds that the model computes the same so. Others
(recurrent ones whose cache is of another kind, RWKV, which sees padding) read each text again at every token.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from isogloss.models.architecture import decoder_of, hidden_of, unwrapped
from isogloss.models.hooks import read_after
from isogloss.models.loading import context_length

logger = logging.getLogger(__name__)
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)  # of a forward

_ATTRIBUTE = "isogloss_caches"  # of a model that was tried


class Step(NamedTuple):
    """What one forward of a decoding reads, after what is in the cache."""

    number: int  # 0: the prompts, else the token that the step before gave, after the prompts if there is no cache
    ids: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch all"]  # 0 on padding; of all positions so far, those of `ids` the last
    cached: bool = True  # False: each step reads all positions, none of them padding

    @property
    def content(self) -> Bool[Tensor, "batch pos"]:
        """Which of `ids` are neither padding nor BOS, a prompt's first token."""
        return (self.mask.cumsum(dim=1) > 1)[:, -self.ids.shape[1] :]

    def inputs(self, cache: Any) -> dict[str, Any]:
        """What a model reads at this step: positions count no padding."""
        if not self.cached:
            return {"input_ids": self.ids, "use_cache": False}
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "position_ids": (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -self.ids.shape[1] :],
            "past_key_values": cache,
            "use_cache": True,
        }

    def after(self, token: Int[Tensor, " batch"]) -> "Step":
        """The next step, after the tokens that this one gave."""
        ids = token[:, None]
        mask = torch.cat([self.mask, torch.ones_like(ids)], dim=1)
        return self._replace(
            number=self.number + 1, ids=ids if self.cached else torch.cat([self.ids, ids], dim=1), mask=mask
        )


def stopping_tokens(tokenizer: PreTrainedTokenizerBase) -> Bool[Tensor, " vocabulary"]:
    """Which tokens end a line or a text: those with a line break, and EOS."""
    pieces = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
    stops = torch.tensor(["\n" in piece for piece in pieces])
    if isinstance(eos := tokenizer.eos_token_id, int):
        stops[eos] = True
    return stops


def first_step(prompts: Sequence[Sequence[int]], device: torch.device) -> Step:
    """The prompts (token ids) padded on the left, so that distances within a sliding window stay."""
    width = max(map(len, prompts))
    tokens = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(prompts):
        tokens[row, width - len(ids) :] = torch.tensor(ids)
        mask[row, width - len(ids) :] = 1
    return Step(0, tokens.to(device), mask.to(device))


def first_steps(
    prompts: Sequence[Sequence[int]], rows: Sequence[int], *, models: Sequence[nn.Module]
) -> Iterator[tuple[list[int], Step]]:
    """The prompts (token ids) of `rows` as `models` can read them: together, else those of a length at a time."""
    device = next(models[0].parameters()).device
    if all(caches(model) for model in models):
        yield list(rows), first_step([prompts[row] for row in rows], device)
        return
    for length in sorted({len(prompts[row]) for row in rows}):
        alike = [row for row in rows if len(prompts[row]) == length]
        yield alike, first_step([prompts[row] for row in alike], device)._replace(cached=False)


@torch.inference_mode()
def caches(model: nn.Module) -> bool:
    """Whether `model` computes the same with a cache and padding on the left as in one forward of each text alone.

    Tried on few tokens, once for a model: its states after its last layer, within what its precision allows. In half
    precision at half of a prompt's tokens at least and of those after it, since a rounding can send one to another
    expert.
    """
    inner = unwrapped(model)
    if not hasattr(inner, _ATTRIBUTE):
        setattr(inner, _ATTRIBUTE, _caches(model))
        if not getattr(inner, _ATTRIBUTE):
            logger.info(
                "%s: texts are read again at every token, since a cache changes what it computes", type(inner).__name__
            )
    return getattr(inner, _ATTRIBUTE)


def _caches(model: nn.Module) -> bool:
    parameter = next(model.parameters())
    step = max(1, model.config.get_text_config().vocab_size // 32)  # type: ignore[union-attr]
    texts = [[number * step for number in numbers] for numbers in (range(2, 26), range(16, 26))]
    given = 8  # tokens after the prompts, one at a time
    expected = [_last_states(model, {"input_ids": torch.tensor([ids], device=parameter.device)})[0][0] for ids in texts]
    try:
        now = first_step([ids[:-given] for ids in texts], parameter.device)
        states, cache = _last_states(model, now.inputs(None))
        parts = [states]
        for late in range(-given, 0):
            now = now.after(torch.tensor([ids[late] for ids in texts], device=parameter.device))
            states, cache = _last_states(model, now.inputs(cache))
            parts.append(states)
    except torch.OutOfMemoryError:
        raise
    except _FAILURES:
        return False
    found, bound = torch.cat(parts, dim=1), max(1e-2, 12 * torch.finfo(parameter.dtype).eps)
    typical = Tensor.max if parameter.dtype == torch.float32 else Tensor.median
    for row, ids in enumerate(texts):
        distance = (found[row, -len(ids) :] - expected[row]).norm(dim=-1) / expected[row].norm(dim=-1)
        if not all(bool(typical(part) < bound) for part in (distance[:-given], distance[-given:])):
            return False
    return True


def _last_states(model: nn.Module, inputs: dict[str, Any]) -> tuple[Float[Tensor, "batch pos d_model"], Any]:
    """The states after the last layer that `model` has, and its cache."""
    with read_after(model, len(decoder_of(model).layers) - 1) as outputs:
        output = model(**({"use_cache": False} | inputs))
    return hidden_of(outputs[0]).float(), getattr(output, "past_key_values", None)


@torch.inference_mode()
def decode_greedily(
    model: nn.Module,
    step: Step,
    *,
    stops: Bool[Tensor, " vocabulary"],
    new_tokens: int,
    during: Callable[[Step], AbstractContextManager[Any]] | None = None,
) -> list[list[int]]:
    """What the causal LM `model` says after each of the prompts of one of `first_steps`.

    The most probable token each time, up to and without the first that stops, or `new_tokens`, or as many as the
    context has room for. A token beyond `stops`, which no tokenizer knows, stops too. Each forward runs within
    `during` of its step, if there is one.
    """
    vocabulary: int = model.config.get_text_config().vocab_size  # type: ignore[union-attr]
    stops = functional.pad(stops.to(step.ids.device), (0, max(0, vocabulary - len(stops))), value=True)
    room = context_length(model) - step.ids.shape[1] + 1
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(unwrapped(model).forward).parameters else {}
    cache: Any = None
    tokens: list[Tensor] = []
    stopped = torch.zeros(len(step.ids), dtype=torch.bool, device=step.ids.device)
    for _ in range(min(new_tokens, room)):
        with during(step) if during else nullcontext():
            output = model(**step.inputs(cache), **last)
        cache = output.past_key_values if step.cached else None
        token = output.logits[:, -1].argmax(dim=1)
        stopped = stopped | stops[token]
        tokens.append(torch.where(stopped, -1, token))
        if stopped.all():
            break
        step = step.after(token)
    return [[token for token in text if token >= 0] for text in torch.stack(tokens, dim=1).tolist()]
