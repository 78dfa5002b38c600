"""The API in this process, on a real database, and the one shape that every error must have.

Belongs here: what several test modules of the API ask. Does not belong here: what they expect of a route.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from market_spine.api.app import build_app
from market_spine.api.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX
from market_spine.settings import Settings
from market_spine_tests.driving import Platform
from market_spine_tests.small_reports import FRI, MON, THU, TUE, WED, deliver, event, report

FIRST = date(2026, 2, 2)
METRICS, TRADES, QUALITY = "/api/v1/otc/metrics/daily", "/api/v1/otc/trades", "/api/v1/otc/quality"
QUARANTINE, SYMBOLS = "/api/v1/otc/quarantine", "/api/v1/otc/symbols"
REVISIONS = "/api/v1/otc/metrics/revisions"
ROUTES = (
    METRICS,
    f"{REVISIONS}?symbol=ACME",
    f"{TRADES}?date=2026-02-02",
    QUALITY,
    QUARANTINE,
    SYMBOLS,
    "/health/live",
    "/health/ready",
)
ARROW = "application/vnd.apache.arrow.stream"
MEMBERS = ["type", "title", "status", "code", "detail", "field", "request_id"]


@dataclass
class Api:
    """A running application; ``get`` asks it as a client would."""

    app: FastAPI
    loop: asyncio.AbstractEventLoop

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request; ``json`` or ``content`` is its body."""

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as client:
                return await client.request(method, path, headers=dict(headers or {}), **more)

        return self.loop.run_until_complete(asked())

    def get(self, path: str, **headers: str) -> httpx.Response:
        """A GET; headers as keywords: ``accept="text/csv"``, ``if_none_match=tag``."""
        return self.ask("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})

    def data(self, path: str) -> list[dict[str, Any]]:
        """The rows of a page, decimals exact."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = exact(answer)["data"]
        return rows

    def pages(self, path: str) -> list[list[dict[str, Any]]]:
        """All pages of an answer."""
        found, cursor = [], ""
        while True:
            body = exact(self.get(f"{path}{cursor}"))
            found.append(body["data"])
            if body["next_cursor"] is None:
                return found
            cursor = f"&cursor={body['next_cursor']}"


def exact(answer: httpx.Response) -> Any:
    """The body, its decimals as such."""
    return answer.json(parse_float=Decimal)


@contextmanager
def serving(settings: Settings) -> Iterator[Api]:
    """The application with its pool open."""
    app = build_app(settings)
    loop = asyncio.new_event_loop()
    life = app.router.lifespan_context(app)
    loop.run_until_complete(life.__aenter__())
    try:
        yield Api(app, loop)
    finally:
        loop.run_until_complete(life.__aexit__(None, None, None))
        loop.close()


def assert_problem(
    answer: httpx.Response, code: str, *, field: str | None = None, says: str = "", execution: str | None = None
) -> None:
    """The answer is a problem of this code, in the one shape there is."""
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    body = answer.json()
    assert list(body) == [*MEMBERS, *(["execution"] if execution else [])]
    assert body.get("execution") == execution
    kind = KINDS[code]
    assert (body["code"], body["status"], answer.status_code) == (code, kind.status, kind.status), answer.text
    assert body["type"] == TYPE_PREFIX + code
    assert body["title"] == kind.title
    assert body["detail"]
    assert "\n" not in body["detail"]
    assert says in body["detail"], body["detail"]
    assert body["field"] == field
    assert re.fullmatch(r"\S+", body["request_id"])
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (kind.status in (429, 503))
    assert ("www-authenticate" in answer.headers) == (code in ("unauthenticated", "insufficient_scope"))
    assert "etag" not in answer.headers


def settings_for(url: str, folder: Path, **more: Any) -> Settings:
    """Settings of an API on a database."""
    return Settings(database_url=url, first_session=FIRST, state_dir=folder / "state", **more)


def week(platform: Platform) -> None:
    """Four days of three symbols, with odd prices, a cancel that comes later, and reports that cannot be taken."""
    for number, day in enumerate((MON, TUE, WED, FRI)):
        at = {"executed_at": f"{day}T15:00:00Z", "reported_at": f"{day}T16:00:00Z"}
        more = [
            report(f"{number}A", price="10.0000000001", size="100.5", **at),
            report(f"{number}B", price="12.3456789012", size="200", venue="ARCA", side="B", **at),
            report(f"{number}C", symbol="BRVX", price="0.0001", size="1", **at),
            report(f"{number}D", symbol="ECHO/W.A-1", price="7", size="3", venue="X\\Y", **at),
            report(f"{number}E", price="-1", **at),
        ]
        if day == WED:
            more.append(event("cancel", "2X", "0B", MON, reported_at=f"{WED}T17:00:00Z"))
        deliver(platform, day, *(more if day != FRI else more[:2]))
    platform.settle()


DAYS = (MON, TUE, WED, FRI)
NO_TRADES = THU
