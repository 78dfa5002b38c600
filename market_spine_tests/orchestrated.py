"""Real Dagster runs on a PostgreSQL-backed instance, and the small files they work on.

What it is: ``orchestra`` makes a DAGSTER_HOME with databases of its own; ``Orchestra`` runs jobs in this process or in
others and reads what Dagster and the tables say afterwards. ``deliver`` writes a file of the `otc` feed.
Belongs here: what several test modules drive. Does not belong here: expectations.
"""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from dagster import AssetKey, DagsterInstance, Definitions, ExecuteInProcessResult

from market_spine.definitions import build_defs
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.sql import statements
from market_spine_tests.driving import DatabaseFactory
from market_spine_tests.outside_server import MINE

PROJECT = Path(__file__).resolve().parents[1]
DAYS = (date(2026, 3, 4), date(2026, 3, 5), date(2026, 3, 6))
TABLES = ("otc_trades_raw", "otc_trades", "otc_metrics_daily")
TEMPLATE = f"template_dagster_home{MINE}"
HEADER = (
    "facility,report_id,report_date,reported_at,action,original_report_id,original_report_date,symbol,venue,side,"
    "capacity,executed_at,price,size,conditions"
)
CONFIG = """
storage:
  postgres:
    postgres_url: {url}
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
telemetry:
  enabled: false
"""


def report(day: date, number: int, action: str = "new", **values: object) -> str:
    """A line of the `otc` feed; ten reports are as good as any other ten."""
    line = {
        "facility": "ORF",
        "report_id": f"{number}",
        "report_date": f"{day}",
        "reported_at": f"{day}T15:{number % 60:02}:01Z",
        "action": action,
        "original_report_id": "",
        "original_report_date": "",
        "symbol": ("ACME", "BRVX", "ECHOQ")[number % 3],
        "venue": ("XOTC", "ARCA")[number % 2],
        "side": "B",
        "capacity": "P",
        "executed_at": f"{day}T15:{number % 60:02}:00Z",
        "price": f"{10 + number % 3}.{number % 10}",
        "size": f"{100 * (number % 7 + 1)}",
        "conditions": "",
    }
    return ",".join(str(value) for value in {**line, **values}.values())


def cancel(day: date, number: int, of: int, on: date) -> str:
    """A cancel, reported on ``day``, of the report ``of`` of ``on``."""
    return report(day, number, "cancel", original_report_id=of, original_report_date=on)


def deliver(settings: Settings, day: date, *more: str, count: int = 10, name: str = "") -> Path:
    """Put a file of ``count`` trades and ``more`` lines into the landing folder."""
    path = settings.landing / "otc" / (name or f"otc_{day}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *(report(day, number) for number in range(1, count + 1)), *more, ""]))
    return path


def break_file(path: Path) -> None:
    """Cut the last row off in the middle."""
    path.write_text(path.read_text()[:-20])


@dataclass(frozen=True)
class Orchestra:
    """One Dagster instance, and the market tables its runs work on."""

    settings: Settings
    home: Path
    instance: DagsterInstance
    days: tuple[date, ...] = DAYS

    @cached_property
    def defs(self) -> Definitions:
        """The definitions for these settings."""
        return build_defs(self.settings)

    def run(
        self, job: str, first: date, last: date | None = None, *, assets: Collection[str] = ()
    ) -> ExecuteInProcessResult:
        """A run of a job for a session, or for a range of them, in this process."""
        ends = {"start": first, "end": last or first}
        tags = (
            {f"dagster/asset_partition_range_{end}": str(day) for end, day in ends.items()}
            if last
            else {"dagster/partition": str(first)}
        )
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            raise_on_error=False,
            asset_selection=[AssetKey(asset) for asset in assets] or None,
        )

    def materialized(self, asset: str) -> list[str]:
        """Partitions that Dagster counts as materialized."""
        return sorted(self.instance.get_materialized_partitions(AssetKey(asset)))

    def statuses(self, asset: str, days: Sequence[date]) -> list[str]:
        """What Dagster's UI shows of the partitions: MATERIALIZED, FAILED, IN_PROGRESS, or MISSING."""
        definition = self.defs.resolve_assets_def(asset).partitions_def
        assert definition is not None
        keys = [str(day) for day in days]
        found = self.instance.get_status_by_partition(AssetKey(asset), keys, definition) or {}
        return [status.value if (status := found.get(key)) else "MISSING" for key in keys]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the market tables."""
        with psycopg.connect(plain_url(self.settings.database_url)) as connection:
            return connection.execute(query, values).fetchall()

    def tamper(self, statement: str, *values: object) -> None:
        """Change the market tables behind everybody's back."""
        with psycopg.connect(plain_url(self.settings.database_url)) as connection:
            connection.execute(statement, values)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of processes that work on this instance."""
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            **self.settings.to_env(),
            "DAGSTER_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONWARNINGS": "ignore",
        }

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One of Dagster's commands in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
        )


def range_tags(first: date, last: date) -> str:
    """The tags of a range, as the command line takes them."""
    return json.dumps(
        {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    )


@contextmanager
def shared_orchestra(server: EmbeddedServer, new_database: DatabaseFactory, folder: Path) -> Iterator[Orchestra]:
    """One for a whole module: two databases for every test would take longer than the tests."""
    with new_database() as url:
        settings = Settings(database_url=url, landing=folder / "landing", state_dir=folder / "state")
        with orchestra(server, settings, folder / "dagster") as made:
            yield made


@contextmanager
def orchestra(server: EmbeddedServer, settings: Settings, folder: Path) -> Iterator[Orchestra]:
    """An instance with an empty storage of its own."""
    with dagster_database(server, settings, folder) as name, instance_on(server, name, folder / "home") as instance:
        yield Orchestra(settings, folder / "home", instance)


@contextmanager
def dagster_database(server: EmbeddedServer, settings: Settings, folder: Path) -> Iterator[str]:
    """The name of a database with Dagster's tables, empty; it goes with the block."""
    named = statements("market_spine.warehouse", "embedded.sql")
    _make_template(server, folder / "template")
    name = f"dagster_{settings.database_url.partition('?')[0].rpartition('/')[2]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(named("create_database_from", database=name, template=TEMPLATE))
    try:
        yield name
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute(named("drop_database", database=name))


def _make_template(server: EmbeddedServer, home: Path) -> None:
    """Dagster's tables, once for all tests."""
    named = statements("market_spine.warehouse", "embedded.sql")
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        if admin.execute(named("database_exists"), {"name": TEMPLATE}).fetchone():
            return
    server.ensure_database(TEMPLATE)
    with instance_on(server, TEMPLATE, home) as instance:
        instance.get_run_records(limit=1)
        instance.event_log_storage.get_asset_records()
        instance.all_instigator_state()


def instance_on(server: EmbeddedServer, database: str, home: Path) -> DagsterInstance:
    """An instance whose storage is that database; makes its DAGSTER_HOME."""
    home.mkdir(parents=True, exist_ok=True)
    url = f"postgresql+psycopg2://{server.url(database).partition('://')[2]}"
    (home / "dagster.yaml").write_text(CONFIG.format(url=json.dumps(url)))
    return DagsterInstance.from_config(str(home))
