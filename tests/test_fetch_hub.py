"""Fetching from the Hub, through the real client: `fetch_questions` stands for all, it needs nothing else."""

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hub as server
from hub import Hub
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.languages import language_table
from isogloss.sources.questions import fetch_questions
from standin_latent import write_sources

STAGE = "isogloss.sources.questions:fetch_questions"
NAME = "someone/m_arc"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with server.serving() as running:
        yield running


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A folder as alexandrainst/m_arc has it, with more languages than are asked for."""
    folder = tmp_path / "upstream"
    for lang in ("en", "es", "da"):
        for split in ("train", "val", "test"):
            path = folder / "data" / lang / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"id": f"{lang}-{split}"}) + "\n")
    (folder / "README.md").write_text("questions")
    return folder


def flores(*languages: str) -> dict[str, str]:
    return {lang: language_table()[lang].flores for lang in languages}


def arguments(tmp_path: Path, output: str = "out", **source: Any) -> dict[str, Any]:
    settings = Source(**({"id": NAME} | source))
    return {"source": settings, "task": "arc", "languages": flores("en", "es"), "output": str(tmp_path / output)}


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.jsonl")}


def test_what_is_asked_for_is_linked_from_the_cache_and_recorded(hub: Hub, upstream: Path, tmp_path: Path):
    commit = hub.add(NAME, upstream, "datasets")
    assert server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path)) == [""]
    out = tmp_path / "out"
    assert contents(out) == {name: text for name, text in contents(upstream).items() if "/da/" not in name}
    assert all(path.is_symlink() and path.readlink().is_absolute() for path in out.rglob("*.jsonl"))
    record = json.loads((out / "fetched.json").read_text())
    assert (record["id"], record["revision"], record["requested"], record["source"]) == (NAME, commit, "main", "hub")
    assert record["files"] == {
        name: {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in contents(out).items()
    }
    assert not hub.gets("data/da/test.jsonl")
    assert hub.gets("README.md") == [None]  # once, for its licence
    assert not (out / "README.md").exists()


def test_a_pinned_commit_stays_when_the_branch_moves_on(hub: Hub, upstream: Path, tmp_path: Path):
    pinned = hub.add(NAME, upstream, "datasets")
    (upstream / "data/en/test.jsonl").write_text("newer\n")
    newer = hub.add(NAME, upstream, "datasets")
    both = [arguments(tmp_path, "pinned", revision=pinned), arguments(tmp_path, "newer")]
    assert server.call(STAGE, hub.url, tmp_path / "cache", *both) == ["", ""]
    for output, commit in (("pinned", pinned), ("newer", newer)):
        assert ((tmp_path / output / "data/en/test.jsonl").read_text() == "newer\n") == (output == "newer")
        assert json.loads((tmp_path / output / "fetched.json").read_text())["revision"] == commit


def test_a_file_that_breaks_off_on_the_way_goes_on_where_it_was(hub: Hub, upstream: Path, tmp_path: Path):
    long = "".join(f'{{"id": "{number}"}}\n' for number in range(1_200_000))  # the client writes 10 MB at a time
    (upstream / "data/es/train.jsonl").write_text(long)
    hub.add(NAME, upstream, "datasets")
    hub.cut["es/train.jsonl"] = [15_000_000]
    assert server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path)) == [""]
    assert (tmp_path / "out/data/es/train.jsonl").read_text() == long
    assert hub.gets("es/train.jsonl") == [None, f"bytes={10 * 2**20}-"]


def test_a_killed_fetch_leaves_no_output_and_keeps_the_files_that_it_had(hub: Hub, upstream: Path, tmp_path: Path):
    hub.add(NAME, upstream, "datasets")
    hub.hang["es/train.jsonl"] = 3
    environment = server.environment(hub.url, tmp_path / "cache")
    process = subprocess.Popen(server.command(STAGE, arguments(tmp_path)), env=environment, stderr=subprocess.DEVNULL)
    assert hub.hanging.wait(600)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    hub.hang.clear()
    hub.asked.clear()
    assert server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path)) == [""]
    assert contents(tmp_path / "out").keys() == {name for name in contents(upstream) if "/da/" not in name}
    downloaded = [path for method, path, _ in hub.asked if method == "GET" and "resolve" in path]
    assert [path.split("/data/")[1] for path in downloaded if "/data/" in path] == ["es/train.jsonl", "es/val.jsonl"]


def test_gated_unknown_and_misspelt_repositories_are_one_clear_line_each(hub: Hub, upstream: Path, tmp_path: Path):
    hub.add(NAME, upstream, "datasets")
    hub.add("someone/gated", upstream, "datasets")
    hub.gated.add("datasets/someone/gated")
    hub.add("someone/forbidden", upstream, "datasets")
    hub.forbidden.add("datasets/someone/forbidden")
    gated, forbidden, unknown, revision, misspelt = server.call(
        STAGE,
        hub.url,
        tmp_path / "cache",
        arguments(tmp_path, id="someone/gated"),
        arguments(tmp_path, id="someone/forbidden"),
        arguments(tmp_path, id="someone/m_arch"),
        arguments(tmp_path, revision="0" * 40),
        arguments(tmp_path, id="a/b/c"),
    )
    assert gated == (
        f"someone/gated at revision main: gated; accept its licence at {hub.url}/datasets/someone/gated,"
        " then `hf auth login` or set HF_TOKEN"
    )
    assert forbidden.startswith("someone/forbidden at revision main: the Hub answers 403 (")
    assert forbidden.endswith(
        f"; see that your token may read {hub.url}/datasets/someone/forbidden: `hf auth login` or set HF_TOKEN"
    )
    assert unknown.startswith("someone/m_arch at revision main: no dataset of that name at")
    assert revision.startswith(f"{NAME} at revision {'0' * 40}: the dataset has no such revision; see {hub.url}")
    assert misspelt.startswith("'a/b/c' is not the id of a repository (OWNER/NAME)")
    assert not (tmp_path / "out").exists()


def test_while_the_hub_is_down_it_says_so_or_takes_what_the_cache_has(hub: Hub, upstream: Path, tmp_path: Path):
    hub.add(NAME, upstream, "datasets")
    hub.down = True
    (line,) = server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path))
    assert line.startswith(f"{NAME} at revision main: the Hub answers 503 (")
    assert line.endswith("; try again later")
    hub.down = False
    assert server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path)) == [""]
    hub.down = True
    assert server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path)) == [""]


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_it_fails_without_waiting_or_takes_what_the_cache_has(
    hub: Hub, upstream: Path, tmp_path: Path, offline: bool
):
    commit = hub.add(NAME, upstream, "datasets")
    nobody, environment = "http://127.0.0.1:9", {"HF_HUB_OFFLINE": "1"} if offline else {}
    both = [arguments(tmp_path, "branch"), arguments(tmp_path, "commit", revision=commit)]
    lines = server.call(STAGE, nobody, tmp_path / "cache", *both, **environment)
    for line in lines:
        assert "the Hub cannot be reached (" in line
        assert ("offline mode, HF_HUB_OFFLINE" if offline else "Connection refused") in line
        assert line.endswith("fetch it where there is a network, or give `folder` with the repository's files")

    assert server.call(STAGE, hub.url, tmp_path / "cache", arguments(tmp_path)) == [""]
    more = arguments(tmp_path, "more") | {"languages": ["en", "da"]}
    *lines, line = server.call(STAGE, nobody, tmp_path / "cache", *both, more, **environment)
    assert lines == ["", ""]
    assert contents(tmp_path / "branch") == contents(tmp_path / "commit") == contents(tmp_path / "out")
    assert "(in the cache; the Hub is out of reach): data/da/test.jsonl is not there" in line


def test_a_local_folder_is_linked_not_copied(upstream: Path, tmp_path: Path):
    fetch_questions(**arguments(tmp_path, folder=str(upstream)))
    assert (tmp_path / "out/data/es/val.jsonl").readlink() == upstream / "data/es/val.jsonl"
    record = json.loads((tmp_path / "out/fetched.json").read_text())
    assert (record["id"], record["revision"], record["source"]) == (NAME, None, "folder")
    assert record["files"]["data/es/val.jsonl"]["bytes"] == (upstream / "data/es/val.jsonl").stat().st_size


def test_a_split_that_upstream_has_not_is_left_out(upstream: Path, tmp_path: Path):
    for lang in ("en", "es", "da"):
        (upstream / "data" / lang / "train.jsonl").unlink()
    fetch_questions(**arguments(tmp_path, folder=str(upstream)))
    assert sorted(path.name for path in (tmp_path / "out/data/en").iterdir()) == ["test.jsonl", "val.jsonl"]


def test_a_missing_folder_language_or_layout_is_one_clear_line(upstream: Path, tmp_path: Path):
    with pytest.raises(IsoglossError, match=r"nowhere: no such folder; correct `folder`"):
        fetch_questions(**arguments(tmp_path, folder="nowhere"))
    wanted = arguments(tmp_path, folder=str(upstream)) | {"languages": flores("en", "hi", "ml")}
    with pytest.raises(IsoglossError, match=r"arc has no questions in hi, ml; there are da, en, es"):
        fetch_questions(**wanted)
    (upstream / "data").rename(upstream / "questions")
    with pytest.raises(IsoglossError, match=r"no data/LANGUAGE/\{train,val,test\}\.jsonl \(there is README\.md"):
        fetch_questions(**arguments(tmp_path, folder=str(upstream)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "languages", "wanted"),
    [
        ("belebele", ["en", "zh-Hant"], {"data/eng_Latn.jsonl", "data/zho_Hant.jsonl"}),
        ("mmmlu", ["en", "es", "zh"], {"test/mmlu_ES-LA.csv", "test/mmlu_ZH-CN.csv"}),
        ("mmmlu-reference", ["en"], {"all/test-00000-of-00001.parquet"}),
        ("hellaswag", ["es"], {"data/es/val.jsonl"}),
    ],
)
def test_data_sets_of_parallel_questions_are_linked_by_their_names_upstream(
    task: str, languages: list[str], wanted: set[str], tmp_path: Path
):
    folder = write_sources(tmp_path / "upstream", ["en", "es", "zh", "zh-Hant"], 4)[task]
    (folder / "README.md").write_text("questions")
    asked = arguments(tmp_path, folder=str(folder)) | {"task": task, "languages": flores(*languages)}
    fetch_questions(**asked)
    record = json.loads((tmp_path / "out/fetched.json").read_text())
    assert set(record["files"]) == wanted
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")} == {
        *wanted,
        "fetched.json",
    }


def test_parallel_questions_of_another_layout_or_without_a_language_are_one_clear_line(tmp_path: Path):
    folders = write_sources(tmp_path / "upstream", ["en", "es"], 4)

    def fetch(task: str, folder: str, *languages: str) -> None:
        asked = arguments(tmp_path, folder=str(folders[folder]))
        fetch_questions(**{**asked, "task": task, "languages": flores(*languages)})

    with pytest.raises(IsoglossError, match=r"belebele has no questions in ja; there are en, spa_Latn: leave"):
        fetch("belebele", "belebele", "en", "ja")
    with pytest.raises(IsoglossError, match=r"mmmlu has no questions in ja; there are es"):
        fetch("mmmlu", "mmmlu", "en", "ja")
    with pytest.raises(IsoglossError, match=r"no test/mmlu_LANGUAGE-REGION\.csv \(there is data/en/val\.jsonl inst"):
        fetch("mmmlu", "hellaswag", "en")
    with pytest.raises(IsoglossError, match=r"no all/test-\*\.parquet \(there is test/.*csv inst.*cais/mmlu has"):
        fetch("mmmlu-reference", "mmmlu", "en")
    with pytest.raises(IsoglossError, match=r"no data/FLORES\.jsonl .*which facebook/belebele has"):
        fetch("belebele", "hellaswag", "en")
