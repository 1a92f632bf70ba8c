"""Stage `fetch_parallel`: a parallel corpus, as the segments that all languages have."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError, shown
from isogloss.sources.hub import Repository, open_repository
from isogloss.sources.rows import kind_of, read_lines, read_rows, suffix_of
from isogloss.sources.values import check_id, check_text
from isogloss.tables import TableWriter
from isogloss.text.segments import Segment, write_documents

logger = logging.getLogger(__name__)

SEGMENTS = pa.schema({"segment": pa.string(), "text": pa.string(), "document": pa.string()})
ROWS = 4096  # of a row group
PLAIN = ("", ".txt", ".text", ".dev", ".devtest", ".test", ".train")  # plain text, FLORES-200's too
# Languages that FLORES+ calls otherwise than FLORES-200 did (openlanguagedata/flores_plus, CHANGELOG.md).
FLORES_PLUS = {
    "ajp_Arab": "apc_Arab_sout3123",
    "aka_Latn": "twi_Latn_akua1239",
    "apc_Arab": "apc_Arab_nort3139",
    "est_Latn": "ekk_Latn",
    "grn_Latn": "gug_Latn",
    "kon_Latn": "ktu_Latn",
    "tgl_Latn": "fil_Latn",
    "twi_Latn": "twi_Latn_asan1239",
    "tzm_Tfng": "zgh_Tfng",
    "zho_Hans": "cmn_Hans",
    "zho_Hant": "cmn_Hant",
}


class Corpus(NamedTuple):
    """The text of one language."""

    lang: str
    files: dict[str, Path]
    id_column: str | None  # None: rows are numbered
    text_column: str
    document_column: str | None


class Tally(NamedTuple):
    """What a language's files hold."""

    rows: int
    ids: int  # different ones
    empty: int  # ids whose text is empty
    repeated: int  # rows with id and text of an earlier one
    example: str  # an id


def fetch_parallel(
    *,
    source: Source,
    names: Mapping[str, Mapping[str, str]],
    files: str,
    id_column: str | None,
    text_column: str,
    document_column: str | None,
    minimum_share: float,
    spaces: Mapping[str, str],
    segments: Mapping[str, str],
    documents: Mapping[str, str],
    metadata: Mapping[str, Any],
) -> None:
    """Write, by language, the tables `segments` (segment, text, document) and `documents` (document, segments, text).

    `names` are the languages, each with what stands for {lang}, {code} and {flores} in `files` (a glob; several
    matches are read one after another) and in `text_column`: one file a language, or a column of one file. Files
    are Parquet, JSON Lines, TSV or CSV with a header, or plain text (FLORES-200, Moses), a segment a line. With
    `id_column` None, as plain text needs it, segments are numbered from 1 and must be as many in every language.
    {flores} stands for FLORES+'s name of the language too, where that is another one.

    A segment is kept if every language has a text for it, white space round it left out. In each language the
    segments stay in the order of its file. `document_column` says what a segment is a part of (`text.segments`), and
    `spaces` what stands between the segments of a document.
    Memory holds the ids of all languages and no text. The metadata count `rows`, `empty` and `repeated` ones and
    what was `dropped`, since another language lacks it.

    Raises `IsoglossError` if the languages share less than `minimum_share` of the segments that one of them has, or
    none; for two texts of one id, a missing id, a NUL, a language or column that is not there, a file that
    `sources.rows` cannot read, and as `open_repository`.
    """
    repository = open_repository(source, "dataset")
    columns = (id_column, text_column, document_column)
    corpora = _corpora(repository, names, files, columns)
    present: dict[str, int] = {}  # by id a bit for each language that has a text for it
    tallies: dict[str, Tally] = {}
    for number, corpus in enumerate(corpora):
        tallies[corpus.lang] = _survey(corpus, 1 << number, present)
        _check_empty(corpus, tallies[corpus.lang], minimum_share)
    if id_column is None:
        _check_lengths(repository.where, tallies)
    everywhere = (1 << len(corpora)) - 1
    _check_shared(repository.where, tallies, Counter(present.values()), everywhere, minimum_share)
    shared = {segment for segment, languages in present.items() if languages == everywhere}
    del present
    about = {**metadata, "source": repository.id, "commit": repository.commit, "segments": len(shared)}
    for corpus in corpora:
        tally = tallies[corpus.lang]
        counts = {"rows": tally.rows, "empty": tally.empty, "repeated": tally.repeated}
        counts["dropped"] = tally.ids - tally.empty - len(shared)
        logger.info("%s: %d segments kept of %s", corpus.lang, len(shared), counts)
        facts = {**about, "lang": corpus.lang, "files": list(corpus.files), **counts}
        kept = _kept(corpus, set(shared))
        with TableWriter(segments[corpus.lang], SEGMENTS, facts) as writer:
            while group := list(islice(kept, ROWS)):
                writer.write({name: [getattr(row, name) for row in group] for name in SEGMENTS.names})
        write_documents(segments[corpus.lang], documents[corpus.lang], spaces[corpus.lang], facts)


