"""What is endless or huge, read from elsewhere, ends in one line and little memory."""

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hub as server
from hub import Hub
from isogloss import jsonl
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.models.folder import read_config
from isogloss.sources import archives, exports, hub_client, rows
from isogloss.sources.exports import Object, download, list_objects
from isogloss.sources.hub import hub_repository, licence_of, open_repository
from isogloss.sources.neuronpedia import read_records

GIB = 1 << 30


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub and a bucket that this process speaks to; nothing is waited for."""
    with server.serving() as running:
        server.redirect(monkeypatch, running.url, tmp_path / "cache")
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running
    server.forget()


def refused(action: Callable[[], Any], line: str, most: int | None = None) -> None:
    """Hold that `action` raises `line`, and that Python allocates no more than `most` bytes for it."""
    tracemalloc.start()
    try:
        with pytest.raises(IsoglossError, match=line) as caught:
            action()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert most is None or peak < most


def page(token: str, rows: str = "") -> bytes:
    return f"<ListBucketResult>{rows}<IsTruncated>true</IsTruncated>{token}</ListBucketResult>".encode()


@pytest.mark.parametrize("tokens", ["a", "ab", "abc"])
def test_a_listing_that_comes_back_to_a_page_ends(hub: Hub, tokens: str):
    asked: list[str] = []

    def answer(_: str, path: str) -> server.Answer:
        asked.append(path)
        return 200, page(f"<NextContinuationToken>{tokens[len(asked) % len(tokens)]}</NextContinuationToken>"), {}

    hub.answer = answer
    refused(lambda: list_objects(hub.url, "v1/m/s/"), "the listing of v1/m/s/ does not end; check neuronpedia.url")
    assert len(asked) == len(tokens) + 1


def test_a_listing_without_end_and_a_page_without_end_are_left(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exports, "PAGES", 7)
    asked: list[str] = []

    def answer(_: str, path: str) -> server.Answer:
        asked.append(path)
        return 200, page(f"<NextContinuationToken>{len(asked)}</NextContinuationToken>"), {}

    hub.answer = answer
    refused(lambda: list_objects(hub.url, "v1/m/s/"), "does not end")
    assert len(asked) == 8
    monkeypatch.setattr(exports, "PAGE", 3 << 20)
    packed = gzip.compress(bytes(60 << 20))
    hub.answer = lambda *_: (200, packed, {"Content-Encoding": "gzip"})
    refused(lambda: list_objects(hub.url, "v1/m/s/"), "a page of the listing of v1/m/s/ has over 3 MB", 20 << 20)
    hub.answer = lambda *_: (200, page(""), {})
    refused(lambda: list_objects(hub.url, "v1/m/s/"), "goes on and does not say where")


def test_more_than_the_listing_says_is_not_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(exports, "CHUNK", 1000)
    hub.objects["v1/m/s/batch-0.jsonl.gz"] = bytes(100_000)
    sizes: list[int] = []
    whole = exports._is
    monkeypatch.setattr(exports, "_is", lambda path, item: sizes.append(path.stat().st_size) or whole(path, item))
    item = Object("v1/m/s/batch-0.jsonl.gz", 10, "0" * 32)
    refused(lambda: download(hub.url, item, tmp_path / "downloads"), "not what the bucket lists")
    assert sizes == [1000]
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.parametrize("ring", [1, 2, 3])
def test_a_list_of_files_that_comes_back_to_a_page_ends(hub: Hub, ring: int, tmp_path: Path):
    listed(hub, tmp_path, lambda number: number % ring)
    refused(take, r"the list of files from http://127[^ ]*/tree/[^ ]* does not end; set HTTPS_PROXY or")
    assert sum("/tree/" in path for _, path, _ in hub.asked) == ring + 1


def test_a_list_of_files_without_end_is_left(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    listed(hub, tmp_path, lambda number: number)
    monkeypatch.setattr(hub_client, "PAGES", 5)
    refused(take, "does not end")
    monkeypatch.setattr(hub_client, "PAGES", 1000)
    monkeypatch.setattr(hub_client, "LARGEST", 2 << 20)
    refused(take, r"over 2 MB came from http://127[^ ]*/tree/", 40 << 20)


def listed(hub: Hub, folder: Path, following: Callable[[int], int]) -> None:
    """A repository whose list of files goes on by `following`, page by page."""
    (folder / "upstream").mkdir()
    (folder / "upstream" / "config.json").write_text("{}")
    hub.add("someone/small", folder / "upstream")
    count = [0]

    def answer(_: str, path: str) -> server.Answer | None:
        if "/tree/" not in path:
            return None
        count[0] += 1
        address = f"{hub.url}{path}?recursive=true&cursor={following(count[0])}"
        files = [{"type": "file", "path": f"x{count[0]}", "size": 1, "oid": "0" * 40, "pad": "x" * 300_000}]
        more = {"Content-Type": "application/json", "Link": f'<{address}>; rel="next"'}
        return 200, json.dumps(files).encode(), more

    hub.answer = answer


def take() -> dict[str, Path]:
    return hub_repository("someone/small", "main").take(["config.json"])


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "batch-0.jsonl.gz"])
def test_one_line_of_a_bomb_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    for module in (jsonl, rows):
        monkeypatch.setattr(module, "LONGEST", 1 << 20)
    with gzip.open(tmp_path / name, "w", 1) as stream:
        stream.write(b'{"text": "' + b"x" * (40 << 20))
    if name.startswith("batch"):
        read = lambda: list(read_records(tmp_path, layer=1, features=64, stride=1))  # noqa: E731
    else:
        read = lambda: list(rows.read_rows(tmp_path / name, name, ["text"]))  # noqa: E731
    refused(read, rf"{name}(:1)?: a line of over 1 MiB; is it text\?", 12 << 20)


def test_a_line_and_an_object_of_a_gigabyte_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "LONGEST", 1 << 20)
    monkeypatch.setattr(jsonl, "LARGEST", 1 << 20)
    for name in ("a.jsonl", "config.json"):
        with (tmp_path / name).open("wb") as handle:
            handle.truncate(GIB)  # a hole: the disk has none of it
    refused(lambda: list(jsonl.read_json_lines(tmp_path / "a.jsonl", "arc")), "a line of over 1 MiB", 4 << 20)
    refused(lambda: jsonl.read_json(tmp_path / "config.json"), "over 1 MB, so no JSON object", 4 << 20)
    refused(lambda: read_config(tmp_path), r"config\.json has over 64 MB", 4 << 20)


@pytest.mark.parametrize("window", [0xFF, 0xF0, 0xA8])  # logarithms 41, 40 and 31 of bytes (RFC 8878, 3.1.1.1.2)
def test_a_window_of_gigabytes_is_refused(tmp_path: Path, window: int):
    block = b"\x02\x00\x00" + b"x"  # one byte, repeated no times, and more to come
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + block * 3)
    refused(
        lambda: list(rows.read_rows(tmp_path / "a.jsonl.zst", "a.jsonl.zst", ["text"])), "a.jsonl.zst: damaged", GIB
    )


def test_tables_that_nest_or_swell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kind: pa.DataType = pa.string()
    value: Any = "a"
    for _ in range(60):
        kind, value = pa.list_(kind), [value]
    pq.write_table(pa.table({"text": pa.array([value], kind)}), tmp_path / "a.parquet")
    refused(lambda: list(rows.read_rows(tmp_path / "a.parquet", "a.parquet", ["text"])), "too deeply nested")
    swollen = pa.table({"text": ["x" * 100_000 + str(row) for row in range(30)]})
    pq.write_table(swollen, tmp_path / "b.parquet", compression="zstd", use_dictionary=False)
    assert len(list(rows.read_rows(tmp_path / "b.parquet", "b.parquet", ["text"]))) == 30
    monkeypatch.setattr(archives, "SMALL", 1_000_000)
    refused(
        lambda: list(rows.read_rows(tmp_path / "b.parquet", "b.parquet", ["text"])),
        r"b\.parquet: more than \d+ MB come out of \d+ kB",
    )


@pytest.mark.parametrize(
    ("licence", "known"),
    [
        ("mit", "mit"),
        ("[mit, apache-2.0]", "mit, apache-2.0"),
        ('"\\ud83d x"', "? x"),
        ("9:" * 3000 + "9", None),
        ("{a: 1}", None),
        ("*a11", None),
    ],
)
def test_a_licence_is_text_and_short(tmp_path: Path, licence: str, known: str | None):
    laughs = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    (tmp_path / "README.md").write_text("\n".join(["---", *laughs, f"license: {licence}", "---", ""]))
    assert licence_of(open_repository(Source(folder=str(tmp_path)))) == known
