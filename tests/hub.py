"""A Hugging Face Hub and an S3 bucket on this machine: real HTTP, for the real clients.

Speaks what `huggingface_hub` asks for (repository at a revision, tree in pages, resolve with ETag, the Hub's
error codes) and what a bucket answers (paged listing, ranges), can break off a file on the way, and answers
anything else that a test wants.
"""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from isogloss.sources.hub_client import use_client

Answer = tuple[int, bytes, dict[str, str]]  # status, body, headers
LARGE = (".safetensors", ".npz", ".bin", ".gz", ".spm")  # kept by Git LFS upstream
RUNNER = """
import importlib, json, logging, pickle, sys, time
from isogloss.errors import IsoglossError
sleep, slept = time.sleep, [0.0]
def patient(seconds):
    slept[0] += seconds
    if slept[0] > 20:
        sys.exit(f"would wait {slept[0]} s")  # huggingface_hub's own retries take 23 s each
    sleep(seconds)
time.sleep = patient
logging.basicConfig(level=logging.WARNING)
module, name = sys.argv[1].split(":")
function, lines = getattr(importlib.import_module(module), name), []
for arguments in pickle.loads(bytes.fromhex(sys.argv[2])):
    try:
        lines.append(function(**arguments) or "")
    except IsoglossError as error:
        lines.append(str(error))
print("lines:", json.dumps(lines))
"""


@dataclass
class Hub:
    """What the server has, and what it was asked."""

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)  # path -> commit -> files
    gated: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)  # to this token
    down: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)  # the bucket's, by key
    page: int = 2  # objects of a page of the listing
    cut: dict[str, list[int]] = field(default_factory=dict)  # end of a path -> bytes after which to break off, in turn
    hang: dict[str, int] = field(default_factory=dict)  # end of a path -> bytes after which to say no more
    hanging: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    answer: Callable[[str, str], Answer | None] | None = None  # instead, by method and path; None: as always
    ranges: bool = True  # whether a range is sent where one is asked for, and not the whole
    tree_page: int = 1000  # files of a page of the tree
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    tokens: list[str | None] = field(default_factory=list)  # that came with each of `asked`

    def add(self, name: str, folder: Path, kind: str = "models") -> str:
        """Publish the files of `folder`; returns the commit."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.repositories.setdefault(f"{kind}/{name}", {})[commit] = files
        return commit

    def gets(self, end: str) -> list[str | None]:
        """The ranges in which the content of a file was asked for (None: whole)."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(end)]


