"""A storage of Dagster with many old runs in it, and everything Dagster shows of the assets.

What it is: real runs of every ending, multiplied by ``benchmarks.many_runs``; databases are copied from that one, so
that each test has its own. ``shown`` asks Dagster what its UI asks.
Belongs here: what the tests of retention need. Does not belong here: expectations.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from dagster import AssetCheckKey, AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_graphql.test.utils import execute_dagster_graphql

from benchmarks.many_runs import copy_runs
from market_spine.automation.executor import ledger_of
from market_spine.calendar import TradingCalendar
from market_spine.ledger.storage import LedgerStorage
from market_spine.otc.quality import CHECKS
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.sql import statements
from market_spine_tests.orchestrated import TABLES, Orchestra, dagster_database, deliver, instance_on

FIRST_SESSION = date(2025, 1, 2)
NOW = datetime.now(UTC)
KEEP = timedelta(days=30)
FEW_SESSIONS = 50
SESSIONS = TradingCalendar(FIRST_SESSION).sessions(FIRST_SESSION, date(2026, 3, 12))
STATUSES = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      partitionStats { numMaterialized numPartitions numFailed numMaterializing }
      assetPartitionStatuses { __typename ... on TimePartitionStatuses { ranges { startKey endKey status } } }
      assetMaterializations(limit: 1) { runId timestamp partition }
      assetChecksOrError { ... on AssetChecks { checks {
        name executionForLatestMaterialization { status runId evaluation { success description } }
      } } }
    }
  }
}
"""
named = statements("market_spine.warehouse", "embedded.sql")
numbers = count(1)


@dataclass(frozen=True)
class OldRuns:
    """A database with old runs, nobody connected to it."""

    server: EmbeddedServer
    settings: Settings
    folder: Path
    database: str

    @contextmanager
    def copy(self) -> Iterator[Orchestra]:
        """An instance on a copy of it."""
        name = f"{self.database}_{next(numbers)}"
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as admin:
            admin.execute(named("create_database_from", database=name, template=self.database))
        home = self.folder / name
        settings = replace(self.settings, dagster_database_url=self.server.url(name))
        try:
            with instance_on(self.server, name, home) as instance:
                yield Orchestra(settings, home, instance)
        finally:
            with psycopg.connect(self.server.url("postgres"), autocommit=True) as admin:
                admin.execute(named("drop_database", database=name))


@contextmanager
def old_runs(server: EmbeddedServer, url: str, folder: Path, copies: int, sessions: int) -> Iterator[OldRuns]:
    """``copies`` finished runs of ``sessions`` sessions, spread over half a year up to today.

    Every fifth run failed for want of a file, every fifth was canceled; the last ones are real.
    """
    landing, state = folder / "landing", folder / "state"
    settings = Settings(database_url=url, landing=landing, state_dir=state, first_session=FIRST_SESSION)
    days = SESSIONS[-sessions:]
    with dagster_database(server, settings, folder) as name:
        with instance_on(server, name, folder / name) as instance:
            orchestra = Orchestra(settings, folder / name, instance)
            good, missing, stopped, again = days[0], days[1], days[2], days[3]
            for day in (good, stopped, again):
                deliver(settings, day)
            runs = [orchestra.run("otc_full_refresh", day) for day in (good, good, missing, again, missing)]
            canceled = runs[4].run_id
            run = instance.get_run_by_id(canceled)
            assert run is not None
            instance.run_storage.delete_run(canceled)
            instance.run_storage.add_run(run.with_status(DagsterRunStatus.CANCELED))
            sources = [
                (run.run_id, str(day)) for run, day in zip(runs, (good, good, missing, again, missing), strict=True)
            ]
            storage = ledger_of(instance)
            assert storage is not None
            copy_runs(
                storage,
                sources,
                [str(day) for day in days],
                copies,
                newest=NOW - timedelta(hours=1),
                span=timedelta(days=180),
            )
            orchestra.run("otc_full_refresh", stopped)
            instance.event_log_storage._engine.dispose()  # a template for copies has no sessions
        yield OldRuns(server, settings, folder, name)


def shown(orchestra: Orchestra, days: list[date]) -> dict[str, Any]:
    """Everything Dagster says of the assets' partitions and checks, by the routes its UI and daemon take."""
    instance = orchestra.instance
    found: dict[str, Any] = {}
    for asset in TABLES:
        key = AssetKey(asset)
        storage = instance.event_log_storage
        found[asset] = {
            "statuses": orchestra.statuses(asset, days),
            "materialized": orchestra.materialized(asset),
            "latest": storage.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION),
            "events": [
                instance.fetch_materializations(AssetRecordsFilter(key, asset_partitions=[str(day)]), limit=1).records
                for day in days[:20]
            ],
            "record": instance.get_latest_materialization_event(key),
            "checks": {
                check.name: storage.get_latest_asset_check_execution_by_key([AssetCheckKey(key, check.name)])
                for check in CHECKS
                if check.asset == asset
            },
        }
    return found


def forget_cache(instance: DagsterInstance) -> None:
    """Have Dagster read the partition status from the events again, as it does after a change of the partitions."""
    for asset in TABLES:
        instance.wipe_asset_cached_status([AssetKey(asset)])


def graphql(orchestra: Orchestra) -> dict[str, Any]:
    """What the UI's pages of the assets ask."""
    target = LoadableTargetOrigin(module_name="market_spine.definitions", attribute="defs")
    with in_process_test_workspace(orchestra.instance, target) as workspace:
        return {
            asset: execute_dagster_graphql(workspace, STATUSES, {"key": {"path": [asset]}}).data for asset in TABLES
        }


def storage_of(orchestra: Orchestra) -> LedgerStorage:
    """Dagster's database as our own code reaches it."""
    storage = ledger_of(orchestra.instance)
    assert storage is not None
    return storage


def wait_until(true: Any, seconds: float = 20) -> None:
    """Come back when it is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
