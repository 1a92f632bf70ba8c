"""Ways to get phrases into another language (paper A, sec. 2.1)."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from isogloss.config.translation import Translation as Settings
from isogloss.errors import IsoglossError
from isogloss.text.segments import read_segments

if TYPE_CHECKING:
    from isogloss.sources.translation_model import TranslationModel


class Phrase(NamedTuple):
    """What a backend may know of a phrase."""

    phrase: int
    text: str
    segments: list[str]  # ids of the parallel segments that it consists of


class Translation(NamedTuple):
    """What a backend made of a phrase."""

    text: str  # as it came out, whatever the status
    status: str = "ok"  # of `isogloss.phrases.translation.STATUSES`
    chrf: float | None = None  # 0 to 100


@runtime_checkable
class Translator(Protocol):
    """A way to get phrases into one other language."""

    facts: dict[str, Any]  # for the table's metadata
    identity: list[Any]  # of all that its translations depend on, beside the phrases

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """One translation a phrase, in order; `advance` gets how many more are done."""
        ...


class Original:
    """The phrases' own language: each is its own translation."""

    def __init__(self) -> None:
        self.facts, self.identity = {}, []

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """The phrases' own texts."""
        advance(len(phrases))
        return [Translation(phrase.text) for phrase in phrases]


class TranslationMemory:
    """Looks phrases up in a parallel corpus, segment by segment."""

    def __init__(self, lang: str, segments: str, space: str) -> None:
        self._lang, self._path, self._space = lang, segments, space
        self._texts = read_segments(segments)
        state = Path(segments).stat()
        self.facts, self.identity = {}, [segments, state.st_size, state.st_mtime_ns, space]

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """The phrases' segments in the other language, with `space` between them.

        Raises `IsoglossError` naming segment, language and file if one is missing or empty, and for a phrase that does
        not consist of segments.
        """
        if bare := next((phrase for phrase in phrases if not phrase.segments), None):
            raise IsoglossError(
                f"{self._path}: phrase {bare.phrase} does not consist of parallel segments; set phrases.texts to"
                " segments or translation.backend to a machine translation"
            )
        advance(len(phrases))
        return [Translation(self._space.join(map(self._text, phrase.segments))) for phrase in phrases]

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


class MachineTranslation:
    """A translation model, and perhaps one back into the phrases' language that its translations are scored by.

    `facts` says where the models come from; `folders` is where they are.
    """

    def __init__(
        self,
        model: "TranslationModel",
        back: "TranslationModel | None",
        *,
        settings: Settings,
        facts: Mapping[str, Any],
        folders: Sequence[str],
    ) -> None:
        self._model, self._back = model, back
        self._minimum = settings.minimum_chrf
        self.facts = {
            "engine": settings.engine,
            "compute_type": settings.compute_type,
            "beam_size": settings.beam_size,
            "engine_version": model.engine.version,
            **facts,
            "minimum_chrf": settings.minimum_chrf,
        }
        packages = ("torch", "transformers", "sentencepiece", "sacrebleu")
        self.identity = [
            self.facts,
            [version(name) for name in packages],
            [_files(path) for path in folders],
        ]

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """One translation a phrase; a text that several phrases have is translated once."""
        texts = list(dict.fromkeys(phrase.text for phrase in phrases))
        outputs = self._model.translate(texts, advance)
        chrf: dict[str, float] = {}
        if self._back:
            from sacrebleu.metrics.chrf import CHRF

            score = CHRF(word_order=0).sentence_score
            there = {text: output.text for text, output in zip(texts, outputs, strict=True) if output.status == "ok"}
            back = self._back.translate(list(there.values()))
            chrf = {text: score(output.text, [text]).score for text, output in zip(there, back, strict=True)}
        translations = {}
        for text, output in zip(texts, outputs, strict=True):
            value = chrf.get(text)
            low = value is not None and self._minimum is not None and value < self._minimum
            translations[text] = Translation(output.text, "low_chrf" if low else output.status, value)
        return [translations[phrase.text] for phrase in phrases]


def opus_translation(
    folder: str, back_folder: str | None, *, target: str | None, back_target: str | None, settings: Settings
) -> MachineTranslation:
    """With an OPUS-MT model, and perhaps one of the other direction."""
    from isogloss.sources.opus import load_opus  # torch and transformers, which the other backends do without

    run = {"engine": settings.engine, "compute_type": settings.compute_type, "beam_size": settings.beam_size}
    model = load_opus(folder, target=target, **run)
    back = load_opus(back_folder, target=back_target, **run) if back_folder else None
    facts = {
        "translator": _origin(folder),
        "target": target,
        "back_translator": _origin(back_folder) if back_folder else None,
        "back_target": back_target,
    }
    return MachineTranslation(
        model, back, settings=settings, facts=facts, folders=[path for path in (folder, back_folder) if path]
    )


def multilingual_translation(folder: str, codes: str, settings: Settings) -> MachineTranslation:
    """With one model of all languages, which also translates back if `translation.round_trip` says so.

    `codes` is the file of `isogloss.sources.language_codes.write_codes`.
    """
    from isogloss.sources.multilingual import load_multilingual

    pair = json.loads(Path(codes).read_text(encoding="utf-8"))
    there, back = load_multilingual(
        folder,
        backend=settings.backend,
        source=pair["source"],
        target=pair["target"],
        engine=settings.engine,
        compute_type=settings.compute_type,
        beam_size=settings.beam_size,
    )
    origin, turned = _origin(folder), settings.round_trip
    facts = {
        "translator": origin,
        "source": pair["source"],
        "target": pair["target"],
        "back_translator": origin if turned else None,
        "back_target": pair["source"] if turned else None,
    }
    return MachineTranslation(there, back if turned else None, settings=settings, facts=facts, folders=[folder])


def _origin(folder: str) -> dict[str, Any]:
    """Where a fetched model came from."""
    path = Path(folder) / "fetched.json"
    fetched = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {key: fetched.get(key) for key in ("id", "revision", "licence")}


def _files(folder: str) -> list[list[Any]]:
    """What tells one fetched model from another: its record, with digests, and the sizes of its files."""
    root = Path(folder)
    record = root / "fetched.json"
    files = sorted(path for path in root.rglob("*") if path.is_file() and path != record)
    described: list[list[Any]] = [[path.relative_to(root).as_posix(), path.stat().st_size] for path in files]
    return [*described, [record.read_text(encoding="utf-8") if record.exists() else None]]