def _corpora(
    repository: Repository,
    names: Mapping[str, Mapping[str, str]],
    files: str,
    columns: tuple[str | None, str, str | None],
) -> list[Corpus]:
    """Each language's files, fetched."""
    if PurePosixPath(files).is_absolute() or ".." in PurePosixPath(files).parts:
        raise IsoglossError(f"parallel.files: {files} leaves the corpus's folder; name files within it")
    matches = {lang: matching_files(repository, files, values) for lang, values in names.items()}
    if lacking := [lang for lang, there in matches.items() if not there]:
        there = repository.names(re.sub(r"\{\w+\}", "*", files))
        listed = ", ".join(there[:8]) + (f", … ({len(there)})" if len(there) > 8 else "")
        raise IsoglossError(
            f"{repository.where}: no file {_filled(files, names[lacking[0]], 'files')} for {', '.join(lacking)};"
            f" there are {listed or 'none like it'}; correct parallel.files, or leave the language out"
        )
    first: dict[tuple[Any, ...], str] = {}
    for lang, there in matches.items():
        origin = (*there, _filled(columns[1], names[lang], "text_column"))
        if (other := first.setdefault(origin, lang)) != lang:
            raise IsoglossError(
                f"{repository.where}: {other} and {lang} are read from the same {' and '.join(origin)}; name the"
                " language in parallel.files or parallel.text_column by {lang}, {code} or {flores}"
            )
    for lang, there in matches.items():
        _check_formats(there, files, names[lang])
    paths = repository.take(list(dict.fromkeys(name for there in matches.values() for name in there)))
    return [
        Corpus(lang, {name: paths[name] for name in matches[lang]}, columns[0], origin[-1], columns[2])
        for origin, lang in first.items()
    ]


def _check_formats(there: list[str], files: str, values: Mapping[str, str]) -> None:
    """Refuse files that are no tables and not known to be plain text; one that ends as the language is called is."""
    plain = {*PLAIN, *(f".{value.lower()}" for value in values.values())}
    odd = [name for name in there if not kind_of(name) and suffix_of(name) not in plain]
    if odd and "{" not in suffix_of(files):
        raise IsoglossError(
            f"{odd[0]}: neither Parquet nor JSON Lines, CSV or TSV (.parquet, .jsonl, .csv, .tsv), nor plain text"
            f" ({', '.join(PLAIN[1:])}, or what {{lang}}, {{code}} or {{flores}} stands for); convert it, or, if it is"
            " text with a segment a line, call it .txt"
        )


def matching_files(repository: Repository, files: str, values: Mapping[str, str]) -> list[str]:
    """The files of a language, by FLORES+'s name of it if there is none by that of FLORES-200."""
    renamed = {**values, "flores": FLORES_PLUS.get(values.get("flores", ""), "")}
    return repository.names(_filled(files, values, "files")) or (
        repository.names(_filled(files, renamed, "files")) if renamed["flores"] else []
    )


def _filled(pattern: str, values: Mapping[str, str], key: str) -> str:
    """The pattern with the language's names in it."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            there = ", ".join(f"{{{name}}}" for name in values)
            raise IsoglossError(f"parallel.{key}: {match[0]} is not known; there are {there}")
        if not values[match[1]]:
            raise IsoglossError(f"parallel.{key}: no {match[0]} is known of {values['lang']}; use {{lang}} or {{code}}")
        return values[match[1]]

    return re.sub(r"\{(\w+)\}", value, pattern)


def _segments(corpus: Corpus) -> Iterator[tuple[str, Segment]]:
    """Every row with where it stands, FILE:NUMBER; raises `IsoglossError` for one that cannot be understood."""
    total = 0
    for name, path in corpus.files.items():
        for number, (key, text, document) in _rows(corpus, name, path):
            total += 1
            where = f"{name}:{number}"
            segment = str(total) if corpus.id_column is None else check_id(key, corpus.id_column, where)
            text = check_text("" if text is None else text, corpus.text_column, where).strip()
            if "\0" in text:
                raise IsoglossError(f"{where}: a NUL character under {corpus.text_column!r}; mend or delete it")
            grouped = corpus.document_column is not None and document not in (None, "")
            part = check_id(document, corpus.document_column or "", where) if grouped else None
            yield where, Segment(segment, text, part)


def _rows(corpus: Corpus, name: str, path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Number and id, text and document of each row; None for what the corpus has no column for."""
    if not kind_of(name):
        if corpus.id_column is not None or corpus.document_column is not None:
            raise IsoglossError(
                f"{name}: neither Parquet nor JSON Lines, CSV or TSV, and plain text has no columns; set"
                " parallel.id_column to null (segments are then numbered by line) and leave document_column out"
            )
        yield from ((number, [None, text, None]) for number, text in enumerate(read_lines(path, name), start=1))
        return
    given = [corpus.id_column, corpus.text_column, corpus.document_column]
    columns = [column for column in given if column is not None]
    for number, values in read_rows(path, name, columns):
        row = dict(zip(columns, values, strict=True))
        yield number, [None if column is None else row[column] for column in given]


