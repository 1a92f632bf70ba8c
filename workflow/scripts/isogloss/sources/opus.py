"""OPUS-MT (Marian) models of one direction: what goes into one, what comes out, and when that is unusable."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from transformers import MarianTokenizer

from isogloss.errors import IsoglossError
from isogloss.sources.marian import ENGINES, Engine

_SAME = 4  # tokens that make up a repeat
_OFTEN = 5  # and so many of the same repeat make a loop

Status = Literal["ok", "empty", "runaway", "too_long"]


class Output(NamedTuple):
    """What a model made of a text."""

    text: str  # as decoded, whatever the status
    status: Status


class OpusModel:
    """Translates texts with the model in a folder, as `isogloss.sources.translator` leaves it.

    `target` is the language code that a multi-target model puts first as >>CODE<<. Raises
    `IsoglossError` for a folder without model, an unknown code, a multi-target model without one, and
    a `compute_type` that the engine does not have here.
    """

    def __init__(
        self, folder: str | Path, *, target: str | None, engine: str, compute_type: str, beam_size: int
    ) -> None:
        self._folder = Path(folder)
        if not (self._folder / "config.json").is_file():
            raise IsoglossError(f"{folder}: no config.json there, so no translation model; fetch it again")
        config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        self._context: int = config.get("max_position_embeddings", 512)
        self._tokenizer = _load_tokenizer(self._folder)
        self._first = self._code(target)
        self.engine: Engine = ENGINES[engine](self._folder, self._tokenizer, compute_type, beam_size)

    def translate(self, texts: Sequence[str], advance: Callable[[int], object] = lambda _: None) -> list[Output]:
        """One output a text, in order.

        The status is `too_long` for a text of more tokens than the model reads, which is not
        translated; `runaway` for an output that does not end within three times the source's tokens
        plus 20, or that loops (`loops`); `empty` for a blank output and for a blank text. `advance`
        gets how many texts are done.
        """
        encoded = [self.encode(text) for text in texts]
        outputs = [Output("", "too_long" if len(ids) > self._context else "empty") for ids in encoded]
        rows = [
            row
            for row, (text, ids) in enumerate(zip(texts, encoded, strict=True))
            if text.strip() and len(self._first) + 1 < len(ids) <= self._context
        ]
        advance(len(texts) - len(rows))
        sources = [encoded[row] for row in rows]
        limits = [min(self._context, 3 * len(ids) + 20) for ids in sources]
        generated = self.engine.generate(sources, limits, advance)
        for row, source, limit, ids in zip(rows, sources, limits, generated, strict=True):
            text = self._decode(ids[:limit])
            runaway = len(ids) >= limit or loops(ids, source)
            outputs[row] = Output(text, "runaway" if runaway else "ok" if text.strip() else "empty")
        return outputs

    def encode(self, text: str) -> list[int]:
        """Ids of a text, the language code first, </s> last.

        As the tokenizer does it for plain text. Its own call would take `</s>` in a text for the end
        and `>>x<<` for a language code, which corpora of web pages and programs have.
        """
        pieces = self._tokenizer.spm_source.encode(text, out_type=str)
        ids = self._tokenizer.convert_tokens_to_ids([*self._first, *pieces])
        assert isinstance(ids, list)
        return [*ids, int(self._tokenizer.eos_token_id)]  # type: ignore[arg-type]

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
        assert isinstance(text, str)
        return text

    def _code(self, target: str | None) -> list[str]:
        known = self._tokenizer.supported_language_codes
        if target is None and len(known) > 1:
            raise IsoglossError(
                f"{self._folder}: the model has several target languages; set target to one of {_listed(known)}"
            )
        if target is not None and f">>{target}<<" not in known:
            has = f"has {_listed(known)}" if known else "has one target language: leave target out"
            raise IsoglossError(f"{self._folder}: the model knows no target {target!r}; it {has}")
        return [] if target is None else [f">>{target}<<"]


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


def _load_tokenizer(folder: Path) -> MarianTokenizer:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        tokenizer = MarianTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    assert isinstance(tokenizer, MarianTokenizer)
    return tokenizer


def _listed(codes: Sequence[str]) -> str:
    shown = [code.removeprefix(">>").removesuffix("<<") for code in codes]
    return ", ".join(shown) if len(shown) <= 20 else ", ".join(shown[:20]) + f" and {len(shown) - 20} more"
