"""Stage `translate`: every phrase in another language, by one of several backends (paper A, sec. 2.1)."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from tqdm import tqdm

from isogloss.config.translation import Translation as TranslationSettings
from isogloss.errors import IsoglossError
from isogloss.phrases.translators import (
    Original,
    Phrase,
    Translation,
    TranslationMemory,
    Translator,
    multilingual_translation,
    opus_translation,
)
from isogloss.resume import digest_of
from isogloss.tables import TableWriter, iter_tables, open_table, table_metadata

logger = logging.getLogger(__name__)

TRANSLATIONS = pa.schema(
    {
        "phrase": pa.int64(),
        "layer": pa.int32(),
        "feature": pa.int32(),
        "text": pa.string(),  # null: there is no usable translation, see status
        "ids": pa.list_(pa.int32()),  # what the model reads, for exported phrases in their own language
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


def translate(
    *,
    phrases: Sequence[str],
    layers: Sequence[int],
    output: str,
    lang: str,
    source_lang: str,
    settings: TranslationSettings,
    segments: str | None = None,
    space: str = " ",
    translator: str | None = None,
    back_translator: str | None = None,
    target: str | None = None,
    back_target: str | None = None,
    language_codes: str | None = None,
    state_folder: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write a row for every phrase of `layers`, in the order of the tables `phrases`.

    The rows of `source_lang`, the phrases' language, are the phrases' own texts and ids. The backend
    `parallel` looks up `segments`, the language's parallel texts, and joins them by `space`. The others take the model
    folder `translator` (`isogloss.sources.translation_engine` says what engines differ in): the best of
    `beam_size` beams, by `engine` in `compute_type`. `opus-mt` puts `>>target<<` first if `target` is
    given, and translates back with the model `back_translator`; `nllb` and `madlad` take
    `language_codes` (a file) and translate back with the same model unless `round_trip` is off. Each usable
    translation that is translated back is scored by chrF (character 6-grams, 0 to 100) against its
    phrase, 0 where nothing comes back; below `minimum_chrf` it is dropped. What is not usable
    (`STATUSES`) keeps its row, without text. A text that several phrases of a chunk have is translated
    once.

    No more than a chunk of 8192 phrases is held. Finished chunks are kept in `state_folder`, so that a
    killed job goes on with the next one and writes the same table; a chunk counts as finished for the
    same phrases, settings, models, code and versions only. The table's metadata has engine, models
    and the number of phrases by status (`counts`).

    Raises `IsoglossError` when over half of the phrases so far are unusable, which a wrong model or
    language code makes them; for phrases that are not there; and what the backend raises.
    """
    machine: Translator
    backend = settings.backend
    if lang == source_lang:
        machine = Original()
    elif backend == "parallel":
        machine = TranslationMemory(lang, _needed(segments, "segments", lang), space)
    elif backend == "opus-mt":
        folder = _needed(translator, "translator", lang)
        machine = opus_translation(folder, back_translator, target=target, back_target=back_target, settings=settings)
    else:
        folder = _needed(translator, "translator", lang)
        machine = multilingual_translation(folder, _needed(language_codes, "language_codes", lang), settings)
    layers = sorted(layers)
    total = sum(len(rows) for rows in _rows(phrases, layers, ["layer"]))
    if total == 0:
        raise IsoglossError(
            f"{', '.join(phrases)}: no phrases of layers {layers}; lower phrases.feature_stride or phrases.threshold"
        )
    columns = ["phrase", "layer", "feature", "text"]
    columns += ["ids"] if lang == source_lang else ["segments"] if backend == "parallel" else []
    folder = Path(state_folder)
    parts: list[Path] = []
    counts: Counter[str] = Counter()
    with tqdm(total=total, unit="phrase", desc=f"into {lang}", mininterval=1) as bar:
        for rows in _chunks(_rows(phrases, layers, columns)):
            part = folder / f"part_{len(parts):06}.parquet"
            digest = digest_of(metadata.get("code"), lang, source_lang, machine.identity, rows.schema, rows.rows())
            before = bar.n
            statuses = _finished(part, digest)
            example = ""
            if statuses is None:
                translated = _translated(machine, rows, bar.update)
                with TableWriter(part, TRANSLATIONS, {"digest": digest}) as writer:
                    writer.write(_table(rows, translated))
                statuses = [translation.status for translation in translated]
                example = _example(rows, translated)
            parts.append(part)
            counts.update(statuses)
            bar.update(before + len(rows) - bar.n)
            _require_usable(counts, lang, output, example, backend)

    by_status = {status: counts[status] for status in STATUSES}
    logger.info("%s: %s", lang, _listed(by_status))
    facts = {"lang": lang, "source_lang": source_lang, "backend": None if lang == source_lang else backend}
    with TableWriter(output, TRANSLATIONS, {**metadata, **facts, **machine.facts, "counts": by_status}) as writer:
        for part in parts:
            writer.write(open_table(part).read())
    shutil.rmtree(folder, ignore_errors=True)  # another run, which a killed snakemake left behind, may have


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
        text=pl.Series([one.text if one.status == "ok" else None for one in translated], dtype=pl.String),
        ids=pl.col("ids") if "ids" in rows.columns else pl.lit(None, dtype=pl.List(pl.Int32)),
        status=pl.Series([one.status for one in translated], dtype=pl.String),
        chrf=pl.Series([one.chrf for one in translated], dtype=pl.Float32),
    )


def _finished(part: Path, digest: str) -> list[str] | None:
    """The statuses of a chunk that an earlier run finished; None if it did not, or with other settings or phrases."""
    try:
        if not part.exists() or table_metadata(part).get("digest") != digest:
            return None
        return open_table(part).read(columns=["status"])["status"].to_pylist()
    except (IsoglossError, pa.ArrowInvalid, OSError):
        return None


def _require_usable(counts: Counter[str], lang: str, output: str, example: str, backend: str) -> None:
    done = counts.total()
    if 2 * counts["ok"] >= done:
        return
    unusable = {status: n for status, n in counts.items() if n and status != "ok"}
    if max(unusable, key=lambda status: unusable[status]) == "low_chrf":
        mend = "lower translation.minimum_chrf, or check id, revision and target of both models"
    elif backend == "opus-mt":
        mend = f"check id, revision and target of translation.models.{lang}"
    else:
        mend = f"check id and revision of translation.model, and translation.codes.{lang}"
    raise IsoglossError(
        f"{output}: {sum(unusable.values())} of the first {done} translations into {lang} are unusable"
        f" ({_listed(unusable)}){example}; {mend}"
    )


def _example(rows: pl.DataFrame, translated: Sequence[Translation]) -> str:
    for number, text, translation in zip(rows["phrase"], rows["text"], translated, strict=True):
        if translation.status != "ok":
            return f", phrase {number} {_short(text)} became {_short(translation.text)}, for one"
    return ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.items())
