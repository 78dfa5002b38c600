"""Jobs by every way Dagster has of starting them: commands, GraphQL, the queue, a backfill through a real daemon."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import islice
from typing import Any

import psutil
import pytest
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query

from market_spine.automation.jobs import COMPUTE, FULL_REFRESH, INGEST, NORMALIZE, REDO
from market_spine.calendar import TradingCalendar
from market_spine.definitions import build_defs
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import (
    PROJECT,
    TABLES,
    Orchestra,
    break_file,
    deliver,
    range_tags,
    shared_orchestra,
)

RAW, TRADES, METRICS = TABLES
MODULE = ("-m", "market_spine.definitions")
ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = """{ assetNodeOrError(assetKey: {path: ["otc_metrics_daily"]}) { ... on AssetNode { assetPartitionStatuses {
  ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }"""


@pytest.fixture(scope="module")
def world(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orchestra]:
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("jobs")) as made:
        (made.home / "workspace.yaml").write_text((PROJECT / "workspace.yaml").read_text())
        yield made


@pytest.fixture(scope="module")
def unused() -> Iterator[date]:
    return iter(TradingCalendar(date(2026, 1, 2)).sessions())


def executed(world: Orchestra, job: str, tags: str) -> "subprocess.CompletedProcess[str]":
    return world.command("dagster", "job", "execute", *MODULE, "-j", job, "--tags", tags)


def partition(day: date) -> str:
    return json.dumps({"dagster/partition": str(day)})


@pytest.mark.parametrize(
    ("job", "assets"),
    [
        (FULL_REFRESH, TABLES),
        (INGEST, (RAW,)),
        (NORMALIZE, (TRADES,)),
        (COMPUTE, (METRICS,)),
        (REDO, (TRADES, METRICS)),
    ],
)
def test_each_job_selects_its_assets_and_is_partitioned(job: str, assets: tuple[str, ...]) -> None:
    definition = build_defs(Settings()).resolve_job_def(job)
    assert {key.to_user_string() for key in definition.asset_layer.selected_asset_keys} == set(assets)
    assert definition.partitions_def is not None
    assert definition.executor_def.name == "in_process"


def test_the_steps_one_job_after_the_other_end_like_a_full_refresh(world: Orchestra, unused: Iterator[date]) -> None:
    day = next(unused)
    deliver(world.settings, day)
    for job, asset in ((INGEST, RAW), (NORMALIZE, TRADES), (COMPUTE, METRICS)):
        assert world.run(job, day).success
        assert world.statuses(asset, [day]) == ["MATERIALIZED"]
    assert world.rows("SELECT count(*) FROM otc_metrics_daily WHERE trade_date = %s", day) == [(3,)]


def test_the_commands_materialize_and_execute(world: Orchestra, unused: Iterator[date]) -> None:
    first, second = islice(unused, 2)
    deliver(world.settings, first)
    deliver(world.settings, second)
    selected = f"{RAW},{TRADES},{METRICS}"
    done = world.command("dagster", "asset", "materialize", *MODULE, "--select", selected, "--partition", str(first))
    assert done.returncode == 0, done.stderr[-2000:]
    done = executed(world, FULL_REFRESH, range_tags(first, second))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 of 2 sessions" in done.stderr
    assert world.statuses(METRICS, [first, second]) == ["MATERIALIZED"] * 2


def test_a_bad_file_ends_the_command_with_one_line_and_an_exit_code(world: Orchestra, unused: Iterator[date]) -> None:
    day = next(unused)
    break_file(deliver(world.settings, day))
    done = executed(world, FULL_REFRESH, partition(day))
    assert done.returncode != 0
    assert f"otc/otc_{day}.csv line 11: " in done.stderr
    assert world.statuses(RAW, [day]) == ["FAILED"]
    assert world.rows("SELECT count(*) FROM otc_trades_raw WHERE report_date = %s", day) == [(0,)]


@contextmanager
def daemon(world: Orchestra) -> Iterator[None]:
    log = (world.home / "daemon.log").open("w")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", str(world.home / "workspace.yaml")],
            # Files just landed count as still being written: the sensor must not run what these tests hand in.
            env={**world.environment, "MARKET_SPINE_LANDING_QUIET_SECONDS": "86400"},
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def webserver(world: Orchestra) -> Iterator[WorkspaceProcessContext]:
    """What the webserver asks, in this process, with a code server of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        before = set(psutil.Process().children())
        try:
            target = WorkspaceFileTarget([str(world.home / "workspace.yaml")])
            with WorkspaceProcessContext(world.instance, target) as made:
                yield made
        finally:
            # The context lets go of its code server, which would wait for a heartbeat for ever.
            for child in set(psutil.Process().children()) - before:
                child.kill()
                child.wait()


def ask(context: WorkspaceProcessContext, query: str, params: object = None) -> Any:
    answer = execute_query(context, query, {"params": params} if params else None)
    assert "errors" not in answer, answer
    return answer["data"]


def wait_for(world: Orchestra, wanted: RunsFilter, count: int, seconds: float = 150) -> list[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = world.instance.get_runs(wanted)
        if len(runs) >= count and all(run.status in ENDED for run in runs):
            return [run.status.value for run in runs]
        time.sleep(0.3)
    raise AssertionError((world.home / "daemon.log").read_text()[-3000:])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_queued_runs_and_a_backfill_through_a_real_daemon(world: Orchestra, unused: Iterator[date]) -> None:
    marked, by_graphql, by_command, *chunked = islice(unused, 6)
    deliver(world.settings, marked)
    assert world.run(FULL_REFRESH, marked).success
    world.tamper("INSERT INTO otc_dirty_days (day, reason, marked_at) VALUES (%s, 'a test', now())", marked)
    for day in (by_graphql, by_command, *chunked):
        path = deliver(world.settings, day)
        if day == chunked[1]:
            break_file(path)
    queued = {"key": "test/queued", "value": "yes"}
    keys = [{"path": [one]} for one in TABLES]
    job = {"repositoryLocationName": "market_spine", "repositoryName": "__repository__", "jobName": FULL_REFRESH}
    tags = [queued, {"key": "dagster/partition", "value": str(by_graphql)}]
    with webserver(world) as ui:
        run = ask(ui, LAUNCH, {"selector": {**job, "assetSelection": keys}, "executionMetadata": {"tags": tags}})
        assert run["launchRun"]["__typename"] == "LaunchRunSuccess", run
        chunk = {"assetSelection": keys, "partitionNames": [str(day) for day in chunked], "tags": [queued]}
        backfill = ask(ui, BACKFILL, chunk)
        assert backfill["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", backfill
        workspace = ("-w", str(world.home / "workspace.yaml"))
        chosen = json.dumps({"test/queued": "yes", "dagster/partition": str(by_command)})
        command = world.command("dagster", "job", "launch", *workspace, "-j", FULL_REFRESH, "--tags", chosen)
        assert command.returncode == 0, command.stderr[-2000:]
        with daemon(world):
            # A chunk of three sessions is one run, and the second of them cannot be read.
            ends = wait_for(world, RunsFilter(tags={"test/queued": "yes"}), 3)
            assert sorted(ends) == ["FAILURE", "SUCCESS", "SUCCESS"]
            # And the sensor, which nobody has switched on, answers the mark.
            assert wait_for(world, RunsFilter(job_name=REDO), 1) == ["SUCCESS"]
            assert world.rows("SELECT * FROM otc_dirty_days") == []
        ranges = ask(ui, STATUS)["assetNodeOrError"]["assetPartitionStatuses"]["ranges"]
    days = (by_graphql, by_command, *chunked)
    wanted = ["MATERIALIZED", "MATERIALIZED", "MATERIALIZED", "FAILED", "MATERIALIZED"]
    assert world.statuses(METRICS, days) == wanted
    assert [one["status"] for day in days for one in ranges if one["startKey"] <= str(day) <= one["endKey"]] == wanted
