"""Stage `translate`: every phrase in another language, by one of several backends (paper A, sec. 2.1)."""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import polars as pl
import pyarrow as pa
from tqdm import tqdm

from isogloss.config.measures import Translation as TranslationSettings
from isogloss.errors import IsoglossError
from isogloss.tables import TableWriter, iter_tables, open_table, table_metadata
from isogloss.text.segments import read_segments

logger = logging.getLogger(__name__)

TRANSLATIONS = pa.schema(
    {
        "phrase": pa.int64(),
        "layer": pa.int32(),
        "feature": pa.int32(),
        "text": pa.string(),  # null: there is no usable translation, see status
        "ids": pa.list_(pa.int32()),  # what the model reads, for exported phrases in the reference language
        "status": pa.string(),
        "chrf": pa.float32(),  # of the text translated back, against the phrase; null without a back model
    }
)
STATUSES = {
    "ok": "usable",
    "empty": "a blank translation, or a blank phrase",
    "runaway": "a translation that did not end or that loops",
    "too_long": "a phrase of more tokens than the translation model reads",
    "low_chrf": "a translation whose round trip scores less than minimum_chrf",
}
_CHUNK = 8192  # phrases that are translated together, kept when a job is killed, and written as a row group


class Phrase(NamedTuple):
    """What a backend may know of a phrase."""

    phrase: int
    text: str  # in the reference language
    segments: list[str]  # ids of the parallel segments that it consists of


class Translation(NamedTuple):
    """What a backend made of a phrase."""

    text: str  # as it came out, whatever the status
    status: str = "ok"  # of STATUSES
    chrf: float | None = None  # 0 to 100


@runtime_checkable
class Translator(Protocol):
    """A way to get phrases of the reference language into one other language."""

    facts: dict[str, Any]  # for the table's metadata
    identity: list[Any]  # of all that its translations depend on, beside the phrases

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """One translation a phrase, in order; `advance` is told how many more are done."""
        ...


class Original:
    """The reference language: each phrase is its own translation."""

    def __init__(self) -> None:
        self.facts, self.identity = {}, []

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """The phrases' own texts."""
        advance(len(phrases))
        return [Translation(phrase.text) for phrase in phrases]


