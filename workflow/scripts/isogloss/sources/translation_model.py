"""A translation model of one direction, whatever its family: what goes in, what comes out, when that is unusable."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from isogloss.sources.translation_engine import Engine

_SAME = 4  # tokens that make up a repeat
_OFTEN = 5  # and so many of the same repeat make a loop
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no encoding has

Status = Literal["ok", "empty", "runaway", "too_long"]


class Output(NamedTuple):
    """What a model made of a text."""

    text: str  # as decoded, whatever the status
    status: Status


@runtime_checkable
class Pieces(Protocol):
    """What stands between text and a model's token ids, for one direction."""

    context: int  # tokens of the longest source, all of them counted
    longest: int  # tokens of the longest output
    first: int | None  # token that outputs begin with by force: the target language's, in some families

    def encode(self, text: str) -> list[int]:
        """Ids of a plain text as the model reads it, </s> and language tokens put in.

        What looks like a control token in the text (`</s>`, `>>fr<<`, `<2fr>`) is text, unlike with the
        tokenizers' own call: corpora of web pages and programs have such.
        """
        ...

    def decode(self, ids: list[int]) -> str:
        """The text of an output, control tokens left out."""
        ...


class TranslationModel:
    """Translates texts with an engine that has a model, and the pieces of a direction."""

    def __init__(self, pieces: Pieces, engine: Engine) -> None:
        self.pieces = pieces
        self.engine = engine
        self._bare = len(pieces.encode(""))

    def translate(self, texts: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> list[Output]:
        """One output a text, in order.

        The status is `too_long` for a text of more tokens than the model reads, which is not
        translated; `runaway` for an output that does not end within three times the source's tokens
        plus 20, or that loops (`loops`); `empty` for a blank output and for a blank text. `advance`
        gets how many texts are done.
        """
        context = self.pieces.context
        encoded = [self.pieces.encode(_SURROGATE.sub("\ufffd", text)) for text in texts]
        outputs = [Output("", "too_long" if len(ids) > context else "empty") for ids in encoded]
        rows = [
            row
            for row, (text, ids) in enumerate(zip(texts, encoded, strict=True))
            if text.strip() and self._bare < len(ids) <= context
        ]
        advance(len(texts) - len(rows))
        sources = [encoded[row] for row in rows]
        limits = [min(self.pieces.longest, 3 * len(ids) + 20) for ids in sources]
        generated = self.engine.generate(sources, limits, advance, self.pieces.first)
        for row, source, limit, ids in zip(rows, sources, limits, generated, strict=True):
            text = self.pieces.decode(ids[:limit])
            runaway = len(ids) >= limit or loops(ids, source)
            outputs[row] = Output(text, "runaway" if runaway else "ok" if text.strip() else "empty")
        return outputs


def loops(output: Sequence[int], source: Sequence[int]) -> bool:
    """Whether a model got stuck: some four tokens come five times or more in its output.

    Unless the source does so itself (a row of zeros, say): what comes no more than twice as often as
    the source's most frequent four tokens is no loop.
    """
    often = _repeats(output)
    return often >= _OFTEN and often > 2 * _repeats(source)


def _repeats(ids: Sequence[int]) -> int:
    """How often the most frequent run of `_SAME` tokens occurs."""
    runs = zip(*(ids[shift:] for shift in range(_SAME)), strict=False)
    return max(Counter(runs).values(), default=0)
