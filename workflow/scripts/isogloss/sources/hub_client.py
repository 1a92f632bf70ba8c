"""The HTTP client that huggingface_hub speaks through: how long it waits, what is an answer, who sees the token.

huggingface_hub sleeps as long as a server asks for, waits without end where it sets no timeout, and takes the login
page of a network for a file. Redirects off the Hub lose the token in huggingface_hub and httpx too; here it is sure.
"""

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_token, set_client_factory
from huggingface_hub.utils import parse_ratelimit_headers
from huggingface_hub.utils._http import default_client_factory

from isogloss.errors import IsoglossError
from isogloss.redaction import has_credentials, holds_secret, redact

logger = logging.getLogger(__name__)

PATIENCE = 600  # seconds that a server may make us wait in one go, in all; the Hub's windows are of 300
PAGES = 10_000  # of a list of files; the Hub's have 1,000 files
LARGEST = 1 << 29  # bytes of what the Hub's API answers, the pages of a list together
CONNECT, READ = 10.0, 30.0  # seconds without a connection, without a byte, where huggingface_hub sets no limit
_BUSY = (408, 429, 500, 502, 503, 504)
_PAGES = ("text/html", "application/xhtml+xml")
_LOGIN = (
    "the login page of a network or a proxy; log in there with a browser, or set HTTPS_PROXY or HF_ENDPOINT right, and"
    " run it again"
)
_OTHER = "set HTTPS_PROXY or HF_ENDPOINT right, or try again later"
_COMMIT = re.compile("[0-9a-f]{40,64}")
_PORTS = {"http": 80, "https": 443}


class Unusable(httpx2.TransportError):
    """An answer that trying again does not make better; the message says why and what to do."""


@cache
def use_client() -> None:
    """Make huggingface_hub, and its `get_session`, use this client from now on.

    Raises `IsoglossError` for an endpoint or a token that no request can be made with.
    """
    endpoint = constants.ENDPOINT
    if has_credentials(endpoint) or holds_secret(endpoint):
        raise IsoglossError("HF_ENDPOINT has a password in it, which ends up in logs; give it without (~/.netrc)")
    if urlsplit(endpoint).scheme not in _PORTS or not urlsplit(endpoint).hostname:
        raise IsoglossError(f"HF_ENDPOINT is {endpoint}, which is no URL; give https://HOST, or unset it")
    try:
        token = get_token() or ""
    except (OSError, UnicodeDecodeError) as error:
        raise IsoglossError(f"{constants.HF_TOKEN_PATH}: cannot be read ({error}); set HF_HOME right") from None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise IsoglossError(
            "the Hub's token (HF_TOKEN, or the file that `hf auth login` wrote) has characters that no token has; set"
            " it again"
        )
    set_client_factory(_client)


def _client() -> httpx2.Client:
    """Raises `IsoglossError` for a SOCKS proxy without the package that speaks with one."""
    try:
        client = default_client_factory()
    except ImportError:
        raise IsoglossError(
            "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is a SOCKS proxy, which needs the package socksio; `pip install"
            " socksio`, or give an HTTP proxy (http://HOST:PORT)"
        ) from None
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks["request"], _limit_waiting, _keep_token],
        "response": [*hooks["response"], _Patience().check, _Answers().check],
    }
    return client


def _limit_waiting(request: httpx2.Request) -> None:
    """Some calls of huggingface_hub have no timeout, and its client has none either."""
    limits = {"connect": CONNECT, "read": READ, "write": READ, "pool": READ}
    given = {key: limit for key, limit in request.extensions.get("timeout", {}).items() if limit is not None}
    request.extensions = {**request.extensions, "timeout": limits | given}


def _keep_token(request: httpx2.Request) -> None:
    """The token goes to the Hub and to no one else."""
    ours = {_origin(constants.ENDPOINT), _origin("https://huggingface.co")}
    if "Authorization" in request.headers and _origin(str(request.url)) not in ours:
        del request.headers["Authorization"]


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


