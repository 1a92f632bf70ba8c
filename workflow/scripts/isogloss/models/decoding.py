"""Greedy decoding of prompts of several lengths, with what is done to the model at each step."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from isogloss.models.loading import context_length


class Step(NamedTuple):
    """What one forward of a decoding reads, after what is in the cache."""

    number: int  # 0: the prompts, else the token that the step before gave
    ids: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch all"]  # 0 on padding; of all positions so far, those of `ids` the last

    @property
    def content(self) -> Bool[Tensor, "batch pos"]:
        """Which of `ids` are neither padding nor BOS, a prompt's first token."""
        return (self.mask.cumsum(dim=1) > 1)[:, -self.ids.shape[1] :]

    def inputs(self, cache: Any) -> dict[str, Any]:
        """What a model reads at this step: positions count no padding."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "position_ids": (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -self.ids.shape[1] :],
            "past_key_values": cache,
            "use_cache": True,
        }


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


@torch.inference_mode()
def decode_greedily(
    model: nn.Module,
    step: Step,
    *,
    stops: Bool[Tensor, " vocabulary"],
    new_tokens: int,
    during: Callable[[Step], AbstractContextManager[Any]] | None = None,
) -> list[list[int]]:
    """What the causal LM `model` says after each of the prompts of a `first_step`, by its key/value cache.

    The most probable token each time, up to and without the first that stops, or `new_tokens`, or as many as the
    context has room for. A token beyond `stops`, which no tokenizer knows, stops too. Each forward runs within
    `during` of its step, if there is one.
    """
    vocabulary: int = model.config.get_text_config().vocab_size  # type: ignore[union-attr]
    stops = functional.pad(stops.to(step.ids.device), (0, max(0, vocabulary - len(stops))), value=True)
    room = context_length(model) - step.ids.shape[1] + 1
    cache: Any = None
    tokens: list[Tensor] = []
    stopped = torch.zeros(len(step.ids), dtype=torch.bool, device=step.ids.device)
    for _ in range(min(new_tokens, room)):
        with during(step) if during else nullcontext():
            output = model(**step.inputs(cache), logits_to_keep=1)
        cache = output.past_key_values
        token = output.logits[:, -1].argmax(dim=1)
        stopped = stopped | stops[token]
        tokens.append(torch.where(stopped, -1, token))
        if stopped.all():
            break
        ids = token[:, None]
        step = Step(step.number + 1, ids, torch.cat([step.mask, torch.ones_like(ids)], dim=1))
    return [[token for token in text if token >= 0] for text in torch.stack(tokens, dim=1).tolist()]
