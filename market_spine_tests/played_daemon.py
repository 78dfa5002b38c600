"""The daemon's part, played by a test that evaluates sensors and schedules itself.

Belongs here: what becomes of a request, and an instance nobody has asked anything of. Does not belong here: what is
expected of an evaluation.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DagsterRunStatus, RunRequest

from market_spine.automation.executor import ledger_of
from market_spine.automation.jobs import FULL_REFRESH
from market_spine.settings import Settings
from market_spine.warehouse.engine import Connection
from market_spine_tests.orchestrated import Orchestra


class PlayedDaemon:
    """An instance, the settings of its automation, and what a daemon does with what that asks for."""

    def __init__(self, world: Orchestra, settings: Settings) -> None:
        self.world = world
        self.settings = settings

    def launch(self, request: RunRequest, status: DagsterRunStatus = DagsterRunStatus.STARTED) -> str:
        """Make the run of a request."""
        return launched(self.world, request, FULL_REFRESH, status)

    def end(self, run_id: str) -> None:
        """Let a run fail."""
        run = self.world.instance.get_run_by_id(run_id)
        assert run is not None
        self.world.instance.report_run_failed(run)


def launched(world: Orchestra, request: RunRequest, job: str, status: DagsterRunStatus) -> str:
    """The run that comes of a request; nothing works on it."""
    key = {"dagster/partition": str(request.partition_key), "dagster/run_key": str(request.run_key)}
    run = world.instance.create_run_for_job(
        world.defs.resolve_job_def(job), tags={**request.tags, **key}, status=status
    )
    return run.run_id


@contextmanager
def ledger_tables(world: Orchestra) -> Iterator[Connection]:
    """Dagster's own tables, behind its back."""
    ledger = ledger_of(world.instance)
    assert ledger is not None
    with ledger.connect() as connection:
        yield connection


def forget_requests(world: Orchestra) -> None:
    """No run, and no claim on a session."""
    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)
    with ledger_tables(world) as connection:
        connection.execute("DELETE FROM kvs")
