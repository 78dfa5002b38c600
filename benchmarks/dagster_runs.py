"""The product under Dagster, as the harness drives it: a home, a storage of its own, runs, a daemon.

Belongs here: everything around a Dagster run that is measured or killed. Does not belong here: calls of Dagster's
Python interface, which happen in processes of their own (``dagster_child``).
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from importlib import util
from pathlib import Path

import psutil
import psycopg

from benchmarks import processes
from benchmarks.arena import SERVER_SQL, Arena
from market_spine.cli.services import (
    PROJECT,
    Databases,
    dagster_command,
    dagster_environment,
    for_dagster,
    make_dagster_schema,
)
from market_spine.settings import Settings
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.sql import statements

QUEUE_SQL = statements("benchmarks", "queue.sql")
MODULE = "market_spine.definitions"
JOB = "otc_full_refresh"
TEMPLATE = "template_dagster"
MISSING = "{figure}: not measured under Dagster, because market_spine.definitions is not there."
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class RunReport:
    """Runs that ended well.

    Args:
        call_seconds: of the call in its process, Dagster's imports excluded.
        record_seconds: end less start, summed over the run records.
        span_seconds: from the first run's creation to the last one's end.
        wall_seconds: from the request to the last end, as who asked for it saw it.
        runs: how many.
        peak_bytes: memory of the process.
        event_bytes: rows of Dagster's event log when all runs have ended, everything in the storage counted.
    """

    call_seconds: float
    record_seconds: float
    span_seconds: float
    wall_seconds: float
    runs: int
    peak_bytes: int
    event_bytes: int


@dataclass(frozen=True)
class DagsterHome:
    """A Dagster instance on a database of its own, with the environment its processes need."""

    environment: Mapping[str, str]
    workspace: Path
    module: str = MODULE

    def execute(self, first: date, last: date) -> RunReport:
        """The full-refresh job for a range of sessions, one run, in one process."""
        return self._child("execute", first, last)

    def backfill(self, first: date, last: date) -> RunReport:
        """A partition backfill of all three assets through the daemon, chunked by their policy."""
        with self._daemon():
            return self._child("backfill", first, last)

    def singles(self, first: date, last: date) -> RunReport:
        """One run a partition through the daemon's queue."""
        with self._daemon():
            return self._child("singles", first, last)

    def command(self, first: date, last: date) -> list[str]:
        """The command line's way to the same run; what `make chaos` kills."""
        tags = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
        return dagster_command("dagster", "job", "execute", "-m", self.module, "-j", JOB, "--tags", json.dumps(tags))

    def _child(self, command: str, first: date, last: date) -> RunReport:
        arguments = [command, str(first), str(last), "--module", self.module, "--job", JOB]
        done = processes.run(
            processes.python("-m", "benchmarks.dagster_child", *arguments, "--workspace", str(self.workspace)),
            self.environment,
        )
        runs = done.answer["runs"]
        assert isinstance(runs, Sequence)
        return _report(done, runs, self._event_bytes())

    def _event_bytes(self) -> int:
        with psycopg.connect(plain_url(self.environment["DAGSTER_DATABASE_URL"])) as connection:
            row = connection.execute(QUEUE_SQL("event_bytes")).fetchone()
        return int(str(row[0])) if row else 0

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        log = self.workspace.with_name("daemon.log")
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                dagster_command("dagster._daemon", "run", "-w", str(self.workspace)),
                env=dict(self.environment),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            end_tree(daemon.pid)
            daemon.wait()


@contextmanager
def home(
    arena: Arena, settings: Settings, *, concurrent_runs: int | None = None, module: str = MODULE
) -> Iterator[DagsterHome]:
    """A fresh instance for the market database of ``settings``; its own database is dropped afterwards."""
    _make_template(arena, settings)
    with arena.database(TEMPLATE) as url:
        environment = _environment(settings, url)
        folder = Path(environment["DAGSTER_HOME"])
        if concurrent_runs is not None:
            config = folder / "dagster.yaml"
            text = config.read_text(encoding="utf-8")
            changed = re.sub(r"max_concurrent_runs: \d+", f"max_concurrent_runs: {concurrent_runs}", text)
            config.write_text(changed, encoding="utf-8")
        workspace = folder / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - python_module:\n      module_name: {module}\n      location_name: market_spine\n",
            encoding="utf-8",
        )
        yield DagsterHome(environment, workspace, module)


def available() -> bool:
    """Whether there are definitions to run."""
    return util.find_spec(MODULE) is not None


def end_tree(pid: int) -> None:
    """TERM to a process of ours and everything below it, KILL to what stays."""
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        tree = [leader, *leader.children(recursive=True)]
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(tree, timeout=STOP_SECONDS)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _environment(settings: Settings, dagster_url: str) -> dict[str, str]:
    found = Databases(settings.database_url, for_dagster(dagster_url), settings.database_url)
    environment = dagster_environment(settings, found)
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(paths),
        # The sensor on the landing folder would have the sessions run before the benchmark asks for them.
        "MARKET_SPINE_LANDING_QUIET_SECONDS": "1000000000",
    }


def _make_template(arena: Arena, settings: Settings) -> None:
    """Dagster's schema once; making it for every round would take five seconds each."""
    with psycopg.connect(arena.server.url("postgres")) as connection:
        if connection.execute(SERVER_SQL("database_exists"), {"name": TEMPLATE}).fetchone():
            return
    arena.server.ensure_database(TEMPLATE)
    make_dagster_schema(_environment(settings, arena.server.url(TEMPLATE)))


def _report(done: processes.Finished, runs: Sequence[Mapping[str, float]], event_bytes: int) -> RunReport:
    return RunReport(
        call_seconds=float(str(done.answer.get("seconds", done.seconds))),
        record_seconds=sum(run["end"] - run["start"] for run in runs),
        span_seconds=max(run["end"] for run in runs) - min(run["created"] for run in runs),
        wall_seconds=float(str(done.answer.get("wall", done.seconds))),
        runs=len(runs),
        peak_bytes=done.peak_bytes,
        event_bytes=event_bytes,
    )
