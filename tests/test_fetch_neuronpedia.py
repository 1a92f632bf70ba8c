import gzip
import hashlib
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hub as server
from hub import Hub
from isogloss.config.pretrained import Neuronpedia
from isogloss.errors import IsoglossError
from isogloss.sources.exports import fetch_exports

STAGE = "isogloss.sources.exports:fetch_exports"
PREFIX = "v1/gemma-2-2b/12-gemmascope-res-16k/activations/"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A bucket with twelve batches of an SAE, and others that nobody asks for."""
    with server.serving() as running:
        draw = random.Random(0)
        for number in range(12):
            row = json.dumps({"index": str(number), "noise": draw.randbytes(20_000).hex()})
            running.objects[f"{PREFIX}batch-{number}.jsonl.gz"] = gzip.compress(row.encode(), mtime=0)
        running.objects[f"{PREFIX}notes.txt"] = b"nothing"
        running.objects[PREFIX.replace("12-", "13-") + "batch-0.jsonl.gz"] = b"another layer"
        yield running


def arguments(
    tmp_path: Path, hub: Hub | None = None, source: str = "12-gemmascope-res-16k", **changed: Any
) -> dict[str, Any]:
    settings = {
        "url": hub.url if hub else "http://127.0.0.1:9",
        "folder": None,
        "model": "gemma-2-2b",
    } | changed
    return {
        "neuronpedia": Neuronpedia(**settings),
        "source": source,
        "output": str(tmp_path / "out"),
        "downloads": str(tmp_path / "downloads"),
    }


def call(hub: Hub, tmp_path: Path, **env: str) -> str:
    return server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path, hub), **env)[0]


def batches(hub: Hub) -> dict[str, bytes]:
    return {key.removeprefix(PREFIX): value for key, value in hub.objects.items() if key.startswith(f"{PREFIX}batch")}


def fetched(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("batch-*")}


def test_every_batch_of_a_paged_listing_is_downloaded_and_recorded(hub: Hub, tmp_path: Path):
    assert call(hub, tmp_path) == ""
    assert fetched(tmp_path / "out") == batches(hub)
    assert not (tmp_path / "downloads").exists()
    record = json.loads((tmp_path / "out/fetched.json").read_text())
    assert (record["source"], record["id"], record["url"]) == ("bucket", None, hub.url)
    assert list(record["files"]) == [f"batch-{number}.jsonl.gz" for number in range(12)]
    for name, content in batches(hub).items():
        assert record["files"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_batch_that_breaks_off_on_the_way_goes_on_where_it_was(hub: Hub, tmp_path: Path):
    name = "batch-3.jsonl.gz"
    hub.objects[PREFIX + name] = random.Random(1).randbytes(3_500_000)
    hub.cut[name] = [2_500_000]
    assert call(hub, tmp_path) == ""
    assert fetched(tmp_path / "out") == batches(hub)
    assert hub.gets(name) == [None, f"bytes={2 * 2**20}-"]


def test_a_killed_fetch_goes_on_within_the_file_that_it_was_at(hub: Hub, tmp_path: Path):
    name = "batch-5.jsonl.gz"
    hub.objects[PREFIX + name] = random.Random(1).randbytes(3_500_000)
    hub.hang[name] = 2_500_000
    command = server.command(STAGE, arguments(tmp_path, hub))
    process = subprocess.Popen(command, env=server.environment(hub.url, tmp_path / "cache"))
    assert hub.hanging.wait(600)
    part = tmp_path / "downloads"
    while not any(path.stat().st_size >= 2 * 2**20 for path in part.glob(f"{name}.*")):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    hub.hang.clear()
    hub.asked.clear()
    assert call(hub, tmp_path) == ""
    assert fetched(tmp_path / "out") == batches(hub)
    assert hub.gets(name) == [f"bytes={2 * 2**20}-"]
    assert not hub.gets("batch-4.jsonl.gz")


def test_a_file_whose_content_changed_since_the_kill_is_not_mixed(hub: Hub, tmp_path: Path):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "batch-0.jsonl.gz").write_bytes(b"whole, but of last year")
    (downloads / f"batch-1.jsonl.gz.{'0' * 32}.part").write_bytes(b"a part of last year's")
    assert call(hub, tmp_path) == ""
    assert fetched(tmp_path / "out") == batches(hub)


def test_content_that_is_not_what_the_listing_says_is_dropped(hub: Hub, tmp_path: Path):
    name = "batch-2.jsonl.gz"
    etag = hashlib.md5(hub.objects[PREFIX + name]).hexdigest()
    (tmp_path / "downloads").mkdir()
    part = tmp_path / "downloads" / f"{name}.{etag}.part"
    part.write_bytes(b"flipped bits")
    assert f"{name}: what came is not what the bucket lists (size or MD5)" in call(hub, tmp_path)
    assert not part.exists()
    assert call(hub, tmp_path) == ""
    assert fetched(tmp_path / "out") == batches(hub)


def test_a_hole_in_the_numbers_is_only_a_warning(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    copy = tmp_path / "copy" / PREFIX.removeprefix("v1/")
    copy.mkdir(parents=True)
    for number in (0, 2, 10, 5):
        (copy / f"batch-{number}.jsonl.gz").write_bytes(hub.objects[f"{PREFIX}batch-{number}.jsonl.gz"])
    fetch_exports(**arguments(tmp_path, folder=str(tmp_path / "copy")))
    assert "no batch 1, 3, 4, 6, 7, 8, 9;" in caplog.text
    assert (tmp_path / "out/batch-10.jsonl.gz").readlink() == copy / "batch-10.jsonl.gz"
    record = json.loads((tmp_path / "out/fetched.json").read_text())
    assert record["source"] == "folder"
    assert list(record["files"]) == [f"batch-{number}.jsonl.gz" for number in (0, 2, 5, 10)]


def test_no_exports_no_network_and_no_bucket_are_one_clear_line_each(hub: Hub, tmp_path: Path):
    hub.objects["v1/x/y/activations/batch-0.jsonl.gz"] = b""
    empty, network, page = server.call(
        STAGE,
        hub.url,
        tmp_path / "cache",
        arguments(tmp_path, hub, source="99-gemmascope-res-16k"),
        arguments(tmp_path),
        arguments(tmp_path, url=f"{hub.url}/bucket-that-is-not-one", model="doctype"),
    )
    assert "nothing named v1/gemma-2-2b/99-gemmascope-res-16k/activations/batch-N.jsonl.gz; check neuronpedia" in empty
    assert network.startswith("http://127.0.0.1:9: cannot be reached ([Errno 111] Connection refused)")
    assert network.endswith("or give neuronpedia.folder with a copy")
    assert "is a web page, not a bucket's; check neuronpedia.url" in page
    assert "offline mode, HF_HUB_OFFLINE" in call(hub, tmp_path, HF_HUB_OFFLINE="1")
    with pytest.raises(IsoglossError, match=r"12-gemmascope-res-16k/activations: no batch-N\.jsonl\.gz there"):
        fetch_exports(**arguments(tmp_path, folder=str(tmp_path)))
    assert not (tmp_path / "out").exists()
