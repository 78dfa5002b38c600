"""Fixtures every test may ask for: a real PostgreSQL, a fresh migrated database, settings.

Belongs here: what more than one test module needs. Does not belong here: data of one domain.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from itertools import count, islice
from pathlib import Path

import psycopg
import pytest

from market_spine.calendar import TradingCalendar
from market_spine.settings import Settings
from market_spine.warehouse import migrate
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.sql import statements
from market_spine_tests.driving import DatabaseFactory, Platform
from market_spine_tests.letters import Post
from market_spine_tests.old_runs import FEW_SESSIONS, OldRuns, old_runs
from market_spine_tests.orchestrated import Orchestra, shared_orchestra
from market_spine_tests.outside_server import MINE, VARIABLE, OutsideServer
from market_spine_tests.played_daemon import forget_requests
from market_spine_tests.serving import FIRST, week

TEMPLATE = f"template_market_spine{MINE}"
# Tests end processes, never the machine: what the operating system holds is safe enough, and far quicker.
QUICK = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "256MB"}


def pytest_configure() -> None:
    """Let every process of a test hear SIGINT, also where a script started the tests with ``&``.

    SIGINT then comes ignored, which is inherited, and Dagster's daemon copies that onto SIGTERM: it would never stop.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _untouched_by_the_environment() -> Iterator[None]:
    """A developer's own settings must not reach the tests, nor the tests their database."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if (name.startswith(("MARKET_SPINE_", "DAGSTER_", "OTEL_")) and name != VARIABLE) or name == "DATABASE_URL":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder like tmp_path that the server's account can reach when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="market-spine-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(short_folder: Path) -> Iterator[EmbeddedServer | OutsideServer]:
    """One server for all tests, with an empty migrated database to copy: the embedded one unless another is named."""
    running: EmbeddedServer | OutsideServer
    if VARIABLE in os.environ:
        running = OutsideServer(os.environ[VARIABLE])
    else:
        running = EmbeddedServer(short_folder / "server", extra_config=QUICK)
        running.start()
    running.ensure_database(TEMPLATE)
    migrate.upgrade(running.url(TEMPLATE))
    yield running
    running.remove()


@pytest.fixture(scope="session")
def new_database(server: EmbeddedServer) -> DatabaseFactory:
    """``with new_database() as url``: a migrated database of one's own; fixtures of wider scope use it too."""
    named = statements("market_spine.warehouse", "embedded.sql")
    numbers = count(1)

    @contextmanager
    def made() -> Iterator[str]:
        name = f"test{MINE}_{next(numbers)}"
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute(named("create_database_from", database=name, template=TEMPLATE))
        try:
            yield server.url(name)
        finally:
            with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
                admin.execute(named("drop_database", database=name))

    return made


@contextmanager
def unmigrated(server: EmbeddedServer, name: str) -> Iterator[str]:
    """An empty database of that name, in which no migration was ever run."""
    named = statements("market_spine.warehouse", "embedded.sql")
    server.ensure_database(name)
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(named("drop_database", database=name))


@pytest.fixture
def database_url(new_database: DatabaseFactory) -> Iterator[str]:
    """A migrated, empty database, dropped after the test."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def shared_database(new_database: DatabaseFactory) -> Iterator[str]:
    """One database for a whole module."""
    with new_database() as url:
        yield url


@pytest.fixture
def platform(shared_database: str, tmp_path: Path) -> Platform:
    """The steps on emptied tables; partitions begin on Monday 2026-02-02."""
    empty = Platform(shared_database, tmp_path / "landing", date(2026, 2, 2))
    empty.forget()
    return empty


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings on that database, with an empty landing folder."""
    landing = tmp_path / "landing"
    landing.mkdir()
    return Settings(database_url=database_url, landing=landing, state_dir=tmp_path / "state")


@pytest.fixture(scope="module")
def shared(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orchestra]:
    """A Dagster instance for all tests of a module."""
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture(scope="module")
def market(new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The tables after a week of reports, for all tests of a module."""
    with new_database() as url:
        platform = Platform(url, tmp_path_factory.mktemp("market") / "landing", FIRST)
        week(platform)
        yield platform


@pytest.fixture(scope="module")
def unused_sessions() -> Iterator[date]:
    """Sessions that no test of the module has touched."""
    return iter(TradingCalendar(date(2026, 1, 2)).sessions())


@pytest.fixture
def world(shared: Orchestra, unused_sessions: Iterator[date]) -> Orchestra:
    """The shared instance with three sessions that no other test has touched."""
    return replace(shared, days=tuple(islice(unused_sessions, 3)))


@pytest.fixture
def unasked(shared: Orchestra) -> Orchestra:
    """The shared instance without a run and without a claim on a session."""
    forget_requests(shared)
    return shared


@pytest.fixture
def post(world: Orchestra) -> Post:
    """Dead letters of three sessions that no other test has touched."""
    return Post(world, [0])


@pytest.fixture(scope="module")
def few_old_runs(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OldRuns]:
    """An instance with 600 runs of long ago."""
    with new_database() as url, old_runs(server, url, tmp_path_factory.mktemp("few"), 600, FEW_SESSIONS) as made:
        yield made


@pytest.fixture
def old(few_old_runs: OldRuns) -> Iterator[Orchestra]:
    """A copy of it, to be cleaned up."""
    with few_old_runs.copy() as copy:
        yield copy
