"""What can pass is tried again, by the session; what cannot is tried once. Real runs, real locks, killed connections.

Belongs here: the tries of a run, and that Dagster's three layers of retries agree. Does not belong here: what becomes
of a session whose last try failed (``test_dead_letters``).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import date

import psycopg
import pytest
import yaml
from dagster import DagsterEventType, ExecuteInProcessResult

from market_spine.definitions import build_defs
from market_spine.errors import FileRefused, NoFile, PartitionLocked, SettingsError, UpstreamBlocked, WarehouseError
from market_spine.ledger.tags import session_tags
from market_spine.otc.failures import SPREAD, may_pass, one_line, wait_before_retry
from market_spine.otc.steps import StepDone, Steps
from market_spine.warehouse.engine import LOCKS
from market_spine_tests.orchestrated import PROJECT, TABLES, Orchestra, break_file, cancel, deliver

RAW, TRADES, METRICS = TABLES
FULL = "otc_full_refresh"


@pytest.fixture
def world(world: Orchestra) -> Orchestra:
    """With waits of a second, and locks that give up in a fraction of one."""
    return replace(world, settings=replace(world.settings, retry_seconds=1, lock_timeout_ms=10))


@dataclass(frozen=True)
class Watched(Steps):
    """The steps, with a list of the sessions that were begun, and a hook between the steps of one."""

    begun: list[date] = field(default_factory=list)
    before: Callable[[date, int], None] = lambda day, times: None
    between: Callable[[date, int], None] = lambda day, times: None

    def run_session(
        self, day: date, assets: Collection[str], *, run_id: str | None = None, preview: bool = True
    ) -> Iterator[StepDone]:
        self.begun.append(day)
        times = self.begun.count(day)
        self.before(day, times)
        for step in super().run_session(day, assets, run_id=run_id, preview=preview):
            yield step
            self.between(day, times)


def run(world: Orchestra, steps: Steps) -> ExecuteInProcessResult:
    """A full refresh of the three sessions."""
    defs = build_defs(steps.settings, resource_overrides={"steps": steps})
    return defs.resolve_job_def(FULL).execute_in_process(
        instance=world.instance, tags=session_tags(world.days[0], world.days[-1]), raise_on_error=False
    )


def retries_of(result: ExecuteInProcessResult) -> int:
    return sum(one.event_type == DagsterEventType.STEP_UP_FOR_RETRY for one in result.all_events)


def lines_of(result: ExecuteInProcessResult) -> list[str]:
    """The line of every session that failed, try by try."""
    kind = DagsterEventType.ASSET_OBSERVATION
    found = [one.asset_observation_data.asset_observation for one in result.all_events if one.event_type == kind]
    return [f"{one.asset_key.to_user_string()} {one.partition}: {one.description}" for one in found]


@pytest.fixture
def locked(world: Orchestra) -> Iterator[Callable[[], None]]:
    """The trades of the second session are held by somebody; call it to let them go."""
    with psycopg.connect(world.settings.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS[TRADES], world.days[1].toordinal()))
        yield other.rollback


# --- the step


def test_a_session_that_was_locked_is_tried_again_and_the_others_are_done_once(
    world: Orchestra, locked: Callable[[], None]
) -> None:
    first, second, third = world.days
    for day in world.days:
        deliver(world.settings, day)
    steps = Watched(world.settings, before=lambda day, times: locked() if times == 2 else None)
    result = run(world, steps)
    assert result.success
    assert steps.begun == [first, second, third, second]
    assert retries_of(result) == 1
    (line,) = lines_of(result)
    assert line.startswith(f"{TRADES} {second}: {TRADES} {second}: another run is working on this day")
    for asset in TABLES:
        assert world.statuses(asset, world.days) == ["MATERIALIZED"] * 3


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_connection_that_is_killed_in_the_middle_costs_one_more_try_of_the_sessions_under_way(
    world: Orchestra, at_once: int
) -> None:
    first, second, third = world.days
    for day in world.days:
        deliver(world.settings, day)

    def kill(day: date, times: int) -> None:
        if day == second and times == 1:
            world.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'market_spine'"
            )

    steps = Watched(replace(world.settings, build_connections=at_once), between=kill)
    result = run(world, steps)
    assert result.success
    begun, lines = Counter(steps.begun), lines_of(result)
    assert (begun[second], begun[third]) == (2, 1)
    # Two at once: the second session was begun early, so the metrics of the first may have been under way.
    assert begun[first] == len(lines) <= at_once
    assert any(line.startswith((f"{TRADES} {second}: Admin", f"{TRADES} {second}: Operational")) for line in lines)
    assert world.statuses(METRICS, world.days) == ["MATERIALIZED"] * 3


def test_a_refused_file_is_read_once_also_while_another_session_is_tried_again(
    world: Orchestra, locked: Callable[[], None]
) -> None:
    first, second, third = world.days
    for day in (first, second):
        deliver(world.settings, day)
    break_file(deliver(world.settings, third))
    steps = Watched(world.settings, before=lambda day, times: locked() if times == 2 else None)
    result = run(world, steps)
    assert not result.success
    assert steps.begun == [first, second, third, second]
    event = next(one for one in result.all_events if one.event_type == DagsterEventType.STEP_FAILURE)
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert str(told.description).startswith(f"1 of 3 sessions failed; first: otc/otc_{third}.csv line 11: ")
    assert world.statuses(METRICS, world.days) == ["MATERIALIZED", "MATERIALIZED", "FAILED"]
    assert world.rows("SELECT count(*) FROM otc_files WHERE report_date = %s", third) == [(1,)]


def test_a_run_with_nothing_but_lasting_failures_ends_with_its_first_try(world: Orchestra) -> None:
    deliver(world.settings, world.days[0])
    steps = Watched(world.settings)
    result = run(world, steps)
    assert not result.success
    assert (steps.begun, retries_of(result)) == (list(world.days), 0)


@pytest.mark.usefixtures("locked")
def test_the_tries_end_with_the_setting(world: Orchestra) -> None:
    first, second, third = world.days
    for day in world.days:
        deliver(world.settings, day)
    steps = Watched(replace(world.settings, max_tries=2))
    result = run(world, steps)
    assert not result.success
    assert Counter(steps.begun) == {first: 1, second: 2, third: 1}
    assert len(lines_of(result)) == 2
    assert world.statuses(METRICS, world.days) == ["MATERIALIZED", "FAILED", "MATERIALIZED"]


def test_the_checks_of_a_run_cover_the_sessions_of_all_its_tries(world: Orchestra, locked: Callable[[], None]) -> None:
    for day in world.days:
        deliver(world.settings, day)
    steps = Watched(world.settings, before=lambda day, times: locked() if times == 2 else None)
    last = {one.check_name: one for one in run(world, steps).get_asset_check_evaluations()}
    assert {name: one.metadata["sessions"].value for name, one in last.items()} == dict.fromkeys(last, 3)


def test_a_session_that_one_of_a_later_try_marks_is_done_again(world: Orchestra, locked: Callable[[], None]) -> None:
    first, second, third = world.days
    deliver(world.settings, first)
    deliver(world.settings, second, cancel(second, 11, 3, first))
    deliver(world.settings, third)
    steps = Watched(world.settings, before=lambda day, times: locked() if day == second and times == 2 else None)
    assert run(world, steps).success
    assert steps.begun == [first, second, third, second, first]
    assert world.rows("SELECT * FROM otc_dirty_days WHERE day = ANY(%s)", list(world.days)) == []


def test_a_landing_folder_that_is_away_for_a_moment_costs_a_try_of_the_run(world: Orchestra) -> None:
    for day in world.days:
        deliver(world.settings, day)
    asked: list[int] = []

    class Away(Watched):
        def unreadable_names(self) -> list[str]:
            asked.append(1)
            if len(asked) == 1:
                raise TimeoutError("no answer from the storage")
            return super().unreadable_names()

    steps = Away(world.settings)
    result = run(world, steps)
    assert result.success
    assert (retries_of(result), steps.begun) == (1, list(world.days))


# --- what can pass, and when


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (PartitionLocked("held"), True),
        (WarehouseError("no answer"), True),
        (psycopg.errors.AdminShutdown("ended"), True),
        (psycopg.errors.CannotConnectNow("starting up"), True),
        (psycopg.errors.DeadlockDetected("deadlock"), True),
        (psycopg.errors.LockNotAvailable("timeout"), True),
        (TimeoutError("the storage does not answer"), True),
        (ConnectionResetError("reset"), True),
        (FileRefused("a.csv", 3, "cut off"), False),
        (NoFile("none"), False),
        (UpstreamBlocked("a check failed"), False),
        (SettingsError("wrong"), False),
        (psycopg.errors.UndefinedTable("no table"), False),
        (psycopg.errors.StatementTooComplex("too much"), False),
        (PermissionError("not yours"), False),
        (FileNotFoundError("gone"), False),
        (ValueError("a mistake of ours"), False),
    ],
)
def test_only_what_may_pass_by_itself_is_worth_another_try(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


@pytest.mark.parametrize(("retry", "seconds"), [(1, 10), (2, 20), (3, 40)])
def test_the_wait_doubles_and_is_never_twice_the_same(retry: int, seconds: int) -> None:
    waits = {wait_before_retry(retry, 10) for _ in range(50)}
    assert len(waits) > 40
    assert seconds * (1 - SPREAD) <= min(waits) <= max(waits) <= seconds * (1 + SPREAD)


def test_a_line_has_no_end_of_line_in_it_and_ends_somewhere() -> None:
    assert one_line(OSError("one\n  two")) == "OSError: one two"
    assert one_line(NoFile("none\nat all")) == "none at all"
    assert len(one_line(OSError("x" * 5_000))) == 500


# --- the layers agree


def test_dagster_starts_a_run_again_only_when_its_process_died() -> None:
    declared = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert declared["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    assert declared["run_coordinator"]["config"]["max_user_code_failure_retries"] > 0
    assert declared["run_monitoring"]["max_resume_run_attempts"] == 0
    assert build_defs().resolve_assets_def(RAW).op.retry_policy is None
