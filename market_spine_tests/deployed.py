"""A deployed instance: code server, webserver and daemon as processes, on the project's own ``dagster.yaml``.

What it is: ``deployed`` starts one for a test module, on databases of its own of the session's server; ``Deployed``
reaches it the way its operators do (the ``spine`` command, GraphQL) and looks at both databases.
Belongs here: the life of those processes and ways to look at them. Does not belong here: expectations; runs that need
no daemon (``orchestrated``).

A fixture of one's own, module-wide, because a start takes about ten seconds::

    @pytest.fixture(scope="module")
    def site(server, new_database, tmp_path_factory):
        with deployed(server, new_database, tmp_path_factory.mktemp("lanes")) as made:
            yield made
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psutil
import psycopg
import yaml

from market_spine.cli.services import Databases, dagster_command, dagster_environment, for_dagster
from market_spine.errors import LedgerError
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tags import session_tags
from market_spine.ledger.webserver import Webserver
from market_spine.settings import Settings, WebAddress
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse, plain_url
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import PROJECT, dagster_database
from market_spine_tests.processes import free_port

CODE_SERVER, WEBSERVER, DAEMON = "code_server", "webserver", "daemon"
LOCATION = "market_spine"
READY_SECONDS = 90.0
# PR_SET_PDEATHSIG of prctl(2) is 1, and holds for the program that takes the process over.
_BOUND = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
DIES_WITH_THE_TESTS = [sys.executable, "-ISc", _BOUND] if sys.platform == "linux" else []
"""Put before a command: a test run that is killed leaves no daemon behind (Linux; elsewhere it does)."""
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename
  ... on RepositoryLocation { repositories { name
    sensors { name sensorState { id status } } schedules { name scheduleState { id status } } } }
  ... on PythonError { message } } } } } }"""
STOP_SENSOR = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
STOP_SCHEDULE = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

Value = TypeVar("Value")
Row = tuple[Any, ...]


