"""Debian's Chromium before a live service, and what no page may do there.

A test opens pages with `tabs`. Whatever a page does wrong fails the test when it ends: an error
in the console or in a script, something that the content security policy refused, a dialog, a
request to another host than the service.
"""

import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    WebError,
    expect,
    sync_playwright,
)

MISSING = "Chromium is missing: apt install chromium"
SWITCHES = [
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # not even asked for by name
]
PATIENCE = 20_000  # milliseconds; a wait ends as soon as what it waits for is there
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 844}
_TELL = """addEventListener("securitypolicyviolation", (event) => {
  console.error(`the policy refused ${event.effectiveDirective} ${event.blockedURI}`);
});"""


class Tabs:
    """The browsers of one test, each with cookies of its own, and what their pages did."""

    def __init__(self, chromium: Browser) -> None:
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []
        self._own: set[str] = set()
        self._expected: list[str] = []
        self._allowed: list[str] = []
        self._faults: list[str] = []
        self.requests: list[Request] = []

    def open(self, url: str, cookie: str = "", **options: Any) -> Page:
        """Open a service's page in a fresh browser.

        cookie    the session's secret of who is signed in
        options   as of Playwright's `new_context`
        """
        context = self._chromium.new_context(**{"viewport": WIDE, **options})
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.add_init_script(_TELL)
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        parts = urlsplit(url)
        self._own.add(parts.netloc)
        if cookie:
            root = f"{parts.scheme}://{parts.netloc}/"
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": root}])
        page = context.new_page()
        page.goto(url)
        return page

    def expect(self, pattern: str) -> None:
        """Let errors pass that the pattern finds; the test fails where there is none."""
        self._expected.append(pattern)

    def allow(self, pattern: str) -> None:
        """Let errors pass that the pattern finds, whether there are any or not."""
        self._allowed.append(pattern)

    def paths(self) -> list[str]:
        """What was asked of the service, in order."""
        return [urlsplit(request.url).path for request in self.requests]

    def close(self) -> None:
        """End the browsers. Fails where a page did what it must not."""
        for context in self._contexts:
            context.close()
        for pattern in self._expected:
            assert any(re.search(pattern, fault) for fault in self._faults), pattern
        known = "|".join([*self._expected, *self._allowed]) or "(?!)"
        assert [fault for fault in self._faults if not re.search(known, fault)] == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self._faults.append(f"console: {message.text} ({message.location.get('url')})")

    def _error(self, error: WebError) -> None:
        self._faults.append(f"script: {error.error}")

    def _dialog(self, dialog: Dialog) -> None:
        self._faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        host = urlsplit(request.url.removeprefix("blob:")).netloc
        if host not in self._own:
            self._faults.append(f"another host: {request.url}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser of Debian for all tests of a module.

    Not of the session: while it runs, this thread has a running event loop, and tests of
    other modules may want one of their own.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=SWITCHES, chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture
def tabs(chromium: Browser) -> Iterator[Tabs]:
    """Fresh browsers for one test, held to what no page may do."""
    opened = Tabs(chromium)
    yield opened
    opened.close()
