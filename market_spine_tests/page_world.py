"""A week of every state a session can have, made by real runs, for the tests of the page.

What it is: ``page_site`` makes the week, serves it and opens a browser, for one test module.
Belongs here: those files and runs. Does not belong here: how it is served and looked at (``browsing``), expectations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from playwright.sync_api import Browser

from market_spine.automation.executor import ledger_of
from market_spine.automation.jobs import FULL_REFRESH, REDO
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.browsing import Served, browser, program, served
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import Orchestra, break_file, deliver, report, shared_orchestra

PLAIN, RESTATED, QUARANTINED, FAILED, MISSING, LAST = (date(2026, 3, day) for day in (3, 4, 5, 6, 9, 10))
RANGE = f"start={PLAIN}&end={LAST}"
UI = "http://dagster.example:3000"
CORRECTED, CORRECTION = Decimal("10.9"), Decimal("11.5000000001")
"""Price of the last ACME report of the restated day, before and after."""
TRADES_ONLY_PLAIN = "LONE"
"""A symbol that trades on one day alone."""


@dataclass(frozen=True)
class PageWorld:
    """The finished week.

    Args:
        environment: settings of a deployment that serves it.
        failed_run: the run of the session that failed.
    """

    environment: dict[str, str]
    failed_run: str

    def without(self, *names: str) -> dict[str, str]:
        """The same deployment with settings left out."""
        return {name: value for name, value in self.environment.items() if name not in names}


@dataclass(frozen=True)
class Site:
    """The week, served, and a browser to look at it."""

    world: PageWorld
    api: Served
    browser: Browser


@contextmanager
def page_site(server: EmbeddedServer, new_database: DatabaseFactory, folder: Path) -> Iterator[Site]:
    """One for a whole module; skips where there is no browser."""
    program()
    with (
        page_world(server, new_database, folder) as world,
        served(world.environment) as api,
        browser() as running,
    ):
        yield Site(world, api, running)


@contextmanager
def page_world(server: EmbeddedServer, new_database: DatabaseFactory, folder: Path) -> Iterator[PageWorld]:
    """The week on databases of its own."""
    with shared_orchestra(server, new_database, folder) as world:
        settings = world.settings
        lone = report(PLAIN, 12, symbol=TRADES_ONLY_PLAIN, price="0.0001234567", size="0.5")
        deliver(settings, PLAIN, lone)
        deliver(settings, RESTATED)
        correction = report(
            QUARANTINED,
            21,
            "correct",
            original_report_id=9,
            original_report_date=RESTATED,
            executed_at=f"{RESTATED}T15:09:00Z",
            price=CORRECTION,
        )
        wrong = [report(QUARANTINED, 30 + number, price="-1") for number in range(2)]
        deliver(settings, QUARANTINED, correction, *wrong, report(QUARANTINED, 33, size="many"))
        break_file(deliver(settings, FAILED))
        deliver(settings, LAST)
        for day in (PLAIN, RESTATED, QUARANTINED, LAST):
            _run(world, FULL_REFRESH, day, succeeds=True)
        _run(world, REDO, RESTATED, succeeds=True)
        failed_run = _run(world, FULL_REFRESH, FAILED, succeeds=False)
        ledger = ledger_of(world.instance)
        assert ledger is not None
        yield PageWorld(
            {
                "DATABASE_URL": settings.database_url,
                "DAGSTER_DATABASE_URL": ledger.url,
                "MARKET_SPINE_FIRST_SESSION": str(settings.first_session),
                "MARKET_SPINE_LANDING": str(settings.landing),
                "MARKET_SPINE_STATE": str(folder / "state"),
                "MARKET_SPINE_UI_URL": UI,
            },
            failed_run,
        )


def _run(world: Orchestra, job: str, day: date, *, succeeds: bool) -> str:
    result = world.run(job, day)
    assert result.success is succeeds, f"{job} {day}"
    return result.run_id
