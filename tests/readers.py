"""Every reader of foreign text: a valid file of its kind (tests/corpus), how to damage it, and how it is read."""

import gzip
import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

import damage
from isogloss.config import load_study
from isogloss.config.files import read_file
from isogloss.config.pretrained import Source
from isogloss.config.text import DocumentSource
from isogloss.languages import canonical_code, language
from isogloss.sources.documents import fetch_documents
from isogloss.sources.exports import read_listing
from isogloss.sources.multilingual import madlad_pieces, nllb_vocabulary
from isogloss.sources.neuronpedia import Record, read_records
from isogloss.sources.okapi import common_questions
from isogloss.sources.parallel_text import fetch_parallel
from isogloss.sources.question_sets import read_upstream
from isogloss.sources.rows import column_names
from isogloss.tables import read_table
from isogloss.text.segments import read_segments

CORPUS = Path(__file__).parent / "corpus"
STUDY = (Path(__file__).parent / "studies" / "mini.yaml").read_text(encoding="utf-8")
LINE = r"(:\d+|, (after )?line \d+|, row \d+|: rows \d+ to \d+): "


class Reader(NamedTuple):
    """A reader of one kind of file."""

    file: str  # where its input lies
    damaged: Callable[[Random], bytes]
    read: Callable[[Path], Iterable[Any]]  # of the folder that has the file: texts and numbers that were read


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


def _lines(name: str) -> Callable[[Random], bytes]:
    rows = _rows(name)
    return lambda rng: damage.json_lines(rows, rng)


def _content(name: str, how: Callable[..., bytes], *more: Any) -> Callable[[Random], bytes]:
    content = (CORPUS / name).read_bytes()
    return lambda rng: how(content, rng, *more)


def _table(name: str) -> Callable[[Random], bytes]:
    rows = _rows(name)
    return lambda rng: damage.parquet(rows, rng)


def _exports(rng: Random) -> bytes:
    content = gzip.compress(damage.json_lines(_rows("exports.jsonl"), rng), 1)
    return damage.broken(content, rng) if rng.random() < 0.2 else content


def _read_exports(folder: Path) -> Iterable[Any]:
    for record in read_records(folder / "exports", layer=1, features=64, stride=1):
        if isinstance(record, Record):
            assert 0 <= record.feature < 64
            assert len(record.tokens) == len(record.values) > record.peak
            yield from (*record.tokens, *record.values)
        else:
            yield record.reason


