"""What a Hub, a proxy or a network may answer: each ends in the right file, or in one line that says what to do."""

import errno
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants

import hub as server
from hub import Answer, Hub, forget, redirect
from isogloss import new_study
from isogloss.config.pretrained import Source
from isogloss.errors import IsoglossError
from isogloss.new_study.given import open_given
from isogloss.sources.hub import link, open_repository
from isogloss.sources.hub_client import asked_wait, use_client

NAME = "someone/m_arc"
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz01234567"
FILE, LARGE = "data/en/test.jsonl", "data/en/large.bin"
CONTENT = b'{"id": "en-test"}\n' * 1000
PAGE = b"<html>Sign in to the campus network</html>"
AN_HOUR = 3600


@pytest.fixture
def slept() -> list[float]:
    """The seconds that were slept."""
    return []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slept: list[float]) -> Iterator[Hub]:
    """A Hub that huggingface_hub speaks to in this process, with a cache of the test's own and a token."""
    with server.serving() as running:
        redirect(monkeypatch, running.url, tmp_path / "cache")
        monkeypatch.setattr(time, "sleep", slept.append)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield running
    forget()


@pytest.fixture
def published(hub: Hub, tmp_path: Path) -> str:
    """The commit of a data set on the Hub."""
    folder = tmp_path / "upstream"
    for name in (FILE, LARGE, "data/en/val.jsonl", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CONTENT)
    return hub.add(NAME, folder, "datasets")


def take(*names: str, id: str = NAME, revision: str = "main") -> bytes:
    """The content of the last file."""
    files = open_repository(Source(id=id, revision=revision), "dataset").take(names or [FILE])
    return list(files.values())[-1].read_bytes()


def line(*names: str, **source: str) -> str:
    """The line that fetching ends in; nothing of the file stays."""
    with pytest.raises(IsoglossError) as caught:
        take(*names, **source)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def whenever(end: str, status: int, body: bytes = b"", **headers: str) -> Callable[[str, str], Answer | None]:
    answer = status, body, {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda method, path: answer if path.endswith(end) and method == "GET" else None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "40"}, 40),
        ({"Retry-After": " 0 "}, 0),
        ({"Retry-After": formatdate(1_000_060, usegmt=True)}, 60),
        ({"Retry-After": formatdate(1_009_060, usegmt=True), "Date": formatdate(1_009_000, usegmt=True)}, 60),
        ({"Retry-After": formatdate(900_000, usegmt=True)}, 0),
        ({"RateLimit": '"resolvers";r=0;t=55', "Retry-After": "7"}, 55),
        ({"RateLimit": '"resolvers";r=3;t=55', "Retry-After": "7"}, 7),
        ({"Retry-After": "9" * 5000}, 999_999_999_999),
        *(({"Retry-After": text}, None) for text in ("", "soon", "-5", "1e9", "²", "Wed, 99 Foo 2026 99:99:99 GMT")),
        ({}, None),
    ],
)
def test_what_a_server_asks_to_wait_is_read_in_all_its_forms(headers: dict[str, str], seconds: int | None):
    assert asked_wait(httpx2.Headers([(key.encode(), text.encode()) for key, text in headers.items()]), 1e6) == seconds


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("as_date", [False, True])
def test_a_short_wait_is_slept_out_and_said(
    hub: Hub, slept: list[float], caplog: pytest.LogCaptureFixture, as_date: bool
):
    waits = iter([3, 40])

    def limited(method: str, path: str) -> Answer | None:
        if path.endswith(FILE) and method == "GET" and (wait := next(waits, None)) is not None:
            return 429, b"", {"Retry-After": formatdate(time.time() + wait, usegmt=True) if as_date else str(wait)}
        return None

    hub.answer = limited
    with caplog.at_level(logging.WARNING, "isogloss"):
        assert take() == CONTENT
    said = [record.getMessage() for record in caplog.records if record.name.startswith("isogloss")]
    assert len(said) == 2
    assert all(text.startswith("127.0.0.1 answers 429 and asks to wait ") for text in said)
    assert 43 <= sum(slept) <= 43 + 2 * 2  # huggingface_hub adds a second, a date is of whole seconds


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("as_date", [False, True])
def test_a_wait_of_an_hour_is_not_slept_out(hub: Hub, slept: list[float], as_date: bool):
    hub.answer = whenever(
        FILE, 429, Retry_After=formatdate(time.time() + AN_HOUR, usegmt=True) if as_date else str(AN_HOUR)
    )
    assert line().startswith(f"{NAME} at revision main: 127.0.0.1 answers 429 and asks to wait 60 minutes, longer than")
    assert line().endswith("is waited for (10 minutes); run it again after that")
    assert not slept


