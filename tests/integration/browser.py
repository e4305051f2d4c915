"""A real browser for tests of pages: Debian's Chromium, headless, driven by playwright.

A test asks for the fixture `chromium_page` (see conftest.py) and bears `pytest.mark.browser`. It is
skipped, with the reason, where playwright or Chromium is missing.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing but the page under test: Chromium's own calls home fail on a closed network, many at a
# time. Root, as which CI runs, has no sandbox.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
LAPTOP = (1280, 800)  # CSS pixels
PATIENCE = 60  # seconds to wait for anything: the machine may be busy with other work


@dataclass
class WatchedPage:
    """A page and what went wrong on it.

    Attributes:
        page: playwright's page.
        problems: errors and warnings of the console, uncaught exceptions, failed requests.
        requested: addresses of all that was requested, the page itself included.
    """

    page: Page
    problems: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def watch(self) -> WatchedPage:
        """Collect from now on."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("requestfailed", self._on_failure)
        return self

    def wait_until(self, expression: str) -> None:
        """Wait until an expression of JavaScript is true.

        Unlike playwright's wait_for_function it needs no eval, which a page's policy may forbid.
        """
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"still false after {PATIENCE} s: {expression}"
            self.page.wait_for_timeout(50)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text}")

    def _on_failure(self, request: Request) -> None:
        # A page that is left aborts what it was still loading.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"request: {request.url}: {request.failure}")


def find_chromium() -> Path | None:
    """The browser: the one that the environment's CHROMIUM names, else the first one installed."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found and Path(found).is_file() else None


# Of a module, not of the session: while playwright's synchronous interface is open, its event loop
# counts as running, and other modules' asyncio.run() would fail.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running browser."""
    reason = "pip install playwright; its own browser is not needed"
    playwright = pytest.importorskip("playwright.sync_api", reason=f"no playwright: {reason}")
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or name it in CHROMIUM")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(path), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def chromium_page(chromium: Browser) -> Iterator[Callable[..., WatchedPage]]:
    """Opens empty pages: ``chromium_page()``, ``chromium_page((600, 900))`` for another window.

    Each page has a context of its own, so that no test meets another's storage. Downloads are
    accepted; waiting for anything ends after `PATIENCE`.
    """
    contexts = []

    def open_page(window: tuple[int, int] = LAPTOP, **options: object) -> WatchedPage:
        viewport = {"width": window[0], "height": window[1]}
        context = chromium.new_context(viewport=viewport, accept_downloads=True, **options)
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        return WatchedPage(context.new_page()).watch()

    yield open_page
    for context in contexts:
        context.close()
