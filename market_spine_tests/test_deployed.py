"""The fixture itself: it comes up whole, does work, survives its daemon's death, and leaves nothing behind."""

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psutil
import pytest

from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import TABLES, deliver

DAY, NEXT = date(2026, 3, 4), date(2026, 3, 5)


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with deployed(server, new_database, tmp_path_factory.mktemp("deployed")) as made:
        yield made


@pytest.mark.slow
def test_a_launched_run_goes_through_queue_and_daemon_to_the_tables(site: Deployed) -> None:
    deliver(site.settings, DAY)
    run_id = site.launch("otc_full_refresh", DAY)
    assert site.wait_until_finished(run_id) == ["SUCCESS"]
    assert [site.materialized(asset) for asset in TABLES] == [[str(DAY)]] * 3
    assert site.rows("SELECT count(*) FROM otc_trades") == [(10,)]


@pytest.mark.slow
def test_what_is_launched_while_the_daemon_is_dead_runs_when_it_is_back(site: Deployed) -> None:
    deliver(site.settings, NEXT)
    site.kill_daemon()
    run_id = site.launch("otc_ingest", NEXT)
    time.sleep(1.5)
    assert site.statuses(run_id) == ["QUEUED"]
    site.start_daemon()
    assert site.wait_until_finished(run_id) == ["SUCCESS"]


@pytest.mark.slow
def test_the_command_line_runs_in_the_same_environment(site: Deployed) -> None:
    done = site.spine("db", "status")
    assert (done.returncode, "schema: up to date" in done.stdout) == (0, True), done.stderr


@pytest.mark.slow
def test_nothing_is_left_when_the_block_ends(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    with deployed(server, new_database, tmp_path, automation=False) as made:
        assert set(made.processes) == {"code_server", "webserver", "daemon"}
        ours = [psutil.Process(process.pid) for process in made.processes.values()]
        ours += [child for process in ours for child in process.children(recursive=True)]
        sensors = made.ledger_rows("SELECT DISTINCT status FROM instigators")
    assert sensors == [("STOPPED",)]
    assert [process for process in ours if process.is_running()] == []