@contextmanager
def serving() -> Iterator[Hub]:
    """A running server, empty at first."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()  # seconds to notice the end
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()


def environment(url: str, cache: Path, **more: str) -> dict[str, str]:
    """The environment of a process for which `url` is the Hub."""
    path = os.pathsep.join([str(Path(__file__).parents[1] / "workflow" / "scripts"), *sys.path])
    outside = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    ours = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "PYTHONPATH": path, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**outside, **ours, "NO_PROXY": "127.0.0.1", **more}


def redirect(patch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """In this process, what HF_ENDPOINT and HF_HOME do at the start of one; `forget` is for the end."""
    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_client.cache_clear()


def forget() -> None:
    """No client of a Hub that was redirected to is left."""
    use_client.cache_clear()
    set_client_factory(default_client_factory)


def command(function: str, *calls: Mapping[str, Any]) -> list[str]:
    """How to call `module:function` with each set of arguments, in a process of its own."""
    return [sys.executable, "-c", RUNNER, function, pickle.dumps(calls).hex()]


def call(function: str, url: str, cache: Path, *calls: Mapping[str, Any], **env: str) -> list[str]:
    """Call `module:function` in a process for which `url` is the Hub; the line each call fails with, or ""."""
    done = subprocess.run(command(function, *calls), env=environment(url, cache, **env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("lines:")[2])


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        split = urlsplit(self.path)
        path, query = unquote(split.path), parse_qs(split.query)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        self.hub.tokens.append(self.headers.get("Authorization"))
        parts = path.strip("/").split("/")
        if self.hub.answer and (answer := self.hub.answer(self.command, path)) is not None:
            self._send(answer[0], answer[1], answer[2])
        elif "list-type" in query:
            self._listing(query)
        elif self.hub.down:
            self._send(503, b"down for maintenance")
        elif parts[0] == "api" and len(parts) == 6:
            self._api("/".join(parts[1:4]), parts[4], parts[5])
        elif "resolve" in parts:
            at = parts.index("resolve")
            repository = "/".join(parts[:at]) if parts[0] == "datasets" else "models/" + "/".join(parts[:at])
            self._file(repository, parts[at + 1], "/".join(parts[at + 2 :]))
        elif path.lstrip("/") in self.hub.objects:
            content = self.hub.objects[path.lstrip("/")]
            self._content(content, {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})
        else:
            self._send(404, b"no such key")

    def _commit(self, repository: str, revision: str) -> str | None:
        """The commit, or None after an error was sent."""
        commits = self.hub.repositories.get(repository)
        if commits is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif revision == "main":
            return list(commits)[-1]
        elif revision not in commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        else:
            return revision
        return None

    def _api(self, repository: str, what: str, revision: str) -> None:
        commit = self._commit(repository, revision)
        if commit is None:
            return
        files, more = self.hub.repositories[repository][commit], {}
        if what == "revision":
            name = repository.split("/", 1)[1]
            answer: Any = {"id": name, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        else:
            start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
            end = start + self.hub.tree_page
            page = list(files.items())[start:end]
            answer = [{"type": "file", "path": name, **_blob(name, content)} for name, content in page]
            if end < len(files):
                url = f"{self.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={end}"
                more = {"Link": f'<{url}>; rel="next"'}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json", **more})

    def _file(self, repository: str, revision: str, name: str) -> None:
        commit = self._commit(repository, revision)
        if commit is None:
            return
        content = self.hub.repositories[repository][commit].get(name)
        if repository in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif repository in self.hub.forbidden:
            self._send(403, b"")
        elif content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        else:
            blob = _blob(name, content)
            etag = f'"{blob["lfs"]["oid"] if "lfs" in blob else blob["oid"]}"'
            headers = {"X-Repo-Commit": commit, "ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(len(content))}
            self._content(content, headers)

    def _listing(self, query: dict[str, list[str]]) -> None:
        if "doctype" in query["prefix"][0]:
            self._send(200, b"<!DOCTYPE html><html><body>Sign in to the network</body></html>")
            return
        keys = sorted(key for key in self.hub.objects if key.startswith(query["prefix"][0]))
        start = int(query.get("continuation-token", ["0"])[0])
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.hub.objects[key])}</Size>"
            f"<ETag>&quot;{hashlib.md5(self.hub.objects[key]).hexdigest()}&quot;</ETag></Contents>"
            for key in keys[start : start + self.hub.page]
        )
        end = start + self.hub.page
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < len(keys) else ""
        self._send(
            200,
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{rows}</ListBucketResult>".encode(),
            {"Content-Type": "application/xml"},
        )

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        """The file, or the range of it that was asked for; broken off where a test wants it."""
        span = self.headers.get("Range") if self.hub.ranges else None
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if span:
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        body, keep = content[start:], None
        if self.command == "GET":
            keep = next((cuts.pop(0) for end, cuts in self.hub.cut.items() if self.path.endswith(end) and cuts), None)
            hang = next((count for end, count in self.hub.hang.items() if self.path.endswith(end)), None)
            keep = hang if keep is None else keep
            if hang is not None:
                self._send(200, body, headers, keep)
                self.hub.hanging.set()
                self.hub.released.wait(600)
                self.close_connection = True
                return
        self._send(206 if span else 200, body, headers, keep)
        if keep is not None:
            self.close_connection = True

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, keep: int | None = None
    ) -> None:
        """An answer whose announced length is that of `body`, of which `keep` bytes are sent."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:keep])
            self.wfile.flush()


def _blob(name: str, content: bytes) -> dict[str, Any]:
    """What the Hub's tree says of a file: its Git blob, and for a large one its SHA-256."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    blob: dict[str, Any] = {"size": len(content), "oid": oid}
    if name.endswith(LARGE):
        blob["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return blob
