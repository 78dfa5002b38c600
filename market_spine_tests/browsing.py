"""The page in a real browser, served by the real command.

What it is: ``Served`` is ``spine api`` as a process on a port of its own, which a test may stop and start again;
``Visit`` is a tab that writes down every request, every message of the console and every error of a script.
Belongs here: the life of server and browser, and what several tests ask a page. Does not belong here: expectations.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from market_spine_tests.processes import free_port

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 40
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRAWN = ".plot .main-svg"


@dataclass
class Served:
    """``spine api`` on one port.

    Args:
        environment: of the process; the settings of the deployment.
        port: its port.
        log: file of what it says.
    """

    environment: Mapping[str, str]
    port: int
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "market_spine.cli.main", "api", "--port", str(self.port)]
        # A file, not a pipe: nobody would read it, and a full one stops the server.
        with self.log.open("wb") as output:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=output)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                assert httpx.get(f"{self.origin}/health/live", timeout=10).status_code == 200
                return
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it as a supervisor does."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None
            said = self.log.read_text()
            assert "Traceback" not in said, said

    def data(self, path: str, **headers: str) -> Any:
        """An answer of the API, decimals exact."""
        answer = httpx.get(f"{self.origin}/api/v1/{path}", headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)


@contextmanager
def served(environment: Mapping[str, str]) -> Iterator[Served]:
    """One that runs for as long as the block."""
    port = free_port()
    with TemporaryDirectory(prefix="spine-api-") as folder:
        made = Served(environment, port, Path(folder) / "api.log")
        try:
            made.start()
            yield made
        finally:
            made.stop()


def program() -> str:
    """The browser on the PATH; without one the test is skipped."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("chromium is not here: .ci/tools installs it")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium; nothing is downloaded. Inside the block no Dagster run can be made in this process: playwright
    has an event loop in its thread."""
    path = program()
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses root, and needs rights that containers do not give; the pages are our own.
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


@dataclass
class Visit:
    """A tab.

    Args:
        page: playwright's.
        origin: of the API.
        requests: address of every request it made.
        complaints: errors and warnings of the console, and of scripts.
    """

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, context: BrowserContext, origin: str) -> "Visit":
        """A new tab that writes everything down."""
        made = cls(context.new_page(), origin)
        made.page.on("request", made._requested)
        made.page.on("console", made._said)
        made.page.on("pageerror", lambda error: made.complaints.append(f"script: {error}"))
        return made

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, query: str = "", *, drawn: bool = True) -> Page:
        """Go to the page; ``drawn``: wait for the chart and the session."""
        self.page.goto(f"{self.origin}/{query}")
        if drawn:
            self.settled()
        return self.page

    def settled(self) -> None:
        """Wait until chart, calendar and session are there and nothing is loading."""
        self.page.wait_for_selector(DRAWN)
        self.page.wait_for_selector("#session .chip")
        expect(self.page.locator("[aria-busy]")).to_have_count(0)

    def until(self, script: str, wanted: object, *, seconds: float = 10) -> None:
        """Wait until an expression has a value. Playwright's own way needs ``eval``, which the page refuses."""
        deadline = time.monotonic() + seconds
        while (found := self.page.evaluate(script)) != wanted:
            assert time.monotonic() < deadline, f"{script} is {found!r} and not {wanted!r}"
            time.sleep(0.05)

    def expect_complaint(self, part: str) -> None:
        """Take messages off the list that this test brings about on purpose."""
        expected = [said for said in self.complaints if part in said]
        assert expected, self.complaints
        self.complaints = [said for said in self.complaints if part not in said]

    def trace(self, name: str) -> dict[str, Any]:
        """What plotly drew under a name: x, y, base, customdata."""
        found: dict[str, Any] = self.page.evaluate(
            """name => {
                const drawn = document.querySelector(".plot").data.find((one) => one.name === name && one.x.length);
                return drawn ? JSON.parse(JSON.stringify(drawn)) : {x: [], y: []};
            }""",
            name,
        )
        return found

    def focused(self) -> str:
        """Id, day or text of what has the focus."""
        return str(
            self.page.evaluate(
                "(({id, dataset, textContent}) => id || dataset.day || textContent.trim())(document.activeElement)"
            )
        )


@contextmanager
def visiting(running: Browser, origin: str, **options: Any) -> Iterator[Visit]:
    """A tab of a browser that knows nothing yet.

    Whatever a test does there: no request leaves the origin, and nobody complains.
    """
    context = running.new_context(**options)
    context.set_default_timeout(15_000)
    try:
        visit = Visit.of(context, origin)
        yield visit
        elsewhere = [url for url in visit.requests if not url.startswith((f"{origin}/", "data:"))]
        assert not elsewhere, elsewhere
        assert not visit.complaints, visit.complaints
    finally:
        context.close()
