"""The sensor `dirty_days` asks for exactly the runs that are needed, and forgets no mark."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from dagster import DagsterRunStatus, RunRequest, SensorResult, SkipReason, build_sensor_context

from market_spine.automation import sensors
from market_spine.automation.jobs import FULL_REFRESH, REDO
from market_spine.automation.sensors import dirty_days
from market_spine.calendar import TradingCalendar
from market_spine.ledger import tags
from market_spine.otc.steps import Steps
from market_spine.settings import Settings
from market_spine_tests.orchestrated import DAYS, Orchestra, cancel, deliver
from market_spine_tests.played_daemon import launched, ledger_tables

FIRST, SECOND, _ = DAYS
SATURDAY = date(2026, 3, 7)


@pytest.fixture
def world(unasked: Orchestra) -> Orchestra:
    unasked.tamper("DELETE FROM otc_dirty_days")
    return unasked


def in_ledger(world: Orchestra, statement: str) -> None:
    with ledger_tables(world) as connection:
        connection.execute(statement)


def mark(world: Orchestra, day: date) -> None:
    world.tamper("INSERT INTO otc_dirty_days (day, reason, marked_at) VALUES (%s, 'a test', now())", day)


def tick(world: Orchestra) -> list[RunRequest]:
    """The runs that a tick asks for."""
    answer = evaluate(world)
    return list(answer.run_requests or ()) if isinstance(answer, SensorResult) else []


def evaluate(world: Orchestra) -> SensorResult | SkipReason:
    with build_sensor_context(instance=world.instance, definitions=world.defs) as context:
        answer = dirty_days(context, steps=Steps(world.settings))
    assert isinstance(answer, SensorResult | SkipReason)
    return answer


def queue(world: Orchestra, request: RunRequest, status: DagsterRunStatus = DagsterRunStatus.NOT_STARTED) -> str:
    """What the daemon does with a request."""
    return launched(world, request, REDO, status)


def reason(world: Orchestra) -> str:
    answer = evaluate(world)
    assert isinstance(answer, SkipReason)
    return answer.skip_message or ""


def test_nothing_is_asked_for_while_no_session_is_marked(world: Orchestra) -> None:
    assert reason(world) == "no session is marked"


def test_each_marked_session_gets_one_run_however_often_it_is_marked(world: Orchestra) -> None:
    for day in (SECOND, FIRST, SECOND):
        mark(world, day)
    requests = tick(world)
    assert [one.partition_key for one in requests] == [str(FIRST), str(SECOND)]
    keys = [one.tags[tags.LOGICAL_KEY] for one in requests]
    assert keys == [f"otc_redo_dirty_days:{FIRST}", f"otc_redo_dirty_days:{SECOND}"]
    assert {one.tags[tags.TRIGGER] for one in requests} == {"sensor"}


def test_a_recent_session_goes_before_a_backfill_and_after_the_days_run(world: Orchestra) -> None:
    recent = TradingCalendar(date(2026, 1, 2)).previous_session(datetime.now(UTC).date(), 2)
    for day in (FIRST, recent):
        mark(world, day)
    lanes = {one.partition_key: (one.tags[tags.LANE], one.tags[tags.PRIORITY]) for one in tick(world)}
    assert lanes == {str(FIRST): ("backfill", "-10"), str(recent): ("normal", "-1")}


def test_two_ticks_before_the_run_begins_ask_with_the_same_key(world: Orchestra) -> None:
    mark(world, FIRST)
    assert [one.run_key for one in tick(world)] == [one.run_key for one in tick(world)]


def test_a_session_whose_run_waits_or_works_is_not_asked_for_again(world: Orchestra) -> None:
    mark(world, FIRST)
    queue(world, tick(world)[0])
    mark(world, FIRST)
    assert reason(world).startswith(f"{FIRST} waits for run ")


def test_a_mark_set_while_a_run_works_is_asked_for_when_it_has_ended(world: Orchestra) -> None:
    mark(world, FIRST)
    before = tick(world)[0]
    run_id = queue(world, before, DagsterRunStatus.STARTED)
    world.tamper("DELETE FROM otc_dirty_days")
    mark(world, FIRST)
    assert tick(world) == []
    run = world.instance.get_run_by_id(run_id)
    assert run is not None
    world.instance.report_run_failed(run)
    after = tick(world)[0]
    assert after.partition_key == str(FIRST)
    assert after.run_key != before.run_key


def test_a_session_whose_run_failed_is_not_asked_for_again_until_something_is_new(world: Orchestra) -> None:
    mark(world, FIRST)
    before = tick(world)[0]
    run = world.instance.get_run_by_id(queue(world, before))
    assert run is not None
    world.instance.report_run_failed(run)
    assert reason(world) == f"the run for the last mark of {FIRST} did not answer it: see its dead letter"
    mark(world, FIRST)
    assert [one.partition_key for one in tick(world)] == [str(FIRST)]


@pytest.mark.parametrize("started_by", ["otc_full_refresh", "otc_normalize"])
def test_a_session_that_another_job_works_on_waits(world: Orchestra, started_by: str) -> None:
    mark(world, FIRST)
    job = world.defs.resolve_job_def(started_by)
    ends = {tags.RANGE_START: "2026-03-02", tags.RANGE_END: str(SECOND)}
    world.instance.create_run_for_job(job, tags=ends, status=DagsterRunStatus.STARTED)
    assert reason(world).startswith(f"{FIRST} waits for run ")


def test_a_full_queue_is_the_reason_to_wait(world: Orchestra) -> None:
    mark(world, FIRST)
    mark(world, SECOND)
    queue(world, tick(world)[0])
    in_ledger(world, "UPDATE runs SET status = 'QUEUED'")  # Dagster queues only what has a code location
    full = replace(world.settings, queue_limit_backfill=1)
    with build_sensor_context(instance=world.instance, definitions=world.defs) as context:
        answer = dirty_days(context, steps=Steps(full))
    in_ledger(world, "UPDATE runs SET status = 'FAILURE'")
    assert isinstance(answer, SkipReason)
    assert f"{SECOND} waits for room in the queue: lane backfill takes no more" in (answer.skip_message or "")


def test_a_day_that_is_no_session_is_named_and_left_alone(world: Orchestra) -> None:
    mark(world, SATURDAY)
    assert reason(world) == f"{SATURDAY} is no session, or is not over yet"


def test_a_day_whose_raw_reports_were_dropped_is_not_asked_for(world: Orchestra) -> None:
    deliver(world.settings, SECOND)
    assert world.run(FULL_REFRESH, SECOND).success
    mark(world, SECOND)
    assert [request.partition_key for request in tick(world)] == [str(SECOND)]
    world.tamper("UPDATE otc_files SET expired_at = now() WHERE report_date = %s", SECOND)
    assert reason(world) == "no session is marked"
    world.tamper("UPDATE otc_files SET expired_at = NULL WHERE report_date = %s", SECOND)


def test_one_tick_asks_for_a_bounded_number_of_runs(world: Orchestra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "RUNS_A_TICK", 2)
    for day in TradingCalendar(date(2026, 1, 2)).sessions()[:4]:
        mark(world, day)
    assert [one.partition_key for one in tick(world)] == ["2026-01-02", "2026-01-05"]


def test_a_database_that_does_not_answer_is_the_reason_to_skip(world: Orchestra, tmp_path: Path) -> None:
    gone = Settings(database_url=f"postgresql://postgres@/gone?host={tmp_path}")
    with build_sensor_context(instance=world.instance, definitions=world.defs) as context:
        answer = dirty_days(context, steps=Steps(gone))
    assert isinstance(answer, SkipReason)
    assert "the market database does not answer" in (answer.skip_message or "")


def test_a_late_cancel_ends_in_new_metrics_of_the_day_it_is_about(world: Orchestra) -> None:
    deliver(world.settings, FIRST)
    assert world.run("otc_full_refresh", FIRST).success
    deliver(world.settings, SECOND, cancel(SECOND, 11, 3, FIRST))
    assert world.run("otc_full_refresh", SECOND).success
    request = tick(world)[0]
    assert request.partition_key == str(FIRST)
    assert world.run(REDO, FIRST).success
    assert tick(world) == []
    query = (
        "SELECT sum(cancelled_count), max(revision) FROM otc_metrics_daily WHERE trade_date = %s AND known_to IS NULL"
    )
    assert world.rows(query, FIRST) == [(1, 2)]