def _read_questions(layout: str, lang: str, flores: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        for question in read_upstream(layout, str(folder), str(folder), lang, flores):
            assert question.defect or 0 <= question.answer < len(question.choices)
            yield from (question.question, question.group, question.passage, question.text, *question.choices)

    return read


def _read_okapi(task: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        questions = common_questions(folder, task, "test", "es", ["es"], emptied=lambda _: False)
        assert len(set(questions.ids)) == len(questions.ids)
        for name, row in zip(questions.ids, questions.rows, strict=True):
            yield name
            yield from (part for value in row.values() for part in (value if isinstance(value, list) else [value]))

    return read


def _read_documents(name: str) -> Callable[[Path], Iterable[Any]]:
    def read(folder: Path) -> Iterable[Any]:
        source, output = DocumentSource(folder=str(folder), files=name), str(folder / "out.parquet")
        fetch_documents(source=source, lang="es", documents=3, output=output, metadata={})
        return [part for row in read_table(output).rows() for part in row]

    return read


def read_parallel(folder: Path, files: str, **columns: str | None) -> dict[str, str]:
    """The tables of segments, by language, of a corpus in Spanish and English, which lies in `folder`."""
    names = {lang: {"lang": lang, "code": lang, "flores": ""} for lang in ("en", "es")}
    paths = {lang: str(folder / "out" / f"{lang}.parquet") for lang in names}
    fetch_parallel(
        source=Source(folder=str(folder)),
        names=names,
        files=files,
        **{"id_column": None, "text_column": "text", "document_column": None, **columns},  # pyright: ignore[reportArgumentType]
        minimum_share=0.25,
        spaces=dict.fromkeys(names, " "),
        segments=paths,
        documents={lang: f"{path}.documents.parquet" for lang, path in paths.items()},
        metadata={},
    )
    return paths


def _read_parallel(suffix: str, valid: str, **columns: str) -> Callable[[Path], Iterable[Any]]:
    """A corpus of two languages of which one is damaged."""

    def read(folder: Path) -> Iterable[Any]:
        english = folder / f"en{suffix}"
        if not english.exists():
            english.write_bytes((CORPUS / valid).read_bytes())
        paths = read_parallel(folder, "{lang}" + suffix, **columns)
        segments = {lang: read_segments(path) for lang, path in paths.items()}
        assert list(segments["en"]) == sorted(segments["en"])
        assert segments["en"].keys() == segments["es"].keys()
        return [part for row in segments["es"].items() for part in row]

    return read


def _read_listing(folder: Path) -> Iterable[Any]:
    text = (folder / "listing.xml").read_bytes().decode("utf-8", "replace")
    objects, token = read_listing(text, str(folder / "listing.xml"), "v1/m/s/")
    return [part for item in objects.values() for part in item] + [token]


def _study_text(rng: Random) -> bytes:
    return damage.lines(STUDY.encode(), rng)


def _study_values(rng: Random) -> bytes:
    """The study as other values, in JSON or in YAML."""
    study = yaml.safe_load(STUDY)
    for _ in range(rng.choice([1, 1, 2])):
        study = damage.mutated(study, rng)
    if rng.random() < 0.5:
        return damage.in_bytes(damage.as_json(deepcopy(study), rng), rng)
    return damage.in_bytes(yaml.dump(study, allow_unicode=rng.random() < 0.5), rng)


def _read_study(folder: Path) -> Iterable[Any]:
    path = folder / "study.yaml"
    study = load_study(read_file(path), origin=str(path))
    assert load_study(json.loads(study.model_dump_json())) == study
    return [json.dumps(study.resolved(), ensure_ascii=False)]


def _tokenizer(rng: Random) -> bytes:
    content = json.loads((CORPUS / "tokenizer.json").read_text())
    return damage.in_bytes(damage.as_json(damage.mutated(content, rng), rng), rng)


def _pieces(rng: Random) -> bytes:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

    names = ["<unk>", "<2es>", "a"]
    model = ModelProto(pieces=[ModelProto.SentencePiece(piece=name) for name in names])
    return damage.broken(model.SerializeToString(), rng)


def _codes(rng: Random) -> bytes:
    code = list(rng.choice(["en", "pt-BR", "zh-Hant", "eng_Latn", "sr-Latn-RS", "nb"]))
    for _ in range(rng.randrange(3)):
        code[rng.randrange(len(code))] = rng.choice([*"azAZ09-_ \u0130\u212a", *damage.TEXTS[:20]])
    return damage.encoded("".join(code))


def _read_code(folder: Path) -> Iterable[Any]:
    from isogloss.errors import IsoglossError

    text = (folder / "code").read_bytes().decode("utf-8", "surrogatepass")
    try:
        code = canonical_code(text)
    except ValueError as error:  # the configuration says where
        raise IsoglossError(f"{folder / 'code'}: {error}") from None
    assert canonical_code(code) == code == language(code).code
    return [code]


def _read_columns(folder: Path) -> Iterable[Any]:
    return column_names(folder / "a.csv", "a.csv")


READERS = {
    "exports": Reader("exports/batch-0.jsonl.gz", _exports, _read_exports),
    "listing": Reader("listing.xml", _content("listing.xml", damage.lines), _read_listing),
    "belebele": Reader("data/spa_Latn.jsonl", _lines("belebele.jsonl"), _read_questions("belebele", "es", "spa_Latn")),
    "mmmlu": Reader("test/mmlu_ES-LA.csv", _content("mmmlu.csv", damage.table), _read_questions("mmmlu", "es", "")),
    "english_mmlu": Reader("all/test-0.parquet", _table("english_mmlu.jsonl"), _read_questions("mmmlu", "en", "")),
    "hellaswag": Reader("data/es/val.jsonl", _lines("hellaswag.jsonl"), _read_questions("hellaswag", "es", "")),
    "arc": Reader("data/es/test.jsonl", _lines("arc.jsonl"), _read_okapi("arc")),
    "mmlu": Reader("data/es/test.jsonl", _lines("mmlu.jsonl"), _read_okapi("mmlu")),
    "documents.jsonl": Reader("a.jsonl", _lines("documents.jsonl"), _read_documents("a.jsonl")),
    "documents.csv": Reader("a.csv", _content("documents.csv", damage.table), _read_documents("a.csv")),
    "documents.tsv": Reader("a.tsv", _content("documents.tsv", damage.table, "\t"), _read_documents("a.tsv")),
    "documents.parquet": Reader("a.parquet", _table("documents.jsonl"), _read_documents("a.parquet")),
    "segments.jsonl": Reader(
        "es.jsonl",
        _lines("segments.jsonl"),
        _read_parallel(".jsonl", "segments.jsonl", id_column="id", document_column="doc"),
    ),
    "segments.txt": Reader("es.txt", _content("lines.txt", damage.lines), _read_parallel(".txt", "lines.txt")),
    "columns": Reader("a.csv", _content("documents.csv", damage.table), _read_columns),
    "tokenizer": Reader("tokenizer.json", _tokenizer, lambda folder: [*nllb_vocabulary(folder)]),
    "pieces": Reader("spiece.model", _pieces, lambda folder: [piece.piece for piece in madlad_pieces(folder).pieces]),
    "study text": Reader("study.yaml", _study_text, _read_study),
    "study values": Reader("study.yaml", _study_values, _read_study),
    "languages": Reader("code", _codes, _read_code),
}
