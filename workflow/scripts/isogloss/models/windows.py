"""How far a decoder's layers see, as its configuration has it: windows and chunks of tokens."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jaxtyping import Int
from torch import Tensor, nn

from isogloss.models.architecture import unwrapped

SLIDING, CHUNK = "sliding_window", "attention_chunk_size"  # settings that bound how far a layer sees, in tokens

_MASKED = {"full_attention", "sliding_attention", "chunked_attention"}  # layers whose sight is a matter of the mask
_SHORT = 4  # tokens in a window or chunk while a model is tried, so that few tokens reach beyond it
_WINDOW = re.compile(r"(window|chunk|block|local)(_size)?$")  # settings that may bound how far a layer sees


class Sight(NamedTuple):
    """How far a kind of layer sees, in tokens; None: as far as there are any."""

    window: int | None  # the last so many tokens, a token's own among them
    chunk: int | None  # those of a token's own chunk (Llama 4)

    def reaches(self, queries: Int[Tensor, "*#pairs"], keys: Int[Tensor, "*#pairs"]) -> Tensor | bool:
        """Whether each query sees so far as its key, by their positions; which comes first is no matter of it."""
        near = True if self.window is None else keys > queries - self.window
        return near if self.chunk is None else near & (keys // self.chunk == queries // self.chunk)


def text_config_of(model: nn.Module) -> Any:
    """The configuration of `model`'s text decoder."""
    return unwrapped(model).config.get_text_config()


def sights_of(model: nn.Module) -> dict[str, Sight]:
    """How far each kind of layer sees, by transformers' name of the kind."""
    config = text_config_of(model)
    window, chunk = getattr(config, SLIDING, None) or None, getattr(config, CHUNK, None) or None
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    return {
        kind: Sight(
            window if kind == "sliding_attention" else None,
            chunk if kind == "chunked_attention" else None,
        )
        for kind in sorted(kinds)
    }


def seen_by_masks(model: nn.Module) -> bool:
    """Whether a mask says all of what a token sees, as far as the configuration tells.

    Not so with layers that are no attention (linear attention, convolutions), and with windows under a name of
    their own.
    """
    config = text_config_of(model)
    others = [
        name
        for name, value in vars(config).items()
        if _WINDOW.search(name) and name not in (SLIDING, CHUNK) and type(value) is int and value > 0
    ]
    return set(getattr(config, "layer_types", None) or []) <= _MASKED and not others


@contextmanager
def short_windows(model: nn.Module) -> Iterator[None]:
    """While open, windows and chunks are of few tokens: masks are made of the settings at each forward."""
    config = text_config_of(model)
    own = {name: value for name in (SLIDING, CHUNK) if (value := getattr(config, name, None))}
    for name in own:
        setattr(config, name, _SHORT)
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(config, name, value)