@pytest.mark.usefixtures("published")
def test_many_short_waits_are_bounded_together(hub: Hub, slept: list[float]):
    hub.answer = whenever(FILE, 429, Retry_After="250")
    assert "asks to wait 4 minutes, longer than is waited for (10 minutes)" in line()
    assert sum(slept) == 2 * 251


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("end", ["/revision/main", FILE])
@pytest.mark.parametrize(
    ("status", "headers", "advice"),
    [
        (401, {}, "`hf auth login` or set HF_TOKEN"),
        (403, {}, "`hf auth login` or set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "gated; accept its licence at URL, then `hf auth login` or set HF_TOKEN"),
        (404, {}, "correct the id or the revision: see URL"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no such revision; see URL/commits/main"),
        (407, {}, "give the proxy's user and password (HTTPS_PROXY)"),
        (410, {}, "it was taken down: see URL, and give another source"),
        (451, {}, "it was taken down: see URL, and give another source"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, "taken down: see URL, and give another sou"),
        (408, {}, "try again later"),
        (418, {}, "try again later"),
        (500, {}, "try again later"),
        (502, {}, "try again later"),
        (503, {"Retry-After": "40"}, "try again in 40 s"),
        (504, {}, "try again later"),
    ],
)
def test_each_status_is_one_line_that_says_what_to_do(
    hub: Hub, end: str, status: int, headers: dict[str, str], advice: str
):
    hub.answer = lambda _, path: (status, b"no", headers) if path.endswith(end) else None
    said = line()
    assert said.startswith(f"{NAME} at revision main: ")
    assert advice.replace("URL", f"{hub.url}/datasets/{NAME}") in said


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("end", ["/revision/main", "/tree/COMMIT", FILE])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PAGE, "text/html; charset=utf-8"),
        (PAGE, "application/xhtml+xml"),
        (PAGE, "text/plain"),
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b"null", "application/json"),
        (b"[[1]]", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_what_no_hub_answers_is_one_line_and_no_file(hub: Hub, published: str, end: str, body: bytes, kind: str):
    hub.answer = whenever(end.replace("COMMIT", published), 200, body, Content_Type=kind)
    said = line()
    if "html" in kind:
        assert "a web page came instead of http://127.0.0.1" in said
    assert any(advice in said for advice in ("HF_ENDPOINT", "snakemake again", "is not there"))
    hub.answer = None
    assert take() == CONTENT  # nothing of it was kept


def test_a_page_of_a_file_is_fetched_whatever_the_network_says_elsewhere(hub: Hub, published: str):
    assert take("README.md", LARGE, revision=published) == CONTENT


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", [FILE, LARGE])
def test_content_of_the_right_length_but_another_checksum_is_dropped(hub: Hub, name: str, tmp_path: Path):
    hub.answer = whenever(name, 200, CONTENT[:-2] + b"!\n")
    assert line(name).endswith(
        f"{name} is not what the Hub lists (size or checksum), so it was dropped: a proxy or a damaged download;"
        " run snakemake again"
    )
    hub.answer = None
    assert take(name) == CONTENT
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("content", [CONTENT[:-5], CONTENT + b"more", b""])
def test_content_of_another_length_is_one_line(hub: Hub, content: bytes):
    hub.answer = whenever(FILE, 200, content)
    assert "run snakemake again" in line()
    hub.answer = None
    assert take() == CONTENT


@pytest.mark.usefixtures("published")
def test_a_body_that_comes_compressed_is_the_file(hub: Hub):
    hub.answer = whenever(FILE, 200, gzip.compress(CONTENT), Content_Encoding="gzip")
    assert take() == CONTENT
    hub.answer = whenever(LARGE, 200, b"not gzip", Content_Encoding="gzip")
    assert line(LARGE).startswith(f"{NAME} at revision main: ")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_that_breaks_off_is_the_whole_file_in_the_end(hub: Hub, ranges: bool):
    hub.ranges = ranges
    hub.cut[FILE] = [1000, 700]
    assert take() == CONTENT
    hub.cut[LARGE] = [1000] * 50
    assert "cannot be reached (" in line(LARGE)
    hub.cut.clear()
    assert take(LARGE) == CONTENT


@pytest.mark.usefixtures("published")
def test_a_renamed_repository_is_followed(hub: Hub):
    def moved(_: str, path: str) -> Answer | None:
        return (307, b"", {"Location": hub.url + path.replace("old/name", NAME)}) if "old/name" in path else None

    hub.answer = moved
    assert take(id="old/name") == CONTENT
    hub.answer = lambda _, path: (307, b"", {"Location": path})
    assert "cannot be reached (" in line()  # round and round


@pytest.mark.usefixtures("published")
def test_a_list_of_files_in_pages_is_read_to_its_end(hub: Hub):
    hub.tree_page = 1
    assert take(FILE, LARGE, "README.md") == CONTENT


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: Hub, published: str, caplog: pytest.LogCaptureFixture):
    headers = {"X-Repo-Commit": published, "X-Linked-ETag": '"abc"', "X-Linked-Size": str(len(CONTENT))}
    with server.serving() as other:
        signed = f"{other.url}/bucket/file?X-Amz-Signature=deadbeefdeadbeef&token={TOKEN}"
        other.objects["bucket/file"] = CONTENT
        hub.answer = lambda _, path: (302, b"", {**headers, "Location": signed}) if path.endswith(FILE) else None
        with caplog.at_level(logging.DEBUG):
            assert take() == CONTENT
            other.objects.clear()
            headers["X-Linked-ETag"] = '"def"'
            hub.answer = lambda _, path: (302, b"", {**headers, "Location": signed}) if path.endswith(LARGE) else None
            said = line(LARGE)
        assert other.asked
        assert set(other.tokens) == {None}
    assert set(hub.tokens) == {f"Bearer {TOKEN}"}
    assert "deadbeef" not in said


