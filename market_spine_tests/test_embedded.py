"""The embedded server starts, is found again, survives being killed, and stops when its owner does."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from market_spine.errors import WarehouseError
from market_spine.warehouse.embedded import EmbeddedServer

OWNER = """
import sys, time
from market_spine.warehouse.embedded import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def state_dir(short_folder: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    folder.chmod(0o711)
    yield folder
    EmbeddedServer(folder).remove()


def _one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _write(url: str, *commands: str) -> None:
    with psycopg.connect(url) as connection:
        for command in commands:
            connection.execute(command.encode())


def test_it_answers_on_its_socket_and_on_the_local_port(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        assert str(_one(server.url("postgres"), "SHOW server_version")).startswith("18")
        assert _one(server.tcp_url("postgres"), "SELECT 1") == 1
        assert _one(server.url("postgres"), "SHOW listen_addresses") == "127.0.0.1"


def test_the_local_port_asks_for_the_password(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server, pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(server.tcp_url("postgres", password=False))


def test_nobody_else_can_reach_its_data_its_socket_or_its_password(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        port, folder = (
            server.url("postgres").rpartition("port=")[2],
            Path(server.url("x").split("host=")[1].split("&")[0]),
        )
        assert (folder / f".s.PGSQL.{port}").is_socket()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((state_dir / "postgres.password").stat().st_mode) == 0o600


def test_symbols_sort_by_code_point_whatever_the_machine_speaks(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        query = "SELECT string_agg(s, '' ORDER BY s) FROM unnest(ARRAY['b', 'A', 'a', 'B', 'ä']) AS t(s)"
        assert _one(server.url("postgres"), query) == "ABabä"


def test_a_database_is_made_once(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        server.ensure_database("market_spine")
        server.ensure_database("market_spine")
        assert _one(server.url("market_spine"), "SELECT current_database()") == "market_spine"


def test_data_and_addresses_are_the_same_after_a_restart(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        _write(server.url("postgres"), "CREATE TABLE kept AS SELECT 42 AS n")
        before = server.tcp_url("postgres")
    assert server.pid is None
    with EmbeddedServer(state_dir) as server:
        assert server.tcp_url("postgres") == before
        assert _one(before, "SELECT n FROM kept") == 42


def test_a_second_handle_attaches_and_leaves_the_server_running(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as owner:
        with EmbeddedServer(state_dir) as guest:
            assert (guest.owner, guest.pid) == (False, owner.pid)
            assert guest.url("postgres") == owner.url("postgres")
        assert _one(owner.url("postgres"), "SELECT 1") == 1


def test_after_kill_9_of_the_server_the_same_handle_starts_it_again_with_what_was_committed(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        _write(server.url("postgres"), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.start()
        assert _one(server.url("postgres"), "SELECT count(*) FROM kept") == 1000


def test_a_server_whose_owner_was_killed_is_adopted_and_stopped_by_the_next_one(state_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, state_dir], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    assert psutil.pid_exists(pid)
    with EmbeddedServer(state_dir) as server:
        assert (server.owner, server.pid) == (True, pid)
    assert not psutil.pid_exists(pid)


def test_after_kill_9_of_server_and_owner_the_next_one_recovers(state_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, state_dir], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        _write(EmbeddedServer(state_dir).url("postgres"), "CREATE TABLE kept AS SELECT 42 AS n")
        os.kill(pid, signal.SIGKILL)
        owner.kill()
    with EmbeddedServer(state_dir) as server:
        assert server.owner
        assert _one(server.url("postgres"), "SELECT n FROM kept") == 42


def test_a_pid_file_that_names_somebody_elses_process_does_not_keep_it_from_starting(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as server:
        data = Path(str(_one(server.url("postgres"), "SHOW data_directory")))
        lines = (data / "postmaster.pid").read_text().splitlines()
    (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedServer(state_dir) as server:
        assert _one(server.url("postgres"), "SELECT 1") == 1


def test_a_path_too_long_for_a_socket_works(state_dir: Path) -> None:
    deep = state_dir / "/".join(["a-long-name"] * 12)
    with EmbeddedServer(deep) as server:
        assert _one(server.url("postgres"), "SELECT 1") == 1
    EmbeddedServer(deep).remove()


def test_an_initdb_that_was_killed_half_way_is_done_again(state_dir: Path) -> None:
    (state_dir / "pg.new" / "base").mkdir(parents=True)
    with EmbeddedServer(state_dir) as server:
        assert _one(server.url("postgres"), "SELECT 1") == 1


def test_a_server_that_cannot_start_says_why_in_one_line(state_dir: Path) -> None:
    with pytest.raises(WarehouseError, match=r"the server does not start: .*no_such_setting.*postgres\.log") as caught:
        EmbeddedServer(state_dir, extra_config={"no_such_setting": "1"}).start()
    assert "\n" not in str(caught.value)


def test_an_address_before_the_start_is_refused_with_what_to_do(state_dir: Path) -> None:
    with pytest.raises(WarehouseError, match="not running; start it with spine up"):
        EmbeddedServer(state_dir).url("postgres")


def test_removing_it_stops_it_and_leaves_no_data(state_dir: Path) -> None:
    server = EmbeddedServer(state_dir)
    server.start()
    pid, data = server.pid, Path(str(_one(server.url("postgres"), "SHOW data_directory")))
    EmbeddedServer(state_dir).remove()
    server.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not data.exists()
