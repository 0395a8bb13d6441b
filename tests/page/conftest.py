"""A real server and a real headless Chromium for the tests of the web page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Without these Chromium looks for its maker's hosts at each start.
CHROMIUM_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Served:
    """A running `lorid-edge serve`."""

    process: subprocess.Popen[str]
    address: str
    token: str

    @property
    def page(self) -> str:
        return f"{self.address}/#token={self.token}"

    def post(self, problem: dict[str, Any]) -> Any:
        """The response to a solve; streamed if the problem says so."""
        return urlopen(
            Request(
                f"{self.address}/v1/solve",
                json.dumps(problem).encode(),
                {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            )
        )


@contextmanager
def serving(home: Path, pack: str, *options: str) -> Iterator[Served]:
    command = Path(sys.executable).parent / "lorid-edge"
    process = subprocess.Popen(
        [str(command), "serve", "--json", "--port", "0", "--pack", pack, *options],
        env={**os.environ, "LORID_EDGE_HOME": str(home), "LORID_EDGE_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "lorid-edge serve did not start; see its standard error"
        said = json.loads(line)
        yield Served(process, said["address"], said["token"])
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def brief_server(tiny_home: Path, brief_pack: Path) -> Iterator[Served]:
    """Solves a problem in about a second."""
    with serving(tiny_home, str(brief_pack), "--width", "2") as served:
        yield served


@pytest.fixture
def start_server(tiny_home: Path) -> Iterator[Callable[..., Served]]:
    """Starts a server of the test's own, on the pack tiny: its solves can last a minute."""
    from contextlib import ExitStack

    with ExitStack() as servers:
        yield lambda *options: servers.enter_context(serving(tiny_home, "tiny", *options))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each module: while it is open, no other test could run an event loop."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=executable,
            args=[*CHROMIUM_ARGUMENTS, *(["--no-sandbox"] if _is_root() else [])],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a browser profile of its own; the page must not have complained.

    Keyword arguments are those of a context, such as `color_scheme` and `viewport`.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_address(address: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        if address.startswith("http"):
            with page.expect_response("**/v1/packs"):  # the last thing that the page does at first
                page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert not complaints


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