@pytest.mark.usefixtures("published")
def test_without_connection_it_is_one_line_or_what_the_cache_has(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    taken = ["http://127.0.0.1:9", "http://nowhere.invalid", "http://[::1]:9", hub.url.replace("http:", "https:")]
    for number, url in enumerate(taken):
        redirect(monkeypatch, url, tmp_path / f"cache{number}")
        assert line().startswith(f"{NAME} at revision main: the Hub cannot be reached (")
        assert line().endswith("fetch it where there is a network, or give `folder` with the repository's files")
    redirect(monkeypatch, hub.url, tmp_path / "cache")
    assert take() == CONTENT
    for url in taken:
        redirect(monkeypatch, url, tmp_path / "cache")
        assert take() == CONTENT
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert take() == CONTENT
    assert "(in the cache; the Hub is out of reach): data/en/val.jsonl is not there; fetch it wher" in line(
        "data/en/val.jsonl"
    )


def test_make_study_says_how_to_give_a_folder(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(IsoglossError) as caught:
        open_given("someone/model", "MODEL")
    assert str(caught.value) == (
        "MODEL=someone/model is no folder here, and of the Hub someone/model at revision main: the Hub cannot be"
        " reached (offline mode, HF_HUB_OFFLINE); fetch it where there is a network, or give MODEL=FOLDER with the"
        " repository's files"
    )


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("huggingface.co", "HF_ENDPOINT is huggingface.co, which is no URL; give https://HOST, or unset it"),
        ("ftp://huggingface.co", "HF_ENDPOINT is ftp://huggingface.co, which is no URL"),
        ("https://", "HF_ENDPOINT is https://, which is no URL"),
        ("https://user:geheim@mirror.example", "HF_ENDPOINT has a password in it, which ends up in logs"),
        ("user:geheim@mirror.example", "HF_ENDPOINT has a password in it, which ends up in logs"),
        ("https:/user:geheim@mirror.example", "HF_ENDPOINT has a password in it, which ends up in logs"),
        ("https://user:ge'heim/x@mirror.example", "HF_ENDPOINT has a password in it, which ends up in logs"),
    ],
)
def test_an_endpoint_that_is_none_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str, advice: str
):
    redirect(monkeypatch, endpoint, tmp_path / "cache")
    assert line().startswith(advice)
    assert "geheim" not in line()


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, scheme: str):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, f"{scheme}://me:geheim0815@127.0.0.1:9")
    use_client.cache_clear()
    assert line() == (
        "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is a SOCKS proxy, which needs the package socksio; `pip install socksio`,"
        " or give an HTTP proxy (http://HOST:PORT)"
    )


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("token", ["hf_ключ", "hf_abc def", "hf_abc\tdef", "hf_abc\x7f"])
def test_a_token_that_is_none_is_one_line_without_it(monkeypatch: pytest.MonkeyPatch, token: str):
    monkeypatch.setenv("HF_TOKEN", token)
    use_client.cache_clear()
    assert line() == (
        "the Hub's token (HF_TOKEN, or the file that `hf auth login` wrote) has characters that no token has;"
        " set it again"
    )


