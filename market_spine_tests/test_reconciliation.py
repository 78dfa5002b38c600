"""Runs whose process is gone are found by the lock they no longer hold, ended with a reason, and hold nothing up."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date

import psutil
import psycopg
import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus, SkipReason, build_sensor_context
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from market_spine.automation.executor import ledger_of
from market_spine.automation.reconcile_sensor import (
    INTERVAL_SECONDS,
    end_queued,
    end_runs,
    free_slots,
    reconcile_runs,
)
from market_spine.cli.services import dagster_command
from market_spine.ledger.reconciliation import RunUnderWay, held_slots, queued_elsewhere, under_way
from market_spine.ledger.sign_of_life import BEAT_SECONDS, SignOfLife
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tags import SIGN_OF_LIFE
from market_spine.otc.steps import Steps
from market_spine.settings import Settings
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import LOCKS, plain_url
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import CODE_SERVER, LOCATION, Deployed, deployed
from market_spine_tests.orchestrated import DAYS, PROJECT, Orchestra, deliver

START_SENSOR = """mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename
  ... on PythonError { message } } }"""
DAEMON_TICK = 5


@pytest.fixture(scope="module")
def orchestra(shared: Orchestra) -> Orchestra:
    return shared


@pytest.fixture
def instance(orchestra: Orchestra) -> Iterator[DagsterInstance]:
    """The instance, with no run in it."""
    yield orchestra.instance
    for run in orchestra.instance.get_runs():
        orchestra.instance.delete_run(run.run_id)


def started(instance: DagsterInstance, *, tagged: bool = True, status: str = "STARTED", location: str = "") -> str:
    """A run that counts as under way and has no process."""
    tags = {"dagster/code_location": location} if location else {}
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location or LOCATION), "all"), "job")
    run = create_run_for_test(
        instance,
        job_name="job",
        status=DagsterRunStatus(status),
        tags=tags,
        remote_job_origin=origin if location else None,
    )
    if tagged:
        instance.add_run_tags(run.run_id, {SIGN_OF_LIFE: run.run_id})
    return str(run.run_id)


def storage_of(instance: DagsterInstance) -> LedgerStorage:
    found = ledger_of(instance)
    assert found is not None
    return found


def seen(instance: DagsterInstance, run_id: str) -> RunUnderWay:
    return next(run for run in under_way(storage_of(instance)) if run.run_id == run_id)


def status_of(instance: DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return str(run.status.value)


# --- the lock


def test_a_run_lives_for_as_long_as_its_process_holds_the_lock(instance: DagsterInstance) -> None:
    run_id = started(instance)
    assert seen(instance, run_id).silent(())
    with SignOfLife(storage_of(instance), run_id):
        assert seen(instance, run_id).lives
        assert not seen(instance, run_id).silent(())
    # The server's process ends a moment after the connection is closed, and the lock with it.
    deadline = time.monotonic() + 20
    while not seen(instance, run_id).silent(()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lock_that_was_lost_with_its_connection_is_taken_again(instance: DagsterInstance) -> None:
    run_id = started(instance)
    storage = storage_of(instance)
    with SignOfLife(storage, run_id, beat_seconds=0.05):
        with storage.connect() as connection:
            ended = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchone()
        assert ended == (1,)
        deadline = time.monotonic() + 10
        while not seen(instance, run_id).lives:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_run_of_the_package_holds_its_lock_and_says_so(orchestra: Orchestra) -> None:
    deliver(orchestra.settings, DAYS[0])
    done = orchestra.command(
        *("dagster", "job", "execute", "-m", "market_spine.definitions", "-j", "otc_full_refresh"),
        *("--tags", json.dumps({"dagster/partition": str(DAYS[0])})),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run = orchestra.instance.get_runs(limit=1)[0]
    assert run.tags[SIGN_OF_LIFE] == run.run_id
    orchestra.instance.delete_run(run.run_id)


# --- which runs count as dead


def test_only_a_run_that_vouched_for_itself_or_is_of_our_location_counts_as_dead(instance: DagsterInstance) -> None:
    stranger = started(instance, tagged=False, location="somebody_else")
    ours = started(instance, tagged=False, location=LOCATION)
    child = started(instance, tagged=False)
    instance.add_run_tags(child, {SIGN_OF_LIFE: "the id of the run that it was started again from"})
    assert not seen(instance, stranger).silent({LOCATION})
    assert seen(instance, ours).silent({LOCATION})
    assert not seen(instance, child).silent({LOCATION})


def test_a_run_that_is_still_starting_is_left_to_the_start_timeout(instance: DagsterInstance) -> None:
    assert not seen(instance, started(instance, status="STARTING")).silent({LOCATION})


def test_a_dead_run_is_ended_with_the_reason_and_a_cancelled_one_as_cancelled(instance: DagsterInstance) -> None:
    dead, cancelled = started(instance), started(instance, status="CANCELING")
    silent = {seen(instance, dead): 61.0, seen(instance, cancelled): 61.0}
    ended = end_runs(instance, silent)
    assert {one.run_id: one.status for one in ended} == {dead: "FAILURE", cancelled: "CANCELED"}
    assert (status_of(instance, dead), status_of(instance, cancelled)) == ("FAILURE", "CANCELED")
    messages = [event.message for event in instance.all_logs(dead)]
    assert any("process is gone" in message and "61 s" in message for message in messages)
    assert end_runs(instance, silent) == []


def test_a_run_whose_lock_is_back_is_not_ended(instance: DagsterInstance) -> None:
    run_id = started(instance)
    run = seen(instance, run_id)
    with SignOfLife(storage_of(instance), run_id):
        assert end_runs(instance, {run: 100.0}) == []
    assert status_of(instance, run_id) == "STARTED"


def test_pool_slots_of_ended_runs_are_freed(instance: DagsterInstance) -> None:
    log = instance.event_log_storage
    log.set_concurrency_slots("pool", 1)
    dead = started(instance)
    log.claim_concurrency_slot("pool", dead, "step")
    assert held_slots(storage_of(instance)) == {}, "it has not ended yet"
    end_runs(instance, {seen(instance, dead): 61.0})
    assert log.get_concurrency_info("pool").active_run_ids == set()
    finished = started(instance)
    log.claim_concurrency_slot("pool", finished, "step")
    run = instance.get_run_by_id(finished)
    assert run is not None
    instance.report_run_canceled(run)
    assert sum(held_slots(storage_of(instance)).values()) >= 1
    assert len(list(free_slots(instance))) == 1
    assert held_slots(storage_of(instance)) == {}


def test_queued_runs_of_a_location_that_does_not_exist_are_found_and_ended_as_failed(instance: DagsterInstance) -> None:
    lost = started(instance, status="QUEUED", location="gone", tagged=False)
    kept = started(instance, status="QUEUED", location=LOCATION, tagged=False)
    found = queued_elsewhere(storage_of(instance), [LOCATION])
    assert [run.run_id for run in found] == [lost]
    assert [one.run_id for one in end_queued(instance, found)] == [lost]
    assert (status_of(instance, lost), status_of(instance, kept)) == ("FAILURE", "QUEUED")


# --- the sensor


def tick(orchestra: Orchestra, cursor: str | None) -> tuple[str, str]:
    """One evaluation: what it says, and the cursor after it."""
    context = build_sensor_context(
        instance=orchestra.instance, cursor=cursor, resources={"steps": Steps(orchestra.settings)}
    )
    said = reconcile_runs(context)
    assert isinstance(said, SkipReason)
    return str(said.skip_message), context.cursor or ""


def test_the_sensor_waits_for_the_lock_to_come_back_before_it_ends_a_run(
    orchestra: Orchestra, instance: DagsterInstance
) -> None:
    run_id = started(instance)
    said, cursor = tick(orchestra, None)
    assert "no sign of life yet" in said
    assert status_of(instance, run_id) == "STARTED"
    with SignOfLife(storage_of(instance), run_id):
        said, forgotten = tick(orchestra, cursor)
    assert (said, json.loads(forgotten)) == ("every run that is under way lives", {})
    long_ago = json.dumps({run_id: time.time() - orchestra.settings.stuck_seconds - 1})
    said, cursor = tick(orchestra, long_ago)
    assert "is FAILURE now" in said
    assert (status_of(instance, run_id), json.loads(cursor)) == ("FAILURE", {})


def test_on_the_default_settings_every_dead_run_ends_within_two_minutes() -> None:
    defaults = Settings()
    assert defaults.stuck_seconds + 2 * INTERVAL_SECONDS + DAEMON_TICK < 120
    assert defaults.stuck_seconds > 2 * BEAT_SECONDS, "a lock lost in a restart must be back before"
    monitoring = yaml.safe_load((PROJECT / "dagster.yaml").read_text())["run_monitoring"]
    for name in ("start_timeout_seconds", "cancel_timeout_seconds"):
        assert monitoring["enabled"]
        assert monitoring[name] + monitoring["poll_interval_seconds"] < 120


# --- killing


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    chosen = {"stuck_seconds": 10, "lock_timeout_ms": 10_000}
    folder = tmp_path_factory.mktemp("killing")
    with deployed(server, new_database, folder, settings=chosen, automation=False) as made:
        selector = {
            "repositoryName": made.repository,
            "repositoryLocationName": LOCATION,
            "sensorName": "reconcile_runs",
        }
        answer = made.webserver.ask(START_SENSOR, {"selector": selector})
        assert answer["startSensor"]["__typename"] == "Sensor", answer
        for day in DAYS:
            deliver(made.settings, day)
        yield made


@contextmanager
def held(site: Deployed, *days: date) -> Iterator[None]:
    """Keep runs of these days waiting in the middle of their work."""
    with psycopg.connect(plain_url(site.settings.database_url), autocommit=True) as connection:
        for day in days:
            connection.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS["otc_trades_raw"], day.toordinal()))
        yield


def workers(site: Deployed) -> list[psutil.Process]:
    below = psutil.Process(site.processes[CODE_SERVER].pid).children(recursive=True)
    return [process for process in below if "spawn_main" in " ".join(process.cmdline())]


def waiting(site: Deployed, *run_ids: str) -> Callable[[], bool]:
    return lambda: (
        all(run.lives for run_id in run_ids for run in under_way(site.ledger) if run.run_id == run_id)
        and set(site.statuses(*run_ids)) == {"STARTED"}
    )


def test_killing_worker_and_code_server_ends_their_runs_and_no_other_and_the_queue_goes_on(site: Deployed) -> None:
    with held(site, *DAYS):
        command = ("dagster", "job", "execute", "-m", "market_spine.definitions", "-j", "otc_full_refresh")
        tags = json.dumps({"dagster/partition": str(DAYS[2])})
        alive = subprocess.Popen(
            dagster_command(*command, "--tags", tags), env=site.environment, cwd=PROJECT, stderr=subprocess.DEVNULL
        )
        site.wait_for(lambda: len(under_way(site.ledger)) == 1)
        (living,) = under_way(site.ledger)
        dead = [site.launch("otc_full_refresh", day, dagster__max_retries="0") for day in DAYS[:2]]
        site.wait_for(waiting(site, living.run_id, *dead))
        site.kill(CODE_SERVER)
        site.start_code_server()
        before = time.monotonic()
        assert site.wait_until_finished(*dead, seconds=90) == ["FAILURE", "FAILURE"]
        assert time.monotonic() - before < 60
        assert site.statuses(living.run_id) == ["STARTED"], "it works for longer than the limit, and lives"
    assert held_slots(site.ledger) == {}
    assert site.wait_until_finished(site.launch("otc_full_refresh", DAYS[0])) == ["SUCCESS"]
    assert alive.wait(60) == 0
    (said,) = site.ledger_rows(
        "SELECT event FROM event_logs WHERE run_id = %s AND dagster_event_type = 'PIPELINE_FAILURE'", dead[0]
    )
    assert "process is gone" in said[0]


def test_killing_only_the_worker_ends_its_run_at_once(site: Deployed) -> None:
    with held(site, DAYS[0]):
        run_id = site.launch("otc_full_refresh", DAYS[0], dagster__max_retries="0")
        site.wait_for(waiting(site, run_id))
        for process in workers(site):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        before = time.monotonic()
        assert site.wait_until_finished(run_id, seconds=60) == ["FAILURE"]
        assert time.monotonic() - before < 30
