"""Losses of texts under a causal LM, from where a layer's output is given."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from isogloss.models.architecture import hidden_of
from isogloss.models.batching import Batch
from isogloss.models.hooks import body_of, head_logits, resumed_after

_LOGITS = 2**25  # logits that are held at a time


def losses_after(model: nn.Module, batch: Batch, layer: int, output: Any) -> Float[Tensor, " batch"]:
    """The mean negative log-likelihood of each text's tokens but BOS, in nats, where `layer` gives `output`.

    The layers up to it compute nothing (`resumed_after`). It is what transformers' own loss is of the text alone.
    """
    device = hidden_of(output).device
    input_ids, attention_mask, content = (part.to(device) for part in batch[1:])
    with resumed_after(model, layer, output):
        hidden = body_of(model)(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    predicted = content[:, 1:]
    totals = token_losses(model, hidden[:, :-1][predicted], input_ids[:, 1:][predicted])
    row = predicted.nonzero()[:, 0]
    sums = torch.zeros(len(predicted), dtype=torch.float64, device=device).index_add_(0, row, totals.double())
    return (sums / predicted.sum(dim=1)).cpu()


def token_losses(
    model: nn.Module, hidden: Float[Tensor, "tokens d_model"], targets: Tensor
) -> Float[Tensor, " tokens"]:
    """-log p(target) from final hidden states, in nats; never all tokens' logits at once."""
    chunk = max(1, _LOGITS // model.config.get_text_config().vocab_size)  # type: ignore[union-attr]
    parts = [
        functional.cross_entropy(head_logits(model, part).float(), target, reduction="none")
        for part, target in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat(parts)
