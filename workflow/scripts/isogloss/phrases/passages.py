"""Passages of a corpus that phrases are searched in, and excerpts of it that are phrases."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from isogloss.errors import IsoglossError
from isogloss.models.tokenization import token_spans
from isogloss.tables import iter_table
from isogloss.text.segments import read_segments

PIECE = 1024  # tokens of a long document that are read together: the context that Gemma Scope's SAEs were trained on

Places = Int[np.ndarray, " tokens"]
Span = tuple[int, int, int]  # document, first and last segment, or token, inclusive


class Passage(NamedTuple):
    """A document, or a piece of one, as the model reads it."""

    number: int  # of the document in the corpus
    document: str
    ids: list[int]  # tokens, BOS first
    first: Places  # of the window round each own token: the first segment that it touches, or its first token
    last: Places  # the last one, inclusive


class Excerpt(NamedTuple):
    """A part of a document that is a phrase."""

    text: str
    ids: list[int] | None  # what the model reads, BOS left out; None: the text
    segments: list[str]  # ids of what it consists of; none if it was cut at tokens


class Corpus:
    """The table `documents`: with `segments`, what of it consists of these, else all that has text.

    `space` stands between the segments of a document.

    Raises `IsoglossError` for a tokenizer that does not know where its tokens stand in the text.
    """

    def __init__(
        self,
        documents: str,
        segments: str | None,
        space: str,
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        corpus_tokens: int,
    ) -> None:
        if not tokenizer.is_fast:
            raise IsoglossError(
                f"{documents}: finding phrases needs a fast tokenizer (tokenizer.json) for character offsets"
            )
        self._path, self._tokenizer, self._segmented, self._space = documents, tokenizer, segments is not None, space
        self._longest = context - 1 if segments else min(context - 1, PIECE)
        self._texts = read_segments(segments, self._searched(corpus_tokens)) if segments else {}

    def passages(self, window: int | None) -> Iterator[Passage]:
        """All passages in file order, with the window of `window` tokens on each side of every token.

        With `window` None it is the one segment in which the token begins, of a space between two the one before it;
        the corpus consists of segments then.
        Raises `IsoglossError` for a document that is not its segments joined by `space`.
        """
        bos = self._tokenizer.bos_token_id
        assert isinstance(bos, int)
        for number, row in enumerate(self._rows()):
            ids, offsets = token_spans(self._tokenizer, row["text"])
            lengths = [len(text) for text in self._own_texts(row)] if self._segmented else None
            for start in range(0, len(ids), self._longest):
                stop = min(start + self._longest, len(ids))
                low, high = windows_within(start, stop, window or 0)
                if lengths is not None:
                    low, high = touched_segments(offsets[low, 0], offsets[high, 1], lengths, len(self._space))
                    high = low if window is None else high
                yield Passage(number, row["document"], [bos, *ids[start:stop]], low, high)

    def excerpts(self, spans: Collection[Span]) -> dict[Span, Excerpt]:
        """The text at `spans`: whole segments, or the tokens with the characters that they stand for."""
        wanted: dict[int, list[Span]] = {}
        for span in spans:
            wanted.setdefault(span[0], []).append(span)
        found: dict[Span, Excerpt] = {}
        for number, row in enumerate(self._rows()):
            if len(found) == len(spans):
                break
            if number in wanted:
                ids, offsets = ([], None) if self._segmented else token_spans(self._tokenizer, row["text"])
                for span in wanted[number]:
                    part = slice(span[1], span[2] + 1)
                    if offsets is None:
                        names = row["segments"][part]
                        found[span] = Excerpt(self._space.join(self._texts[name] for name in names), None, names)
                    else:
                        text = row["text"][offsets[span[1], 0] : offsets[span[2], 1]].strip()
                        found[span] = Excerpt(text, ids[part], [])
        return found

    def _rows(self) -> Iterator[dict[str, Any]]:
        columns = ["document", *(["segments"] if self._segmented else []), "text"]
        for frame in iter_table(self._path, columns=columns, batch_size=512):
            for row in frame.iter_rows(named=True):
                if row["segments"] if self._segmented else (row["text"] or "").strip():
                    yield row

    def _searched(self, corpus_tokens: int) -> set[str]:
        """The segments of as many documents as have `corpus_tokens` tokens."""
        names: set[str] = set()
        tokens = 0
        for row in self._rows():
            if tokens >= corpus_tokens:
                break
            names.update(row["segments"])
            tokens += len(token_spans(self._tokenizer, row["text"])[0])
        return names

    def _own_texts(self, row: dict[str, Any]) -> list[str]:
        if lacking := [segment for segment in row["segments"] if segment not in self._texts]:
            raise IsoglossError(
                f"{self._path}: document {row['document']}: segment {lacking[0]!r} is not in the segments' table;"
                " make both tables again"
            )
        texts = [self._texts[segment] for segment in row["segments"]]
        if self._space.join(texts) != row["text"]:
            between = f"{self._space!r}" if self._space else "nothing"
            raise IsoglossError(
                f"{self._path}: document {row['document']} is not its segments with {between} between them; make the"
                " table again"
            )
        return texts


def windows_within(start: int, stop: int, window: int) -> tuple[Places, Places]:
    """First and last token, inclusive, of the window round each token from `start` up to `stop`, and none beyond."""
    tokens = np.arange(start, stop)
    return np.maximum(tokens - window, start), np.minimum(tokens + window, stop - 1)


def touched_segments(low: Places, high: Places, lengths: Sequence[int], space: int) -> tuple[Places, Places]:
    """First and last segment touched by windows of the characters from `low` up to `high`.

    `lengths` are the segments' characters, `space` those between two of them.
    """
    ends = np.cumsum(np.array(lengths) + space) - space
    starts = ends - np.array(lengths)
    first = np.searchsorted(ends, low, side="right")
    last = np.searchsorted(starts, high, side="left") - 1
    return np.minimum(first, last), last
