"""Secrets out of what is written: tokens, passwords in URLs, signatures of links that let anyone in."""

import io
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_ADDRESSES = ("HF_ENDPOINT", *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "FTP", "WS", "WSS")))
_SHORTEST = 6  # characters of a variable's value that are taken for a secret: shorter ones are parts of words
_HIDDEN = "***"
_TOKEN = re.compile(r"\bhf_(?:oauth_(?=\S*\d)[\w.-]{16,}|[A-Za-z0-9]{20,})")  # as the Hub makes them
_PASSWORD = re.compile(r"(?<=://)[^\s/@'\"<>]+@")
_SIGNED = re.compile(
    r"(?i)(?<=[?&;])((?:x-(?:amz|goog)-)?(?:signature|credential|security-token)|sig|policy|(?:access_?|auth_?)?token"
    r"|api_?key)=[^&\s'\"]+"
)
_PATTERNS = (
    (_TOKEN, f"hf_{_HIDDEN}"),
    (_PASSWORD, f"{_HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer\s+)(?=\S*[\d_*])[^\s'\"]{6,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",)]+"), rf"\1{_HIDDEN}"),
    (_SIGNED, rf"\1={_HIDDEN}"),
)


def redact(text: str) -> str:
    """`text` without the secrets that the environment holds and what looks like one, `***` instead."""
    for value in _held():
        text = text.replace(value, _HIDDEN)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _held() -> list[str]:
    """The environment's tokens, and the parts of its addresses that say who asks; the longest first."""
    held = {os.environ.get(name, "").strip() for name in _VARIABLES}
    values = {value for value in held if len(value) >= _SHORTEST}
    for name in (*_ADDRESSES, *map(str.lower, _ADDRESSES)):
        values.update(_credentials(os.environ.get(name, "").strip()))
    return sorted(values, key=lambda value: (-len(value), value))


def _credentials(address: str) -> Iterator[str]:
    """What stands before an address's last `@`, whole and its password, as they are and as a URL has them.

    A password may hold what ends a host's name (/ # ?), where URLs are read otherwise, and the scheme may be missing.
    """
    user, _, _ = re.sub(r"^[a-zA-Z][\w+.-]*:/+", "", address).rpartition("@")
    for part in {user, user.partition(":")[2]}:
        for pieces in ([part], re.split("[/?#]", part)):  # a URL's parts may stand apart in a message
            for piece in pieces:
                yield from {form for form in (piece, unquote(piece), quote(piece, "")) if len(form) >= _SHORTEST}


def has_credentials(address: str) -> bool:
    """Whether an address says who asks, however ill it is written."""
    return "@" in address


def holds_secret(text: str) -> bool:
    """Whether there is a token of the Hub, a URL with a password or a signed one in `text`."""
    return bool(_TOKEN.search(text) or _PASSWORD.search(text) or ("://" in text and _SIGNED.search(text)))


class RedactedWriter(io.TextIOWrapper):
    """A text file, or what else is written to, from which secrets stay away; each is to be written in one piece."""

    def write(self, text: str, /) -> int:
        """As `TextIOWrapper.write`."""
        return super().write(redact(text))

    def writelines(self, lines: Iterable[str], /) -> None:  # the wrapper's own does not call `write`
        """As `TextIOWrapper.writelines`."""
        for line in lines:
            self.write(line)
