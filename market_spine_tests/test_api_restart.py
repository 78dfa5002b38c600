"""The API gets over a restart of PostgreSQL, a killed connection and a caller who leaves, by itself.

Belongs here: what happens to the pool. Does not belong here: what is answered.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import date
from pathlib import Path

import psycopg
import pytest

from market_spine.api.database import Reader
from market_spine.api.problems import Problem
from market_spine.warehouse import migrate
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import QUICK
from market_spine_tests.driving import Platform
from market_spine_tests.serving import METRICS, SYMBOLS, TRADES, assert_problem, serving, settings_for
from market_spine_tests.small_reports import MON, deliver, report

RECOVERED_SECONDS = 10
BIG = b"COPY (SELECT repeat('x', 1000), g FROM generate_series(1, 2000000) AS g) TO STDOUT"
KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = 'market_spine_api' AND datname = current_database()"""
BUSY = """SELECT count(*) FROM pg_stat_activity
          WHERE application_name = 'market_spine_api' AND datname = current_database() AND state = 'active'"""


@pytest.fixture
def own_server(short_folder: Path) -> Iterator[EmbeddedServer]:
    """A server that may be stopped."""
    running = EmbeddedServer(short_folder / "restart", extra_config=QUICK)
    running.start()
    running.ensure_database("market")
    migrate.upgrade(running.url("market"))
    yield running
    running.remove()


def test_after_a_restart_of_the_server_it_serves_again_within_ten_seconds(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    with serving(settings_for(own_server.url("market"), tmp_path)) as api:
        assert api.get(SYMBOLS).status_code == 200
        own_server.stop()
        for path in (SYMBOLS, METRICS):
            began = time.monotonic()
            assert_problem(api.get(path), "database_unavailable")
            assert time.monotonic() - began < RECOVERED_SECONDS
        assert_problem(api.get("/health/ready"), "not_ready")
        own_server.start()
        began = time.monotonic()
        while api.get(SYMBOLS).status_code != 200:
            assert time.monotonic() - began < RECOVERED_SECONDS
        assert api.get("/health/ready").status_code == 200


def test_connections_that_the_server_ended_cost_no_request(database_url: str, tmp_path: Path) -> None:
    with serving(settings_for(database_url, tmp_path)) as api:
        for accept in ("*/*", "text/csv"):
            for path in (SYMBOLS, METRICS, f"{TRADES}?date={MON}"):
                assert api.get(path).status_code == 200
                with psycopg.connect(database_url) as connection:
                    assert connection.execute(KILL).fetchall()
                assert api.get(path, accept=accept if path != SYMBOLS else "*/*").status_code == 200


def test_a_view_that_changed_under_a_prepared_statement_is_read_anew(database_url: str, tmp_path: Path) -> None:
    with serving(settings_for(database_url, tmp_path, api_connections=2)) as api:
        for _ in range(8):
            assert api.get(SYMBOLS).status_code == 200
        with psycopg.connect(database_url) as connection:
            connection.execute("""DROP VIEW api.symbols;
                CREATE VIEW api.symbols AS SELECT 'X'::varchar AS symbol, 1 AS first_date, 2 AS last_date, 3 AS days;
                GRANT SELECT ON api.symbols TO market_spine_reader""")
        assert api.get(SYMBOLS).text.startswith('{"data":[{"symbol":"X"')


def test_a_caller_who_leaves_in_the_middle_frees_the_server(database_url: str) -> None:
    async def leave() -> None:
        reader = Reader(database_url, connections=2)
        await reader.open()
        async with reader.copying(BIG, {}, 60) as chunks, aclosing(chunks):
            assert len(await anext(chunks)) > 100_000
        with psycopg.connect(database_url, autocommit=True) as connection:
            for _ in range(100):
                if connection.execute(BUSY).fetchone() == (0,):
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("the server still writes for nobody")
        async with reader.copying(b"COPY (SELECT 'again') TO STDOUT", {}, 60) as chunks:  # on the only one for streams
            assert await anext(chunks) == b"again\n"
        await reader.close()

    asyncio.run(leave())


def test_downloads_leave_pages_their_connections(database_url: str) -> None:
    async def read() -> None:
        reader = Reader(database_url, connections=2)
        await reader.open()
        async with reader.copying(BIG, {}, 60) as chunks, aclosing(chunks):
            await anext(chunks)
            assert await reader.schema_version()
            with pytest.raises(Problem) as caught:
                await _slowly(reader)
        assert caught.value.code == "database_unavailable"
        assert "all its connections for streams are in use" in caught.value.detail
        await reader.close()

    asyncio.run(read())


async def _slowly(reader: Reader) -> None:
    async with reader.copying(BIG, {}, 1) as chunks:
        async for _ in chunks:
            await asyncio.sleep(0.01)


def test_a_stream_that_takes_too_long_breaks_off_instead_of_looking_complete(database_url: str) -> None:
    async def read() -> None:
        reader = Reader(database_url, connections=2)
        await reader.open()
        with pytest.raises(Problem) as caught:
            await _slowly(reader)
        assert (caught.value.code, "1 s" in caught.value.detail) == ("query_timeout", True)
        async with reader.copying(b"COPY (SELECT 'again') TO STDOUT", {}, 60) as chunks:
            assert await anext(chunks) == b"again\n"
        await reader.close()

    asyncio.run(read())


def test_while_a_day_streams_a_run_may_replace_another_one(platform: Platform, tmp_path: Path) -> None:
    for day in (MON, date(2026, 2, 3)):
        deliver(platform, day, report(f"{day}", executed_at=f"{day}T15:00:00Z"))
    platform.settle()
    with serving(settings_for(platform.database_url, tmp_path)) as api:
        assert api.app.state.context.day_seconds == 45
        for _ in range(3):
            assert api.get(f"{TRADES}?date={MON}", accept="text/csv").text.count("\n") == 2
            platform.normalize(MON)
