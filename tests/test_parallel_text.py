"""Parallel corpora in the layouts that they are published in, and what is refused of them."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hub import call, serving
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.sources.parallel_text import fetch_parallel
from isogloss.tables import read_table, table_metadata
from isogloss.text.segments import Segment, joined, read_segments
from real_text import TEXTS, URLS, flores_200, flores_plus, moses, write_rows, write_text

NAMES = {
    "en": {"lang": "en", "code": "en", "flores": "eng_Latn"},
    "es": {"lang": "es", "code": "spa", "flores": "spa_Latn"},
    "zh": {"lang": "zh", "code": "zho", "flores": "zho_Hans"},
    "hi": {"lang": "hi", "code": "hi", "flores": "hin_Deva"},
}
BY_LANG = dict(zip(NAMES, TEXTS.values(), strict=True))


def arguments(folder: Path, languages: str = "en es zh hi", **changes: Any) -> dict[str, Any]:
    names = {lang: NAMES[lang] for lang in languages.split()}
    out = folder.parent / f"{folder.name}.out"
    return {
        "source": Source(folder=str(folder)),
        "names": names,
        "files": "{lang}.jsonl",
        "id_column": "id",
        "text_column": "text",
        "document_column": None,
        "minimum_share": 0.5,
        "spaces": {lang: "" if lang == "zh" else " " for lang in names},
        "segments": {lang: str(out / "segments" / f"{lang}.parquet") for lang in names},
        "documents": {lang: str(out / "documents" / f"{lang}.parquet") for lang in names},
        "metadata": {"study": "test"},
        **changes,
    }


def fetch(folder: Path, languages: str = "en es zh hi", **changes: Any) -> dict[str, dict[str, str]]:
    """The segments of each language by id, as the stages behind read them."""
    given = arguments(folder, languages, **changes)
    fetch_parallel(**given)
    return {lang: read_segments(path) for lang, path in given["segments"].items()}


def counts(folder: Path, lang: str) -> dict[str, int]:
    about = table_metadata(folder.parent / f"{folder.name}.out" / "segments" / f"{lang}.parquet")
    return {name: about[name] for name in ("rows", "empty", "repeated", "dropped", "segments")}


def refused(folder: Path, line: str, languages: str = "en es", **changes: Any) -> None:
    with pytest.raises(IsoglossError, match=line) as error:
        fetch(folder, languages, **changes)
    assert "\n" not in str(error.value)
    assert not list(folder.parent.glob(f"{folder.name}.out/**/*.parquet"))


def corpus(folder: Path, **texts: dict[Any, Any]) -> Path:
    """A file of JSON Lines a language, of texts by id."""
    for lang, by_id in texts.items():
        write_rows(folder / f"{lang}.jsonl", [{"id": key, "text": text} for key, text in by_id.items()])
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_flores_plus_is_read_by_either_name_of_a_language(tmp_path: Path, kind: str):
    folder = flores_plus(tmp_path / "flores", kind=kind)
    texts = fetch(folder, files="dev/{flores}.*", document_column="url")
    assert texts == {lang: dict(zip("0123", BY_LANG[lang], strict=True)) for lang in NAMES}
    documents = read_table(tmp_path / "flores.out" / "documents" / "zh.parquet")
    assert documents.rows() == [
        (URLS[0], ["0", "1"], "".join(BY_LANG["zh"][:2])),
        (URLS[2], ["2", "3"], "".join(BY_LANG["zh"][2:])),
    ]
    about = table_metadata(tmp_path / "flores.out" / "segments" / "zh.parquet")
    assert (about["files"], about["study"], about["lang"]) == ([f"dev/cmn_Hans.{kind}"], "test", "zh")
    assert counts(folder, "hi") == {"rows": 4, "empty": 0, "repeated": 0, "dropped": 0, "segments": 4}


def test_lines_are_numbered_where_files_are_aligned(tmp_path: Path):
    flores = flores_200(tmp_path / "flores")
    expected = {lang: dict(zip("1234", texts, strict=True)) for lang, texts in BY_LANG.items()}
    assert fetch(flores, files="dev/{flores}.dev", id_column=None) == expected
    pair = {lang: BY_LANG[lang] for lang in ("en", "hi")}
    tatoeba = moses(tmp_path / "moses", pair)
    assert fetch(tatoeba, "en hi", files="Tatoeba.en-hi.{lang}", id_column=None) == {
        lang: expected[lang] for lang in pair
    }
    write_text(tatoeba / "Tatoeba.en-hi.hi", "\ufeffएक\r\nदो\u2028तीन\r\n\r\nचार")
    texts = fetch(tatoeba, "en hi", files="Tatoeba.en-hi.{lang}", id_column=None)
    assert texts["hi"] == {"1": "एक", "2": "दो\u2028तीन", "4": "चार"}  # the third line is empty
    assert counts(tatoeba, "en") == {"rows": 4, "empty": 0, "repeated": 0, "dropped": 1, "segments": 3}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "tsv", "csv", "csv.gz"])
def test_every_format_in_files_by_language_and_in_columns(tmp_path: Path, kind: str):
    expected = {lang: dict(zip("0123", texts, strict=True)) for lang, texts in BY_LANG.items()}
    for lang, texts in BY_LANG.items():
        rows = [{"key": f" {number}", "sentence": f" {text} "} for number, text in enumerate(texts)]
        for part in (0, 2):
            write_rows(tmp_path / "long" / f"{lang}-{part}.{kind}", rows[part : part + 2])
    columns = {"id_column": "key", "text_column": "sentence"}
    assert fetch(tmp_path / "long", files=f"{{lang}}-*.{kind}", **columns) == expected
    wide = [
        {"key": number, **{f"text_{NAMES[lang]['code']}": texts[number] for lang, texts in BY_LANG.items()}}
        for number in range(4)
    ]
    write_rows(tmp_path / "wide" / f"all.{kind}", wide)
    assert fetch(tmp_path / "wide", files=f"all.{kind}", id_column="key", text_column="text_{code}") == expected


def test_what_one_language_lacks_is_dropped_in_all_and_counted(tmp_path: Path):
    folder = corpus(
        tmp_path / "corpus",
        en={key: f"en {key}" for key in "abcdefgh"},
        es={**{key: f"es {key}" for key in "hgfedcb"}, "d": "  "},
        hi={key: f"hi {key}" for key in "abcdegxy"},
    )
    with (folder / "hi.jsonl").open("a") as handle:
        handle.write('\n{"id": "b", "text": "hi b "}\n')
    texts = fetch(folder, "en es hi")
    assert list(texts["en"]) == list(texts["hi"]) == ["b", "c", "e", "g"]
    assert list(texts["es"]) == ["g", "e", "c", "b"]  # each in the order of its file
    assert counts(folder, "en") == {"rows": 8, "empty": 0, "repeated": 0, "dropped": 4, "segments": 4}
    assert counts(folder, "es") == {"rows": 7, "empty": 1, "repeated": 0, "dropped": 2, "segments": 4}
    assert counts(folder, "hi") == {"rows": 9, "empty": 0, "repeated": 1, "dropped": 4, "segments": 4}
    documents = read_table(tmp_path / "corpus.out" / "documents" / "es.parquet")
    assert documents.row(0) == ("g", ["g"], "es g")


def test_segments_in_a_row_that_are_parts_of_the_same_are_a_document():
    rows = [Segment("1", "a", "x"), Segment("2", "b", "x"), Segment("3", "c", None), Segment("4", "d", None)]
    rows += [Segment("5", "e", "x"), *(Segment(f"n{number}", "t", "y") for number in range(600))]
    documents = list(joined(rows, " "))
    assert documents[:4] == [("x", ["1", "2"], "a b"), ("3", ["3"], "c"), ("4", ["4"], "d"), ("x#2", ["5"], "e")]
    assert [(name, len(segments)) for name, segments, _ in documents[4:]] == [("y", 512), ("y#2", 88)]
    assert next(joined(rows, ""))[2] == "ab"


def test_documents_are_spaced_as_their_language_is(tmp_path: Path):
    for lang, texts in {"en": ["One.", "Two."], "zh": ["一。", "二。"]}.items():
        rows = [{"id": number, "text": text, "part": "x"} for number, text in enumerate(texts)]
        write_rows(tmp_path / "corpus" / f"{lang}.jsonl", rows)
    fetch(tmp_path / "corpus", "en zh", document_column="part")
    there = tmp_path / "corpus.out" / "documents"
    assert [read_table(there / f"{lang}.parquet")["text"].item() for lang in ("en", "zh")] == ["One. Two.", "一。二。"]


def test_languages_with_little_in_common_are_refused(tmp_path: Path):
    en, es = dict.fromkeys(range(100), "en"), dict.fromkeys(range(97, 197), "es")
    few = corpus(tmp_path / "few", en=en, es=es)
    refused(few, r"only 3 segments are in all languages \(en 100, es 100\), 3 % of en's; correct parallel.id_column")
    assert len(fetch(few, "en es", minimum_share=0.03)["es"]) == 3
    none = corpus(tmp_path / "none", en=en, es={f"es-{key}": "es" for key in en}, hi=en)
    refused(none, r"no segment has the same id in all of en, es, hi \(en has '0', es has 'es-0'\)", "en es hi")
    refused(none, "or leave es out", "en hi es")


def test_texts_that_are_empty_or_differ_are_refused(tmp_path: Path):
    en = {number: f"en {number}" for number in range(5)}
    hollow = corpus(tmp_path / "hollow", en=en, es={**en, 0: "", 1: " ", 2: None})
    refused(hollow, r"es\.jsonl: 3 of 5 segments of es are empty; correct parallel\.text_column \(text\)")
    two = corpus(tmp_path / "two", en=en, es={**en, "3": "otro"})
    refused(two, r"es\.jsonl:4 and es\.jsonl:6: two texts for '3' in es")
    lines = moses(tmp_path / "lines", {"en": ["a", "b"], "es": ["a", "b", "c"]})
    refused(lines, r"numbers of lines differ \(en 2, es 3\)", files="Tatoeba.en-es.{lang}", id_column=None)
    refused(lines, "Tatoeba.en-es.en: neither Parquet nor .*set parallel.id_column to null", files="*-es.{lang}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"id": null, "text": "a"}\n', r"es\.jsonl:1: no id under 'id'"),
        (b'{"id": 1, "text": "a"}\n{"text": "a"}\n', r"es\.jsonl:2: no id under 'id'"),
        (b'{"id": 1.5, "text": "a"}\n', r"es\.jsonl:1: 'id' is 1\.5, neither text nor a whole number"),
        (b'{"id": 1, "text": ["a"]}\n', r"es\.jsonl:1: 'text' is \['a'\], not a text"),
        (b'{"id": 1, "text": "\\ud83d"}\n', r"es\.jsonl:1: \\ud83d under 'text' is half a surrogate pair"),
        (b'{"id": 1, "text": "a\\u0000"}\n', r"es\.jsonl:1: a NUL character"),
        (b'{"id": 1, "text": "\xe9"}\n', r"es\.jsonl:1: not JSON \(byte 0xe9 is not UTF-8\)"),
        (b'{"id": 1, "txt": "a"}\n', r"es\.jsonl:1: no column 'text', there are id, txt"),
        (b"[1]\n", r"es\.jsonl:1: not a JSON object"),
        (b"", r"es\.jsonl: no segment of es there"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            r"es\.jsonl: a Git LFS pointer .*lfs pull",
        ),
    ],
)
def test_a_broken_row_is_one_line(tmp_path: Path, content: bytes, line: str):
    folder = corpus(tmp_path / "corpus", en={1: "one"})
    (folder / "es.jsonl").write_bytes(content)
    refused(folder, line)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("es.tsv", 'id\ttext\n1\t"a ""b"" c"\n', r"es\.tsv:2: a field is quoted, TSV is read without quotes"),
        ("es.tsv", "id\ttext\n1\ta\tb\n", r"es\.tsv:2: 3 columns, the header has 2"),
        ("es.tsv", "1\ta\n", r"es\.tsv:1: no column 'id', there are 1, a"),
        ("es.csv", 'id,text\n1,"a\nb"\n2,"c" d\n', r"es\.csv:4: broken CSV"),
        ("es.csv", "id,text,text\n1,a,b\n", r"es\.csv:1: 2 columns 'text'"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, name: str, content: str, line: str):
    folder = tmp_path / "corpus"
    write_text(folder / name, content)
    write_text(folder / name.replace("es", "en"), content)
    refused(folder, line, "es", files=f"{{lang}}{Path(name).suffix}")


def test_damaged_files_are_one_line(tmp_path: Path):
    folder = tmp_path / "corpus"
    write_rows(folder / "es.jsonl.gz", [{"id": number, "text": f"{number}" * 9} for number in range(500)])
    whole = (folder / "es.jsonl.gz").read_bytes()
    (folder / "es.jsonl.gz").write_bytes(whole[:-9])
    refused(folder, r"es\.jsonl\.gz: damaged or cut off", "es", files="{lang}.jsonl.gz")
    (folder / "es.txt").write_bytes(b"gut\nr\xe9sum\xe9\n")
    refused(folder, r"es\.txt:2: not UTF-8 \(byte 0xe9\)", "es", files="{lang}.txt", id_column=None)
    bad = pl.DataFrame({"id": [1], "text": ["x"]})
    bad.write_parquet(folder / "es.parquet", compression="uncompressed", statistics=False)
    data = (folder / "es.parquet").read_bytes()
    (folder / "es.parquet").write_bytes(data.replace(b"\x01\x00\x00\x00x", b"\x01\x00\x00\x00\xff"))
    refused(folder, r"es\.parquet: .*UTF-?8", "es", files="{lang}.parquet")
    (folder / "es.txt.gz").write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))  # as bgzip writes
    assert fetch(folder, "es", files="{lang}.txt.gz", id_column=None)["es"] == {"1": "a", "2": "b"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("{lang}.JSONL", '{"id": 1, "text": "a"}\n'),
        ("{lang}.ndjson", '{"id": 1, "text": "a"}\n'),
        ("{lang}.CSV", "id,text\n1,a\n"),
        ("{lang}.Tsv", "id\ttext\n1\ta\n"),
    ],
)
def test_tables_are_known_by_suffixes_in_either_case(tmp_path: Path, name: str, content: str):
    for lang in ("en", "es"):
        tmp_path.joinpath(name.format(lang=lang)).write_text(content)
    assert fetch(tmp_path, "en es", files=name, id_column=None) == {"en": {"1": "a"}, "es": {"1": "a"}}


def test_a_compression_is_known_by_its_suffix_in_either_case(tmp_path: Path):
    (tmp_path / "es.TXT.GZ").write_bytes(gzip.compress(b"a\nb\n"))
    assert fetch(tmp_path, "es", files="{lang}.TXT.GZ", id_column=None)["es"] == {"1": "a", "2": "b"}


@pytest.mark.parametrize("name", ["{lang}.xml", "{lang}.tmx.gz", "{lang}.xlsx", "{lang}.html"])
@pytest.mark.parametrize("id_column", ["id", None])
def test_what_is_neither_a_table_nor_plain_text_is_refused(tmp_path: Path, name: str, id_column: str | None):
    tmp_path.joinpath(name.format(lang="es")).write_text("<a>\n</a>\n")
    refused(
        tmp_path,
        rf"es\.{name.split('.')[1]}.*: neither Parquet .*nor plain text",
        "es",
        files=name,
        id_column=id_column,
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("es/Tatoeba.es", "{lang}/*"),
        ("es", "{lang}"),
        ("dev/spa_Latn.devtest", "dev/{flores}.*"),
        ("a.v1.es", "a*.{lang}"),
    ],
)
def test_plain_text_is_known_by_its_suffix_or_the_languages_name(tmp_path: Path, name: str, files: str):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("a\n")
    assert fetch(tmp_path, "es", files=files, id_column=None)["es"] == {"1": "a"}


def test_lines_that_end_in_carriage_returns_alone_are_refused(tmp_path: Path):
    (tmp_path / "es.txt").write_bytes(b"a\rb\rc\r")
    refused(tmp_path, r"es\.txt: its lines end in carriage returns alone", "es", files="{lang}.txt", id_column=None)
    (tmp_path / "es.txt").write_bytes(b"a\r\nb \r b\r\n")  # one within a line is white space
    assert len(fetch(tmp_path, "es", files="{lang}.txt", id_column=None)["es"]) == 2


def test_a_language_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    folder = flores_plus(tmp_path / "flores")
    missing = {"files": "devtest/{flores}.jsonl"}
    refused(folder, r"no file devtest/eng_Latn\.jsonl for en, es; there are none like it", **missing)
    (folder / "dev" / "spa_Latn.jsonl").unlink()
    line = r"no file dev/spa_Latn\.jsonl for es; there are dev/cmn_Hans\.jsonl, dev/eng_Latn\.jsonl, dev/hin"
    refused(folder, line, files="dev/{flores}.jsonl")
    refused(folder, r"parallel\.files: \{iso\} is not known; there are \{lang\}, \{code\}, \{flores\}", files="{iso}")
    unknown = {"xx": {"lang": "xx", "code": "xx", "flores": ""}}
    line = r"parallel\.files: no \{flores\} is known of xx; use \{lang\} or \{code\}"
    refused(folder, line, files="dev/{flores}.jsonl", names=unknown)
    refused(folder, r"parallel\.files: \.\./\{lang\} leaves the corpus's folder", files="../{lang}")
    line = r"en and es are read from the same dev/eng_Latn\.jsonl and text; name the language in"
    refused(folder, line, files="dev/eng_Latn.jsonl")
    refused(folder / "none", r"no such folder")


def test_the_hub_is_asked_for_the_files_of_the_languages_only(tmp_path: Path):
    folder = flores_plus(tmp_path / "flores")
    free, gated = (Source(id=f"openlanguagedata/{name}") for name in ("oldi_seed", "flores_plus"))
    calls = [arguments(tmp_path / "out", "en zh", source=one, files="dev/{flores}.jsonl") for one in (free, gated)]
    with serving() as hub:
        for source in (free, gated):
            hub.add(str(source.id), folder, "datasets")
        hub.gated.add(f"datasets/{gated.id}")
        lines = call("isogloss.sources.parallel_text:fetch_parallel", hub.url, tmp_path / "cache", *calls)
        read = {path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET" and "/dev/" in path}
        assert read == {"eng_Latn.jsonl", "cmn_Hans.jsonl"}
    assert lines[0] == ""
    assert f"gated; accept its licence at {hub.url}/datasets/{gated.id}, then `hf auth login` or set" in lines[1]
    about = table_metadata(calls[0]["segments"]["zh"])
    assert (about["source"], len(about["commit"])) == (free.id, 40)
