"""The keys and values of prompts, made once for all that follows them."""

from copy import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from isogloss.models.batching import Batch
from isogloss.models.hooks import body_of


class Prefixes(NamedTuple):
    """Prompts without their last tokens, after a forward."""

    layers: list[Any]  # the cache's, of all layers and all tokens: sliding windows are in the masks
    lengths: Int[Tensor, " questions"]
    width: int

    def of(self, few: slice) -> "Prefixes":
        """Those of some questions, nothing copied."""
        layers = [copy(layer) for layer in self.layers]
        for layer in layers:
            if layer.is_initialized:
                layer.keys, layer.values = layer.keys[few], layer.values[few]
        return Prefixes(layers, self.lengths[few], self.width)


def read_prefixes(model: nn.Module, batch: Batch) -> Prefixes:
    """One forward of `model`, without head."""
    device = next(model.parameters()).device
    mask = batch.attention_mask.to(device)
    cache = DynamicCache()
    body_of(model)(input_ids=batch.input_ids.to(device), attention_mask=mask, past_key_values=cache, use_cache=True)
    return Prefixes(cache.layers, mask.sum(dim=1), mask.shape[1])


class AfterPrefixes(Cache):
    """Keys and values of prefixes (`layers`), which new ones follow without being kept."""

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """The prefixes' keys and values of a layer, and the new ones behind them."""
        layer: Any = self.layers[layer_idx]
        return torch.cat([layer.keys, key_states], dim=-2), torch.cat([layer.values, value_states], dim=-2)