class _Patience:
    """What servers made us wait since one of them gave an answer."""

    def __init__(self) -> None:
        self._waited = 0

    def check(self, response: httpx2.Response) -> None:
        """Say for how long a busy server wants us to wait and why; raise `Unusable` if that is too long."""
        if response.status_code not in _BUSY:
            self._waited = 0
            return
        wait = asked_wait(response.headers, time.time())
        response.headers.pop("Retry-After", None)
        if wait is None:
            return
        self._waited += wait
        about = f"{response.url.host} answers {response.status_code} and asks to wait {minutes(wait)}"
        if self._waited > PATIENCE:
            raise Unusable(f"{about}, longer than is waited for ({minutes(PATIENCE)}); run it again after that")
        response.headers["Retry-After"] = str(wait)  # in the one form that huggingface_hub reads
        logger.warning("%s before the next request", about)


def asked_wait(headers: Mapping[str, str], now: float) -> int | None:
    """The seconds that an answer asks to wait: of its rate limit, or Retry-After in seconds or as a date.

    A date is compared with the server's own (`Date`), since clocks differ, else with `now`. None for what says
    nothing that can be read.
    """
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return int(value[:12])
    until = _date(value)
    return None if until is None else max(0, math.ceil(until - (_date(headers.get("Date", "")) or now)))


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def minutes(seconds: int) -> str:
    """A time in words."""
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


class _Answers:
    """What is no answer of the Hub, or an endless one; remembers the pages of the list of files that is being read."""

    def __init__(self) -> None:
        self._pages: set[str] = set()
        self._bytes = 0
        self._next: str | None = None

    def check(self, response: httpx2.Response) -> None:
        """Raise `Unusable` for what a network puts in the Hub's place: a web page, or what the Hub's API never says."""
        if not response.is_success:
            return
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind in _PAGES:
            raise Unusable(f"a web page came instead of {_shown(response)}: {_LOGIN}")
        if what := re.search(r"/api/(?:models|datasets)/[^?]+/(revision|tree)/", str(response.url)):
            self._turn(response)
            self._read(response)
            try:
                answer = response.json()
            except (ValueError, RecursionError):
                answer = None
            if not (_is_tree(answer) if what[1] == "tree" else _is_repository(answer)):
                raise Unusable(f"what came from {_shown(response)} is no answer of the Hub: {_LOGIN}")

    def _turn(self, response: httpx2.Response) -> None:
        """Note the page and which is next: a list that comes back to one of its pages never ends."""
        if str(response.url) != self._next:  # another list
            self._pages, self._bytes = set(), 0
        self._pages.add(str(response.url))
        self._next = response.links.get("next", {}).get("url")
        if self._next in self._pages or len(self._pages) > PAGES:
            raise Unusable(f"the list of files from {_shown(response)} does not end; {_OTHER}")

    def _read(self, response: httpx2.Response) -> None:
        """The body, as `response.read()` would keep it, but no more than `LARGEST`."""
        parts: list[bytes] = []
        for part in response.iter_bytes():
            parts.append(part)
            self._bytes += len(part)
            if self._bytes > LARGEST:
                raise Unusable(f"over {LARGEST >> 20} MB came from {_shown(response)}; {_OTHER}")
        response._content = b"".join(parts)


def _is_repository(answer: Any) -> bool:
    """Whether it has a commit, which names a folder of the cache, and files with names."""
    commit = answer.get("sha") if isinstance(answer, dict) else None
    files = answer.get("siblings", ()) if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None
    return isinstance(files, Sequence) and all(
        isinstance(file, dict) and isinstance(file.get("rfilename"), str) for file in files
    )


def _is_tree(answer: Any) -> bool:
    return isinstance(answer, list) and all(isinstance(entry, dict) and _is_entry(entry) for entry in answer)


def _is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether it is a folder of the Hub's list, or a file with its size and checksums."""
    parts = [entry] if (large := entry.get("lfs")) is None else [entry, large]
    sizes = parts if entry.get("type") == "file" else []
    return (
        all(isinstance(part, dict) and isinstance(part.get("oid"), str) for part in parts)
        and all(type(part.get("size")) is int for part in sizes)
        and all(isinstance(entry.get(key), str) for key in ("type", "path"))
    )


def _shown(response: httpx2.Response) -> str:
    return redact(str(response.url.copy_with(query=None)))
