"""Secrets out of what is written: tokens, passwords in URLs, signatures of links that let anyone in."""

import io
import os
import re
from collections.abc import Iterable

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_SHORTEST = 6  # characters of a variable's value that are taken for a secret: shorter ones are parts of words
_HIDDEN = "***"
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")  # as the Hub makes them
_PASSWORD = re.compile(r"(?<=://)[^\s/@'\"<>]+@")
_PATTERNS = (
    (_TOKEN, f"hf_{_HIDDEN}"),
    (_PASSWORD, f"{_HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer\s+)(?=\S*[\d_*])[^\s'\"]{6,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",)]+"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"(?i)(?<=[?&;])((?:x-(?:amz|goog)-)?(?:signature|credential|security-token)|sig|policy|token)=[^&\s'\"]+"
        ),
        rf"\1={_HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """`text` without the token that the environment holds and what looks like a secret, `***` instead."""
    for name in _VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= _SHORTEST:
            text = text.replace(value, _HIDDEN)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def holds_secret(text: str) -> bool:
    """Whether there is a token of the Hub or a URL with a password in `text`."""
    return bool(_TOKEN.search(text) or _PASSWORD.search(text))


class RedactedWriter(io.TextIOWrapper):
    """A text file, or what else is written to, from which secrets stay away; each is to be written in one piece."""

    def write(self, text: str, /) -> int:
        """As `TextIOWrapper.write`."""
        return super().write(redact(text))

    def writelines(self, lines: Iterable[str], /) -> None:  # the wrapper's own does not call `write`
        """As `TextIOWrapper.writelines`."""
        for line in lines:
            self.write(line)
