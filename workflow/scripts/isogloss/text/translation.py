"""Stage `translate`: every phrase in another language, by one of several backends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from tqdm import tqdm

from isogloss.errors import IsoglossError
from isogloss.tables import TableWriter, open_table
from isogloss.text.segments import read_segments

TRANSLATIONS = pa.schema({"phrase": pa.int64(), "layer": pa.int32(), "feature": pa.int32(), "text": pa.string()})


class Phrase(NamedTuple):
    """What a backend may know of a phrase."""

    phrase: int
    text: str  # in the reference language
    segments: list[str]  # ids of the parallel segments that it consists of


class Translator(Protocol):
    """A way to get phrases of the reference language into one other language."""

    def translate(self, phrases: Sequence[Phrase]) -> list[str]:
        """One text a phrase, in order."""
        ...


class TranslationMemory:
    """Looks phrases up in a parallel corpus, segment by segment."""

    def __init__(self, lang: str, segments: str) -> None:
        self._lang = lang
        self._path = segments
        self._texts = read_segments(segments)

    def translate(self, phrases: Sequence[Phrase]) -> list[str]:
        """The phrases' segments in the other language, joined by one space.

        Raises `IsoglossError` naming segment, language and file if one is missing or empty.
        """
        return [" ".join(map(self._text, phrase.segments)) for phrase in phrases]

    def _text(self, segment: str) -> str:
        text = self._texts.get(segment)
        if not (text or "").strip():
            state = "is missing" if text is None else "has an empty text"
            raise IsoglossError(
                f"{self._path}: segment {segment!r} {state} in language {self._lang}; every phrase needs all of its"
                " segments there"
            )
        assert text is not None
        return text


BACKENDS: dict[str, Callable[[str, str], Translator]] = {"parallel": TranslationMemory}
"""Translators by their name in the config, made from the language and the backend's resource."""


def translate(
    *, phrases: str, segments: str, output: str, lang: str, backend: str, metadata: Mapping[str, Any]
) -> None:
    """Write the text of every phrase in `lang`, in the order of `phrases`, a row group at a time.

    `segments` is the backend's resource for this language. Raises `IsoglossError` for a phrase that
    comes back empty, and what the backend raises.
    """
    translator = BACKENDS[backend](lang, segments)
    table = open_table(phrases)
    with TableWriter(output, TRANSLATIONS, metadata) as writer:
        for group in tqdm(range(table.num_row_groups), unit="row group", desc=f"translating into {lang}"):
            rows = table.read_row_group(group, columns=["phrase", "layer", "feature", "text", "segments"])
            batch = [Phrase(**row) for row in rows.select(["phrase", "text", "segments"]).to_pylist()]
            texts = translator.translate(batch)
            for phrase, text in zip(batch, texts, strict=True):
                if not text.strip():
                    raise IsoglossError(f"{output}: phrase {phrase.phrase} ({phrase.text!r}) came back empty in {lang}")
            rows = rows.select(["phrase", "layer", "feature"])
            writer.write(rows.append_column("text", pa.array(texts, pa.string())))
