"""``spine up``: one supervisor for the database, the UI, the daemon and the API.

What it is: starts them in order, says where they are, and stops them in the opposite order: no new runs, then the
runs that are going on (they note in the still running database that they were stopped), then the server.
Belongs here: the life of Dagster's processes. Does not belong here: the server's own life (warehouse/embedded.py).
"""

import fcntl
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from market_spine.cli.services import (
    PROJECT,
    WEBSERVER_NOTE,
    Databases,
    dagster_command,
    dagster_environment,
    databases,
    make_dagster_schema,
)
from market_spine.cli.stopping import STOP_SIGNALS, stoppable
from market_spine.errors import SettingsError, SpineError
from market_spine.ledger import connections, health
from market_spine.ledger.storage import LedgerStorage
from market_spine.observability.logs_setup import read_line
from market_spine.settings import LogFormat, Settings
from market_spine.warehouse import migrate

READY_SECONDS = 120.0
# A run that is told to stop rolls its transaction back and reports; the webserver and code servers take about 2 s.
STOP_SECONDS = 30.0
API_PORT = 8000
LEFTOVERS = "up.processes"


@dataclass(frozen=True)
class Child:
    """A process we started, the leader of its own session."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def run_up(settings: Settings, port: int, workspace: Path) -> int:
    """Run everything until a signal; returns the exit code.

    Raises:
        SpineError: something could not be started, or ended by itself.
    """
    console = Console(highlight=False, soft_wrap=True)
    children: list[Child] = []
    try:
        with stoppable(), _only_one(settings.state_dir), databases(settings) as found:
            console.print(f"database   {found.shown}")
            migrate.upgrade(found.market)
            _hold_budget(settings, found)
            environment = dagster_environment(settings, found)
            make_dagster_schema(environment)
            logs = settings.state_dir / "logs"
            logs.mkdir(parents=True, exist_ok=True)
            port = _free_port(port)
            _stop_leftovers(settings.state_dir / LEFTOVERS)
            try:
                at = ("-h", "127.0.0.1", "-p", str(port), "-w", str(workspace))
                pool = ("--db-pool-max-overflow", str(connections.WEBSERVER_OVERFLOW))
                look = () if settings.log_format is LogFormat.console else ("--log-format", "json")
                serve_ui = ("dagster_webserver", *at, *pool, *look)
                children.append(_start("webserver", serve_ui, environment, logs))
                run_daemon = ("dagster._daemon", "run", "-w", str(workspace), *look)
                children.append(_start("daemon", run_daemon, environment, logs))
                api = f"127.0.0.1:{(api_port := _free_port(API_PORT))}"
                serve = ("market_spine.cli.main", "api", "--port", str(api_port))
                children.append(_start("api", serve, environment, logs))
                _note(settings.state_dir / LEFTOVERS, children)
                console.print("starting   UI, daemon and API, about ten seconds ...")
                _wait_until_ready(f"{api}/health/ready", children)
                _wait_until_ready(f"127.0.0.1:{port}/server_info", children)
                note = settings.state_dir / WEBSERVER_NOTE
                note.write_text(f"http://127.0.0.1:{port}\n", encoding="ascii")
                console.print(f"UI         http://127.0.0.1:{port}")
                console.print(f"API        http://{api}/api/v1/openapi.json")
                console.print(f"logs       {logs}")
                console.print("ready      Ctrl-C stops everything")
                while True:
                    _complain_about_the_dead(children)
                    time.sleep(0.3)
            finally:
                _ignore_signals()
                console.print("stopping   API, daemon, UI, runs, then the database ...")
                _stop(children)
                for name in (LEFTOVERS, WEBSERVER_NOTE):
                    (settings.state_dir / name).unlink(missing_ok=True)
    except KeyboardInterrupt:
        console.print("stopped")
    return 0


def _ignore_signals() -> None:
    """From here on we are stopping anyway; an impatient second Ctrl-C must not leave half of it running."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: None)


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """Two daemons on one database would both take runs from the queue."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "up.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SpineError(
                f"{state_dir}: spine up already runs there as process {lock.read().strip()}; stop it with Ctrl-C, or "
                "set MARKET_SPINE_STATE to another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _hold_budget(settings: Settings, found: Databases) -> None:
    """Refuse to start what may open more connections than it should.

    Raises:
        SettingsError: it may; says what to lower.
    """
    with LedgerStorage(found.dagster).connect() as connection:
        limit = health.server(connection).most_connections
    problem = connections.too_many(settings, connections.runs_at_once(PROJECT / "dagster.yaml"), limit)
    if problem:
        raise SettingsError(problem)


def _start(name: str, command: tuple[str, ...], environment: dict[str, str], logs: Path) -> Child:
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            dagster_command(*command),
            env=environment,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # The terminal's Ctrl-C reaches only us; the children are stopped in order.
            start_new_session=True,
        )
    return Child(name, process, log)


def _complain_about_the_dead(children: list[Child]) -> None:
    for child in children:
        code = child.process.poll()
        if code is not None:
            lines = child.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
            told = read_line(lines[-1])
            last = told.event if told else lines[-1].strip()
            raise SpineError(f"the {child.name} ended with code {code}: {last}; see {child.log}")


def _wait_until_ready(place: str, children: list[Child]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        _complain_about_the_dead(children)
        try:
            with urllib.request.urlopen(f"http://{place}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SpineError(f"http://{place} did not answer in {READY_SECONDS:.0f} s; see {children[0].log}")


def _note(path: Path, children: list[Child]) -> None:
    """Write down what runs, for the next start, should we be killed without a chance to stop it."""
    born = [(child.process.pid, psutil.Process(child.process.pid).create_time()) for child in children]
    path.write_text("".join(f"{pid} {created}\n" for pid, created in born), encoding="ascii")


def _stop_leftovers(path: Path) -> None:
    """Stop the processes of a predecessor that was killed: its daemon would take runs from the queue beside ours."""
    found: list[psutil.Process] = []
    for line in path.read_text(encoding="ascii").splitlines() if path.exists() else ():
        pid, created = line.split()
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(created)) < 0.1:  # otherwise the number is somebody else's by now
                found.append(process)
    _end(found)
    path.unlink(missing_ok=True)


def _stop(children: list[Child]) -> None:
    """Stop the daemon first, so that it launches no more runs, then everything else."""
    found = []
    for child in reversed(children):
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(child.process.pid))
    _end(found)
    for child in children:
        child.process.wait()


def _end(leaders: list[psutil.Process]) -> None:
    """TERM to these processes and everything below them, and KILL to what is still there when the time is over."""
    everything: list[psutil.Process] = []
    for leader in leaders:
        with suppress(psutil.NoSuchProcess):
            everything += [leader, *leader.children(recursive=True)]
    for process in everything:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(everything, timeout=STOP_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _free_port(wanted: int) -> int:
    for port in (*range(wanted, wanted + 10), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SpineError(f"ports {wanted} to {wanted + 9} are all taken; choose another with spine up --port")