class TranslationMemory:
    """Looks phrases up in a parallel corpus, segment by segment."""

    def __init__(self, lang: str, segments: str) -> None:
        self._lang = lang
        self._path = segments
        self._texts = read_segments(segments)
        state = Path(segments).stat()
        self.facts, self.identity = {}, [segments, state.st_size, state.st_mtime_ns]

    def translate(self, phrases: Sequence[Phrase], advance: Callable[[int], object]) -> list[Translation]:
        """The phrases' segments in the other language, joined by one space.

        Raises `IsoglossError` naming segment, language and file if one is missing or empty.
        """
        advance(len(phrases))
        return [Translation(" ".join(map(self._text, phrase.segments))) for phrase in phrases]

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
    """An OPUS-MT model, and perhaps one back into the reference language that its translations are scored by."""

    def __init__(
        self,
        folder: str,
        back_folder: str | None,
        *,
        target: str | None,
        back_target: str | None,
        engine: str,
        compute_type: str,
        beam_size: int,
        minimum_chrf: float | None,
    ) -> None:
        from isogloss.sources.opus import OpusModel  # torch and transformers, which the other backends do without

        settings = {"engine": engine, "compute_type": compute_type, "beam_size": beam_size}
        self._model = OpusModel(folder, target=target, **settings)
        self._back = OpusModel(back_folder, target=back_target, **settings) if back_folder else None
        self._minimum = minimum_chrf
        self.facts = {
            **settings,
            "engine_version": self._model.engine.version,
            "translator": _origin(folder),
            "target": target,
            "back_translator": _origin(back_folder) if back_folder else None,
            "back_target": back_target,
            "minimum_chrf": minimum_chrf,
        }
        packages = ("torch", "transformers", "sentencepiece", "sacrebleu")
        self.identity = [
            self.facts,
            [version(name) for name in packages],
            [_files(path) for path in (folder, back_folder) if path],
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
            chrf = {text: score(its.text, [text]).score for text, its in zip(there, back, strict=True)}
        found = {}
        for text, output in zip(texts, outputs, strict=True):
            its = chrf.get(text)
            low = its is not None and self._minimum is not None and its < self._minimum
            found[text] = Translation(output.text, "low_chrf" if low else output.status, its)
        return [found[phrase.text] for phrase in phrases]


def translate(
    *,
    phrases: Sequence[str],
    layers: Sequence[int],
    output: str,
    lang: str,
    reference: str,
    settings: TranslationSettings,
    segments: str | None,
    translator: str | None,
    back_translator: str | None,
    target: str | None,
    back_target: str | None,
    state_folder: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write a row for every phrase of `layers`, in the order of the tables `phrases`.

    The `reference` language's rows are the phrases' own texts and ids. The backend `parallel` looks
    up `segments`, the language's parallel texts. `opus-mt` takes the model folder `translator`
    (`isogloss.sources.opus`, which also says what engines differ in): the best of `beam_size` beams, by
    `engine` in `compute_type`, with `>>target<<` first if `target` is given. What is not usable
    (`STATUSES`) keeps its row, without text. A text that several phrases of a chunk have is translated
    once. With the model `back_translator`, each usable translation is translated back and scored by
    chrF (character 6-grams, 0 to 100) against its phrase, 0 where nothing comes back; below
    `minimum_chrf` it is dropped.

    No more than a chunk of 8192 phrases is held. Finished chunks are kept in `state_folder`, so that a
    killed job goes on with the next one and writes the same table; a chunk counts as finished for the
    same phrases, settings, models, code and versions only. The table's metadata has engine, models
    and the number of phrases by status (`counts`).

    Raises `IsoglossError` when over half of the phrases so far are unusable, which a wrong model or
    language code makes them; for phrases that are not there; and what the backend raises.
    """
    machine: Translator
    backend = settings.backend
    if lang == reference:
        machine = Original()
    elif backend == "parallel":
        machine = TranslationMemory(lang, _needed(segments, "segments", lang))
    else:
        machine = MachineTranslation(
            _needed(translator, "translator", lang),
            back_translator,
            target=target,
            back_target=back_target,
            engine=settings.engine,
            compute_type=settings.compute_type,
            beam_size=settings.beam_size,
            minimum_chrf=settings.minimum_chrf,
        )
    layers = sorted(layers)
    total = sum(len(rows) for rows in _rows(phrases, layers, ["layer"]))
    if total == 0:
        raise IsoglossError(
            f"{', '.join(phrases)}: no phrases of layers {layers}; lower phrases.feature_stride or phrases.threshold"
        )
    columns = ["phrase", "layer", "feature", "text"]
    columns += ["ids"] if lang == reference else ["segments"] if backend == "parallel" else []
    folder = Path(state_folder)
    parts: list[Path] = []
    counts: Counter[str] = Counter()
    with tqdm(total=total, unit="phrase", desc=f"into {lang}", mininterval=1) as bar:
        for rows in _chunks(_rows(phrases, layers, columns)):
            part = folder / f"part_{len(parts):06}.parquet"
            digest = _digest(metadata.get("code"), lang, reference, machine.identity, rows.schema, rows.rows())
            before = bar.n
            statuses = _finished(part, digest)
            example = ""
            if statuses is None:
                translated = _translated(machine, rows, bar.update)
                with TableWriter(part, TRANSLATIONS, {"digest": digest}) as writer:
                    writer.write(_table(rows, translated))
                statuses = [its.status for its in translated]
                example = _example(rows, translated)
            parts.append(part)
            counts.update(statuses)
            bar.update(before + len(rows) - bar.n)
            _require_usable(counts, lang, output, example)

    by_status = {status: counts[status] for status in STATUSES}
    logger.info("%s: %s", lang, _listed(by_status))
    facts = {"lang": lang, "reference": reference, "backend": None if lang == reference else backend}
    with TableWriter(output, TRANSLATIONS, {**metadata, **facts, **machine.facts, "counts": by_status}) as writer:
        for part in parts:
            writer.write(open_table(part).read())
    shutil.rmtree(folder)


def _needed(path: str | None, name: str, lang: str) -> str:
    if path is None:
        raise IsoglossError(f"language {lang}: no {name} given; the translation backend needs one for every language")
    return path


def _rows(phrases: Sequence[str], layers: Sequence[int], columns: list[str]) -> Iterator[pl.DataFrame]:
    for rows in iter_tables(phrases, columns, batch_size=_CHUNK):
        yield rows.filter(pl.col("layer").is_in(layers))


def _chunks(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in frames of `_CHUNK`, the last one smaller."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        while sum(map(len, held)) >= _CHUNK:
            rows = pl.concat(held)
            yield rows.head(_CHUNK)
            held = [rows.slice(_CHUNK)]
    if any(map(len, held)):
        yield pl.concat(held)


def _translated(machine: Translator, rows: pl.DataFrame, advance: Callable[[int], object]) -> list[Translation]:
    segments = rows["segments"].to_list() if "segments" in rows.columns else [[]] * len(rows)
    batch = [Phrase(*row) for row in zip(rows["phrase"].to_list(), rows["text"].to_list(), segments, strict=True)]
    return machine.translate(batch, advance)


def _table(rows: pl.DataFrame, translated: Sequence[Translation]) -> pl.DataFrame:
    return rows.with_columns(
        text=pl.Series([its.text if its.status == "ok" else None for its in translated], dtype=pl.String),
        ids=pl.col("ids") if "ids" in rows.columns else pl.lit(None, dtype=pl.List(pl.Int32)),
        status=pl.Series([its.status for its in translated], dtype=pl.String),
        chrf=pl.Series([its.chrf for its in translated], dtype=pl.Float32),
    )


def _finished(part: Path, digest: str) -> list[str] | None:
    """The statuses of a chunk that an earlier run finished; None if it did not, or with other settings or phrases."""
    try:
        if not part.exists() or table_metadata(part).get("digest") != digest:
            return None
        return open_table(part).read(columns=["status"])["status"].to_pylist()
    except (IsoglossError, pa.ArrowInvalid, OSError):
        return None


def _require_usable(counts: Counter[str], lang: str, output: str, example: str) -> None:
    done = counts.total()
    if 2 * counts["ok"] >= done:
        return
    unusable = {status: n for status, n in counts.items() if n and status != "ok"}
    if max(unusable, key=lambda status: unusable[status]) == "low_chrf":
        mend = "lower translation.minimum_chrf, or check id, revision and target of both models"
    else:
        mend = f"check id, revision and target of translation.models.{lang}"
    raise IsoglossError(
        f"{output}: {sum(unusable.values())} of the first {done} translations into {lang} are unusable"
        f" ({_listed(unusable)}){example}; {mend}"
    )


def _example(rows: pl.DataFrame, translated: Sequence[Translation]) -> str:
    for number, text, its in zip(rows["phrase"], rows["text"], translated, strict=True):
        if its.status != "ok":
            return f", phrase {number} {_short(text)} became {_short(its.text)}, for one"
    return ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.items())


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str).encode()).hexdigest()


def _origin(folder: str) -> dict[str, Any]:
    """Where a fetched model came from."""
    path = Path(folder) / "fetched.json"
    fetched = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {key: fetched.get(key) for key in ("id", "revision")}


def _files(folder: str) -> list[list[Any]]:
    """What tells one fetched model from another: its record, with digests, and the sizes of its files."""
    root = Path(folder)
    record = root / "fetched.json"
    files = sorted(path for path in root.rglob("*") if path.is_file() and path != record)
    described: list[list[Any]] = [[path.relative_to(root).as_posix(), path.stat().st_size] for path in files]
    return [*described, [record.read_text(encoding="utf-8") if record.exists() else None]]