def _survey(corpus: Corpus, bit: int, present: dict[str, int]) -> Tally:
    """Count a language's segments and mark in `present` those that have a text."""
    seen: dict[str, bytes] = {}  # digest of the text, and where it stands
    rows = empty = repeated = 0
    for where, (segment, text, _) in _segments(corpus):
        rows += 1
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        mine = digest + where.encode(errors="replace")
        before = seen.setdefault(segment, mine)
        if before is mine:
            empty += not text
            if text:
                present[segment] = present.get(segment, 0) | bit
        elif before[:16] != digest:
            raise IsoglossError(
                f"{before[16:].decode()} and {where}: two texts for {shown(segment)} in {corpus.lang}; it has one text"
                " a language, mend or delete one, or name the column that tells them apart as parallel.id_column"
            )
        else:
            repeated += 1
    if not seen:
        raise IsoglossError(f"{', '.join(corpus.files)}: no segment of {corpus.lang} there; correct parallel.files")
    return Tally(rows, len(seen), empty, repeated, next(iter(seen)))


def _check_empty(corpus: Corpus, tally: Tally, minimum_share: float) -> None:
    if tally.ids - tally.empty < minimum_share * tally.ids:
        raise IsoglossError(
            f"{', '.join(corpus.files)}: {tally.empty} of {tally.ids} segments of {corpus.lang} are empty; correct"
            f" parallel.text_column ({corpus.text_column}), or leave {corpus.lang} out"
        )


def _check_lengths(where: str, tallies: Mapping[str, Tally]) -> None:
    if len({tally.rows for tally in tallies.values()}) > 1:
        counts = ", ".join(f"{lang} {tally.rows}" for lang, tally in tallies.items())
        raise IsoglossError(
            f"{where}: numbers of lines differ ({counts}), so that they cannot be ids; give files that are aligned line"
            " by line, or parallel.id_column"
        )


def _check_shared(
    where: str, tallies: Mapping[str, Tally], masks: Mapping[int, int], everywhere: int, minimum_share: float
) -> None:
    """Refuse languages that have too few segments in common: most often their ids mean different things."""
    langs, shared = list(tallies), masks.get(everywhere, 0)
    sizes = {lang: tally.ids - tally.empty for lang, tally in tallies.items()}
    largest = max(sizes, key=lambda lang: sizes[lang])
    if shared and shared >= minimum_share * sizes[largest]:
        return
    # The language without which most is shared; in two languages the second, since the first is the reference.
    without = {lang: masks.get(everywhere ^ (1 << number), 0) for number, lang in enumerate(langs)}
    odd = max(langs[1:], key=lambda lang: without[lang]) if len(langs) > 1 else langs[0]
    if shared == 0:
        said = ", ".join(f"{lang} has {shown(tallies[lang].example)}" for lang in dict.fromkeys((langs[0], odd)))
        raise IsoglossError(
            f"{where}: no segment has the same id in all of {', '.join(langs)} ({said}); correct parallel.id_column or"
            f" files, or leave {odd} out"
        )
    counts = ", ".join(f"{lang} {size}" for lang, size in sizes.items())
    raise IsoglossError(
        f"{where}: only {shared} segments are in all languages ({counts}), {100 * shared / sizes[largest]:.0f} % of"
        f" {largest}'s; correct parallel.id_column or files, leave {odd} out, or lower parallel.minimum_share"
        f" ({minimum_share:g})"
    )


def _kept(corpus: Corpus, left: set[str]) -> Iterator[Segment]:
    """The segments whose ids are in `left`, once each, in the order of the file."""
    for _, segment in _segments(corpus):
        if segment.segment in left:
            left.remove(segment.segment)
            yield segment