@dataclass
class Deployed:
    """A running instance, and what a test does with it.

    Args:
        settings: with the addresses of both databases and of the webserver.
        environment: of every process that works on this instance.
        folder: with the workspace file and the logs.
        socket: the code server's; unlike a port, nobody else can take it.
        processes: those that run, by name.
        repository: name of the code location's repository.
    """

    settings: Settings
    environment: dict[str, str]
    folder: Path
    socket: Path
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    repository: str = ""

    @property
    def webserver_url(self) -> str:
        """Where the UI and GraphQL answer."""
        return str(self.settings.webserver_url)

    @property
    def webserver(self) -> Webserver:
        """The same, to be asked."""
        return Webserver(self.webserver_url)

    @property
    def ledger(self) -> LedgerStorage:
        """Dagster's database."""
        return LedgerStorage(self.settings.dagster_database_url)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The market tables."""
        return Warehouse(self.settings.database_url)

    def spine(self, *arguments: object, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        """The ``spine`` command in a process of its own; look at ``returncode``, ``stdout`` and ``stderr``."""
        return subprocess.run(
            [sys.executable, "-m", "market_spine.cli.main", *map(str, arguments)],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def launch(self, job: str, first: date | None = None, last: date | None = None, **tags: str) -> str:
        """Launch as the UI does, without our tags; answers with the run's id. The tag ``a__b`` is ``a/b``."""
        chosen = {} if first is None else session_tags(first, last)
        chosen |= {name.replace("__", "/"): value for name, value in tags.items()}
        selector = {"repositoryLocationName": LOCATION, "repositoryName": self.repository, "jobName": job}
        metadata = {"tags": [{"key": key, "value": value} for key, value in chosen.items()]}
        params = {"selector": selector, "mode": "default", "executionMetadata": metadata}
        answer = self.webserver.ask(LAUNCH, {"params": params})["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def wait_for(self, predicate: Callable[[], Value], seconds: float = 60, *, every: float = 0.2) -> Value:
        """Ask until the answer is true; answers with it.

        Raises:
            AssertionError: it never was; with the end of each process's log.
        """
        deadline = time.monotonic() + seconds
        while not (found := predicate()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s; last answer {found!r}\n{self.logs()}")
            time.sleep(every)
        return found

    def wait_until_finished(self, *run_ids: str, seconds: float = 120) -> list[str]:
        """Wait until these runs have ended; answers with their statuses, in the same order."""
        wanted = list(run_ids)

        def ended() -> bool:
            return all(status in ("SUCCESS", "FAILURE", "CANCELED") for status in self.statuses(*wanted))

        self.wait_for(ended, seconds)
        return self.statuses(*wanted)

    def statuses(self, *run_ids: str) -> list[str]:
        """Dagster's statuses of these runs, in the same order."""
        found = dict(self.ledger_rows("SELECT run_id, status FROM runs WHERE run_id = ANY(%s)", list(run_ids)))
        return [str(found[run_id]) for run_id in run_ids]

    def rows(self, query: str, *values: object) -> list[Row]:
        """Rows of the market tables."""
        return _rows(self.settings.database_url, query, values)

    def ledger_rows(self, query: str, *values: object) -> list[Row]:
        """Rows of Dagster's database."""
        return _rows(self.settings.dagster_database_url, query, values)

    def materialized(self, asset: str) -> list[str]:
        """Partitions of an asset that have a materialization, in order."""
        found = self.ledger_rows(
            "SELECT DISTINCT partition FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' "
            "AND asset_key = %s AND partition IS NOT NULL ORDER BY partition",
            f'["{asset}"]',
        )
        return [str(key) for (key,) in found]

    def start_daemon(self) -> None:
        """Start the daemon again after ``kill_daemon``; it takes some seconds until it works."""
        self._start(DAEMON, "dagster._daemon", "run", "-w", str(self.workspace))

    def kill_daemon(self) -> None:
        """Kill the daemon without a warning. Runs live on: they are the code server's."""
        self.kill(DAEMON)

    def start_code_server(self) -> None:
        """Start the code server, and wait until it answers."""
        self._start(
            CODE_SERVER,
            "dagster",
            "api",
            "grpc",
            "-m",
            "market_spine.definitions",
            "-s",
            str(self.socket),
            "--location-name",
            LOCATION,
        )

    def kill(self, name: str) -> None:
        """Kill the process ``code_server``, ``webserver`` or ``daemon`` and everything it started, at once."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        below: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for child in below:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()

    def logs(self, lines: int = 15) -> str:
        """The end of each process's log."""
        texts = []
        for path in sorted(self.folder.glob("*.log")):
            end = path.read_text(errors="replace").splitlines()[-lines:]
            texts.append("\n".join([f"--- {path.name}", *end]))
        return "\n".join(texts)

    @property
    def workspace(self) -> Path:
        """The workspace file of the webserver and the daemon."""
        return self.folder / "workspace.yaml"

    def start_all(self, *, daemon: bool, automation: bool) -> None:
        """Start what makes an instance; returns when the code location is loaded."""
        server = {"grpc_server": {"host": "localhost", "socket": str(self.socket), "location_name": LOCATION}}
        self.workspace.write_text(yaml.safe_dump({"load_from": [server]}))
        self.start_code_server()
        port = self.webserver_url.rpartition(":")[2]
        self.wait_for(self.socket.exists, READY_SECONDS, every=0.05)
        self._start(WEBSERVER, "dagster_webserver", "-h", "127.0.0.1", "-p", port, "-w", str(self.workspace))
        if daemon and automation:
            self.start_daemon()
        found = self.wait_for(self._loaded, READY_SECONDS, every=0.1)
        self.repository = str(found["name"])
        if not automation:
            for one in found["sensors"]:
                answer = self.webserver.ask(STOP_SENSOR, {"id": one["sensorState"]["id"]})
                assert answer["stopSensor"]["__typename"] == "StopSensorMutationResult", answer
            for one in found["schedules"]:
                answer = self.webserver.ask(STOP_SCHEDULE, {"id": one["scheduleState"]["id"]})
                assert answer["stopRunningSchedule"]["__typename"] == "ScheduleStateResult", answer
            if daemon:
                self.start_daemon()

    def stop_all(self) -> None:
        """Kill everything: the databases go too, so that nothing is worth an orderly end."""
        for name in (DAEMON, WEBSERVER, CODE_SERVER):
            self.kill(name)

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [*DIES_WITH_THE_TESTS, *dagster_command(*command)],
                env=self.environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _loaded(self) -> Mapping[str, Any] | None:
        for name, process in self.processes.items():
            assert process.poll() is None, f"the {name} ended with code {process.returncode}\n{self.logs(40)}"
        try:
            with urllib.request.urlopen(f"{self.webserver_url}/server_info", timeout=5):
                pass
            workspace = self.webserver.ask(LOADED)["workspaceOrError"]
        except (urllib.error.URLError, OSError, LedgerError):
            return None
        for entry in workspace.get("locationEntries", ()):
            place = entry["locationOrLoadError"] or {}
            if place.get("repositories"):
                return dict(place["repositories"][0])
        return None


@contextmanager
def deployed(
    server: EmbeddedServer,
    new_database: DatabaseFactory,
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    daemon: bool = True,
    automation: bool = True,
) -> Iterator[Deployed]:
    """An instance of one's own, running; everything of it is gone after the block.

    Args:
        server: the session's.
        new_database: the session's.
        folder: for landing files, DAGSTER_HOME and logs.
        settings: fields of ``Settings`` that differ, for example ``{"queue_limit": 5}``.
        daemon: start it; otherwise what is launched stays queued until ``start_daemon``.
        automation: let sensors and schedules do what they do; otherwise they are stopped before the daemon starts.
    """
    with new_database() as url:
        base = Settings(database_url=url, landing=folder / "landing", state_dir=folder / "state")
        with dagster_database(server, base, folder) as name:
            chosen = replace(
                base,
                dagster_database_url=server.url(name),
                webserver_url=WebAddress(f"http://127.0.0.1:{free_port()}"),
                **(settings or {}),
            )
            chosen.landing.mkdir(parents=True, exist_ok=True)
            found = Databases(url, for_dagster(server.url(name)), "the tests' database")
            environment = {**dagster_environment(chosen, found), "PYTHONPATH": _python_path()}
            # A folder of pytest can be too deep for a socket, whose path may have about 100 characters.
            with TemporaryDirectory(prefix="spine-") as short:
                made = Deployed(chosen, environment, folder, Path(short) / "code.sock")
                try:
                    made.start_all(daemon=daemon, automation=automation)
                    yield made
                finally:
                    made.stop_all()


def _python_path() -> str:
    return os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _rows(url: str, query: str, values: tuple[object, ...]) -> list[Row]:
    with psycopg.connect(plain_url(url)) as connection:
        return connection.execute(query, values or None).fetchall()