@pytest.mark.usefixtures("published")
def test_a_cache_that_cannot_be_used_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for cache in (tmp_path / "file", Path("/proc/nohome")):
        redirect(monkeypatch, hub.url, cache)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        assert "the Hub's cache cannot be used (" in line()
        assert line().endswith("); set HF_HOME to a folder that can be written, or mend this one")
    redirect(monkeypatch, hub.url, tmp_path / "file")  # where the token is looked for, too
    monkeypatch.delenv("HF_TOKEN")
    assert line().startswith(f"{tmp_path}/file/token: cannot be read (")


@pytest.mark.usefixtures("published")
def test_a_full_disk_is_left_to_the_stage_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """/dev/full takes nothing: huggingface_hub's file is opened there."""
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return opened(Path("/dev/full") if path.suffix == ".incomplete" else path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left") as caught:
        take()
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "name",
    ["../../x.jsonl", "/etc/passwd", "data/../../x", "C:/x", "C:x", "..\\x", "\\\\host\\share\\x", "a\0b", "a\nb", ""],
)
def test_no_name_leads_out_of_a_repository_or_of_a_folder(hub: Hub, published: str, tmp_path: Path, name: str):
    files = hub.repositories[f"datasets/{NAME}"][published]
    files[name] = CONTENT
    assert name not in (open_repository(Source(id=NAME), "dataset").listing or ())
    assert "is no name of a file within it" in line(name)
    (tmp_path / "folder").mkdir()
    local = open_repository(Source(folder=str(tmp_path / "folder")))
    with pytest.raises(IsoglossError, match="is no name of a file within it"):
        local.take([name])
    with pytest.raises(IsoglossError, match="is no name of a file within it"):
        link({name: tmp_path / "upstream" / FILE}, tmp_path / "out" / "deep")
    assert not (tmp_path / "x.jsonl").exists()


def test_a_fetch_that_is_killed_in_a_file_leaves_none_and_begins_again(hub: Hub, published: str, tmp_path: Path):
    large = os.urandom(1 << 20) * 12  # huggingface_hub writes 10 MiB at a time
    hub.repositories[f"datasets/{NAME}"][published][LARGE] = large
    hub.hang[LARGE] = 11 << 20
    code = (
        "from isogloss.config.pretrained import Source; from isogloss.sources.hub import open_repository;"
        f"open_repository(Source(id={NAME!r}), 'dataset').take([{FILE!r}, {LARGE!r}])"
    )
    environment = server.environment(hub.url, tmp_path / "cache", HF_TOKEN=TOKEN)
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    assert hub.hanging.wait(300)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    snapshot = next((tmp_path / "cache" / "hub").rglob(published))
    assert not (snapshot / LARGE).exists()
    hub.hang.clear()
    hub.released.set()
    assert take(FILE, LARGE) == large
    assert json.dumps(hub.gets(FILE)) == "[null]"  # what was there was kept


@pytest.mark.parametrize("offline", [False, True])
def test_a_file_of_the_cache_that_was_cut_off_is_dropped_and_fetched_again(
    hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch, offline: bool
):
    assert take(FILE, LARGE) == CONTENT
    blob = open_repository(Source(id=NAME), "dataset").take([LARGE])[LARGE].resolve()
    blob.write_bytes(CONTENT[:-100])
    hub.down = offline
    assert f"{LARGE} is not what the Hub lists (size or checksum), so it was dropped" in line(LARGE)
    hub.down = False
    hub.asked.clear()
    assert take(FILE, LARGE) == CONTENT
    assert (hub.gets(FILE), hub.gets(LARGE)) == ([], [None])


@pytest.mark.parametrize("command", ["new_study", "plan"])
def test_a_command_ends_in_a_line_where_the_hub_cannot_even_be_imported(command: str):
    scripts = str(Path(new_study.__file__).parents[2])
    environment = os.environ | {"HF_ENDPOINT": "https://me:geheim0815/x@mirror.example", "PYTHONPATH": scripts}
    ended = subprocess.run(
        [sys.executable, "-m", f"isogloss.{command}", "--help"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("HF_ENDPOINT cannot be read as a URL; give https://HOST")
    assert len(ended.stderr.splitlines()) == 1
