"""Connections to the market tables are used again within a run, and never otherwise.

Belongs here: what is kept, what is not, what a run opens. Does not belong here: what is done on them.
"""

import time
from pathlib import Path

import psycopg
import pytest

from market_spine.errors import WarehouseError
from market_spine.ledger.connections import AHEAD
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Connection, Warehouse, in_parallel
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import DAYS, deliver, shared_orchestra

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'market_spine'"
OPENED = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'market_spine'"""


@pytest.fixture
def warehouse(database_url: str) -> Warehouse:
    return Warehouse(database_url)


def number_of(warehouse: Warehouse, query: str) -> int:
    with psycopg.connect(warehouse.url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def backend(warehouse: Warehouse, *, building: bool = False) -> int:
    with warehouse.connect(building=building) as connection:
        return connection.info.backend_pid


def test_a_block_that_keeps_uses_a_connection_again_and_leaves_none_open(warehouse: Warehouse) -> None:
    with warehouse.keeping():
        first = backend(warehouse)
        assert backend(warehouse) == first
        assert backend(warehouse, building=True) != first, "other settings"
        with warehouse.keeping():
            assert backend(warehouse) == first
        assert backend(warehouse) == first, "the inner block has ended, the outer has not"
    assert number_of(warehouse, OPEN) == 0
    assert backend(warehouse) != backend(warehouse)
    assert number_of(warehouse, OPEN) == 0


def test_two_at_once_are_two(warehouse: Warehouse) -> None:
    with warehouse.keeping(), warehouse.connect() as one, warehouse.connect() as other:
        assert one.info.backend_pid != other.info.backend_pid


def test_what_was_done_is_committed_and_an_error_rolls_it_back(warehouse: Warehouse) -> None:
    with warehouse.keeping():
        with warehouse.connect() as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        before = backend(warehouse)
        with pytest.raises(psycopg.errors.DivisionByZero), warehouse.connect() as connection:
            connection.execute("INSERT INTO kept VALUES (2); SELECT 1 / 0")
        assert number_of(warehouse, "SELECT sum(n) FROM kept") == 1
        assert backend(warehouse) != before, "what an error left in the session is not used again"


def test_settings_of_one_transaction_do_not_reach_the_next(warehouse: Warehouse) -> None:
    def memory(connection: Connection) -> object:
        row = connection.execute("SHOW work_mem").fetchone()
        return row and row[0]

    with warehouse.keeping():
        with warehouse.connect(building=True) as connection:
            usual, pid = memory(connection), connection.info.backend_pid
            connection.execute("SET LOCAL work_mem = '1MB'")
        with warehouse.connect(building=True) as connection:
            assert (memory(connection), connection.info.backend_pid) == (usual, pid)


def test_a_kept_connection_that_the_server_ended_is_noticed_before_it_is_used(warehouse: Warehouse) -> None:
    with warehouse.keeping():
        first = backend(warehouse)
        with psycopg.connect(warehouse.url) as connection:
            assert connection.execute(KILL).fetchall() == [(True,)]
        assert backend(warehouse) != first


def test_a_server_that_is_away_is_told_as_ever(short_folder: Path) -> None:
    server = EmbeddedServer(short_folder / "away")
    server.start()
    try:
        server.ensure_database("market")
        warehouse = Warehouse(server.url("market"))
        with warehouse.keeping():
            backend(warehouse)
            server.stop()
            with pytest.raises(WarehouseError, match="the market database does not answer"):
                backend(warehouse)
    finally:
        server.remove()


def test_threads_at_once_each_have_their_own(warehouse: Warehouse) -> None:
    seen: list[int] = []

    def work() -> None:
        for _ in range(5):
            with warehouse.connect() as connection:
                connection.execute("SELECT pg_sleep(0.01)")
                seen.append(connection.info.backend_pid)

    with warehouse.keeping():
        in_parallel([work] * 4)
    assert len(seen) == 20
    assert len(set(seen)) <= 4
    assert number_of(warehouse, OPEN) == 0


def test_a_run_of_many_sessions_opens_no_more_connections_than_the_two_that_are_under_way_at_once(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    opened = []
    with shared_orchestra(server, new_database, tmp_path) as here:
        warehouse = Warehouse(here.settings.database_url)
        for first, last in (DAYS[:1] * 2, (DAYS[1], DAYS[-1])):
            for day in (first, last):
                deliver(here.settings, day)
            before = number_of(warehouse, OPENED)
            assert here.run("otc_full_refresh", first, last).success
            # A server process counts itself when it ends, before it is gone from the list of those that are there.
            deadline = time.monotonic() + 20
            while number_of(warehouse, OPEN):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            opened.append(number_of(warehouse, OPENED) - before)
    assert opened[1] <= opened[0] + AHEAD, opened
    print(opened)
