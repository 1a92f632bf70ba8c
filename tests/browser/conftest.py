"""What a page does in a browser that it should not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page


class Visit:
    """A page that is open, and what it did: addresses it went to, errors it wrote, dialogs it opened."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.address = path.as_uri()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.errors.append(f"{request.url[:200]}: {request.failure}"))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dismiss)
        page.goto(self.address, wait_until="load")

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def check(self) -> None:
        """The page asked for nothing but itself, wrote no error, opened no dialog, and ran nothing of its texts."""
        elsewhere = [url for url in self.requests if url.split("#")[0] != self.address and url[:5] not in KEPT]
        assert elsewhere == []
        assert self.errors == []
        assert self.dialogs == []
        assert self.page.evaluate("window.pwned") is None


KEPT = ("data:", "blob:")  # what needs no network


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a file in a window of its own; every page visited is checked at the end of the test."""
    visits: list[Visit] = []

    def open_file(path: Path, **window: Any) -> Visit:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **window})
        context.set_default_timeout(10_000)
        visits.append(Visit(context.new_page(), path))
        return visits[-1]

    yield open_file
    for one in visits:
        one.check()
        one.page.context.close()
