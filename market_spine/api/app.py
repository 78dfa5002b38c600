"""The application: routes, errors, the database's pool, the OpenAPI.

What it is: ``build_app`` puts it together from settings; nothing happens at import, so that a server with several
processes, a test and a tool can each make their own.
Belongs here: putting together. Does not belong here: anything a route does.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from market_spine.api import (
    dead_letters,
    documentation,
    executions,
    health,
    health_documentation,
    inventory,
    ledger_documentation,
    metrics,
    page,
    problems,
    prometheus,
    quality,
    revisions,
    trades,
)
from market_spine.api.auth import Gate, Keys
from market_spine.api.context import Context
from market_spine.api.database import Reader
from market_spine.api.edge import Edge
from market_spine.api.ledger_access import LedgerAccess
from market_spine.calendar import TradingCalendar
from market_spine.errors import LedgerError, SettingsError
from market_spine.ledger.webserver import Webserver
from market_spine.observability import traces
from market_spine.observability.logs_setup import configure
from market_spine.observability.metrics import Process
from market_spine.observability.metrics_http import Measured
from market_spine.observability.metrics_scrape import Scraper
from market_spine.settings import Settings
from market_spine.warehouse.engine import Warehouse

PREFIX = "/api/v1"
SHARE_OF_PATIENCE = 0.75
"""Of the time for which a run waits to replace a day: that long at most may a stream hold the day's partition."""


def build_app(
    settings: Settings,
    database_url: str = "",
    *,
    dagster_url: str = "",
    find_webserver: Callable[[], Webserver] | None = None,
) -> FastAPI:
    """The API on one database.

    Args:
        settings: as read by whoever starts it.
        database_url: the market database, where the settings name none (the embedded server).
        dagster_url: Dagster's database, where the settings name none.
        find_webserver: says where Dagster's webserver answers now; that of the settings, by default.

    Raises:
        SettingsError: nobody names a database; or the calendar cannot begin where it is told to.
    """
    url = settings.api_database_url or settings.database_url or database_url
    if not url:
        raise SettingsError(
            "MARKET_SPINE_API_DATABASE_URL is ''; expected an address like postgresql://user@host:5432/database, or "
            "start the API by `spine api`, which knows the embedded server"
        )
    warehouse = Warehouse(url, lock_timeout_ms=settings.lock_timeout_ms)
    patience = warehouse.lock_timeout_ms * warehouse.lock_tries / 1000
    context = Context(
        Reader(url, settings.api_connections, settings.api_query_seconds),
        TradingCalendar(settings.first_session),
        stream_seconds=settings.api_stream_seconds,
        day_seconds=max(1, min(settings.api_stream_seconds, int(patience * SHARE_OF_PATIENCE))),
        ledger=LedgerAccess(
            settings,
            settings.database_url or database_url,
            dagster_url or settings.dagster_database_url,
            find_webserver or (lambda: _webserver_of(settings)),
        ),
    )

    scraper = Scraper(
        settings, context.calendar, market_url=context.ledger.market_url, ledger_url=context.ledger.dagster_url
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await context.reader.open()
        context.ledger.open()
        scraper.open()
        try:
            yield
        finally:
            scraper.close()
            context.ledger.close()
            await context.reader.close()
            traces.flush()

    # No page of FastAPI's own for the OpenAPI: it loads its scripts from the network.
    app = _Application(
        title=documentation.TITLE,
        description=documentation.DESCRIPTION,
        version=version("market-spine"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = context
    app.state.keys = keys = Keys.of(settings)
    app.state.scraper = scraper
    app.state.process = process = Process()
    app.include_router(metrics.router, prefix=PREFIX)
    app.include_router(revisions.router, prefix=PREFIX)
    app.include_router(trades.router, prefix=PREFIX)
    app.include_router(quality.router, prefix=PREFIX)
    for part in (executions, dead_letters, inventory):
        app.include_router(part.router, prefix=PREFIX)
    for part in (executions, dead_letters):
        app.include_router(part.writes, prefix=PREFIX)
    app.include_router(health.router)
    app.include_router(prometheus.router)
    app.include_router(page.router)
    _shorten_the_way(app)
    problems.install(app)
    if keys.read:
        app.add_middleware(Gate, keys=keys, prefix=PREFIX)
    app.add_middleware(Edge)
    app.add_middleware(Measured, process=process)
    traces.watch(app)
    return app


class _Application(FastAPI):
    """FastAPI with an OpenAPI that says what is really answered."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            made = get_openapi(title=self.title, version=self.version, description=self.description, routes=self.routes)
            # FastAPI's own shape of a bad parameter is answered nowhere.
            made["components"] = {
                "schemas": documentation.schemas() | ledger_documentation.schemas() | health_documentation.schemas(),
                "securitySchemes": ledger_documentation.SECURITY,
            }
            read = {path: {"get": answers} for path, answers in documentation.ANSWERS.items()}
            may_read: list[dict[str, list[str]]] = [{"token": []}] if self.state.keys.read else [{}, {"token": []}]
            for path, methods in (read | ledger_documentation.ANSWERS | health_documentation.ANSWERS).items():
                for method, answers in methods.items():
                    operation = made["paths"][path][method]
                    # as written: FastAPI leaves out every null of an example; 400 comes before any route (``protocol``)
                    all_answers = {400: documentation.problem_answer("bad_request")} | answers
                    operation["responses"] = {str(status): answer for status, answer in all_answers.items()}
                    if path.startswith(PREFIX):
                        operation["security"] = may_read if method == "get" else [{"token": []}]
            self.openapi_schema = made
        return self.openapi_schema


def _shorten_the_way(app: FastAPI) -> None:
    """Let the route that is asked most be found first, and without FastAPI's solving of dependencies it does not have.

    0.13 ms of 0.85 ms. FastAPI's own route of the same address stays for the OpenAPI.
    """
    short = Route(f"{PREFIX}/otc/metrics/daily", metrics.daily_metrics)
    short.methods = {"GET"}
    app.router.routes.insert(0, short)


def _webserver_of(settings: Settings) -> Webserver:
    if not settings.webserver_url:
        raise LedgerError("no Dagster webserver is known; set MARKET_SPINE_WEBSERVER to its address")
    return Webserver(str(settings.webserver_url))


def from_environment() -> FastAPI:
    """For ``uvicorn --factory market_spine.api.app:from_environment``.

    Raises:
        SettingsError: as ``build_app``.
    """
    settings = Settings.from_env()
    configure(settings)
    traces.start(traces.API, settings)
    return build_app(settings)
