"""The order of a run's sessions: the next one's trades are built while this one's metrics are.

Belongs here: what is begun early, what never is, and what becomes of it when something fails. Does not belong here: the
numbers that come of it (``test_oracle_agrees``), tries (``test_retries``).
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import date

import psycopg
import pytest

from market_spine.errors import FileRefused
from market_spine.otc.quality import METRICS, RAW, TRADES
from market_spine.otc.session_order import Sessions
from market_spine.otc.steps import STEPS, StepDone, Steps
from market_spine.settings import Settings
from market_spine.warehouse.engine import LOCKS
from market_spine_tests.orchestrated import DAYS, break_file, deliver

FIRST, SECOND, THIRD = DAYS
WAIT = 20.0
"""Seconds in which a session of ten reports is built on any machine."""
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'market_spine'"
Told = list[tuple[date, str]]


class Stopped(BaseException):
    """As what Dagster raises when a run is to end."""


@dataclass(frozen=True)
class Heard(Steps):
    """The steps; ``hear`` is called in the thread that did one, before anybody is told of it."""

    hear: Callable[[date, str], None] = lambda _day, _asset: None

    def run_session(
        self, day: date, assets: Collection[str], *, run_id: str | None = None, preview: bool = True
    ) -> Iterator[StepDone]:
        for step in super().run_session(day, assets, run_id=run_id, preview=preview):
            self.hear(day, step.asset)
            yield step


@pytest.fixture
def landed(settings: Settings) -> Settings:
    """Ten reports for each of three sessions."""
    for day in DAYS:
        deliver(settings, day)
    return settings


def told(
    steps: Steps, assets: Collection[str] = STEPS, found: Told | None = None, stop: Callable[[Told], object] = len
) -> Told:
    """What a run is told, in order, also where an error ends it; sessions that failed at their end."""
    found = [] if found is None else found
    with steps.warehouse.keeping(), Sessions(steps, DAYS, assets) as sessions:
        for session in sessions:
            for step in session:
                found.append((session.day, step.asset))
                stop(found)
            if session.error:
                found.append((session.day, type(session.error).__name__))
    return found


class Ahead:
    """Whether the trades of the second session are there when those of the first were told and its metrics are not."""

    def __init__(self) -> None:
        self.built = threading.Event()
        self.threads: dict[tuple[date, str], str] = {}

    def hear(self, day: date, asset: str) -> None:
        self.threads[day, asset] = threading.current_thread().name
        if (day, asset) == (SECOND, TRADES):
            self.built.set()

    def seen(self, settings: Settings, *, wait: float) -> bool:
        with Sessions(Heard(settings, self.hear), DAYS, STEPS) as sessions:
            for step in next(iter(sessions)):
                if step.asset == TRADES:
                    return self.built.wait(wait)
        raise AssertionError("the first session has no trades")


def test_the_trades_of_the_next_session_are_built_before_the_metrics_of_this_one(landed: Settings) -> None:
    assert Ahead().seen(landed, wait=WAIT)


@pytest.mark.parametrize(
    "change", [{"build_connections": 1}, {"slice_rows": 9}], ids=["one connection", "a day built in slices"]
)
def test_nothing_is_begun_early_where_the_day_itself_takes_all_connections(
    landed: Settings, change: dict[str, int]
) -> None:
    assert not Ahead().seen(replace(landed, **change), wait=2.0)


def test_the_sessions_are_told_in_their_order_and_only_fronts_leave_the_thread_of_the_run(landed: Settings) -> None:
    ahead = Ahead()
    assert told(Heard(landed, ahead.hear)) == [(day, asset) for day in DAYS for asset in STEPS]
    mine = threading.current_thread().name
    assert [day for day in DAYS if ahead.threads[day, METRICS] == mine] == list(DAYS)
    assert [day for day in DAYS if ahead.threads[day, TRADES] == mine] == [FIRST]


def test_without_metrics_there_is_nothing_to_build_beside(landed: Settings) -> None:
    ahead = Ahead()
    assert told(Heard(landed, ahead.hear), [RAW, TRADES]) == [(day, asset) for day in DAYS for asset in (RAW, TRADES)]
    assert set(ahead.threads.values()) == {threading.current_thread().name}


def test_a_session_that_fails_early_is_told_at_its_place_and_costs_no_other(landed: Settings) -> None:
    break_file(deliver(landed, SECOND))
    assert told(Steps(landed)) == [
        *((FIRST, asset) for asset in STEPS),
        (SECOND, FileRefused.__name__),
        *((THIRD, asset) for asset in STEPS),
    ]


def test_a_mistake_of_the_program_in_a_session_begun_early_ends_the_run_at_its_place(landed: Settings) -> None:
    def hear(day: date, asset: str) -> None:
        if (day, asset) == (SECOND, TRADES):
            raise ZeroDivisionError(day)

    heard: Told = []
    with pytest.raises(ZeroDivisionError, match=str(SECOND)):
        told(Heard(landed, hear), found=heard)
    assert heard == [*((FIRST, asset) for asset in STEPS), (SECOND, RAW)]


@pytest.fixture
def other(landed: Settings) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody else's connection."""
    with psycopg.connect(landed.database_url) as connection:
        yield connection


@pytest.mark.parametrize("where", ["in the queue for the day", "in the queue for a table", "between two steps"])
def test_a_run_that_is_stopped_stops_the_session_it_has_begun_early_wherever_it_is(
    landed: Settings, other: psycopg.Connection[tuple[object, ...]], where: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hear(day: date, asset: str) -> None:
        if (day, asset) == (SECOND, RAW):
            begun.set()
            assert go_on.wait(WAIT)

    def stop(found: Told) -> None:
        if found[-1] != (FIRST, METRICS):
            return
        assert begun.wait(WAIT)
        if where == "in the queue for a table":
            other.execute("LOCK TABLE otc_trades_raw IN ACCESS EXCLUSIVE MODE")
        elif where == "in the queue for the day":
            other.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS[TRADES], SECOND.toordinal()))
        if where == "between two steps":
            threading.Timer(0.5, go_on.set).start()
        else:
            go_on.set()
            time.sleep(0.5)
        raise Stopped

    began = time.monotonic()
    with pytest.raises(Stopped):
        told(Heard(landed, hear), stop=stop)
    assert time.monotonic() - began < WAIT
    assert not [one for one in threading.enumerate() if one.name.startswith("session ")]
    with psycopg.connect(landed.database_url, autocommit=True) as connection:
        days = [day for (day,) in connection.execute("SELECT day FROM otc_days ORDER BY day")]
        assert days == [FIRST], "its trades were not finished"
        deadline = time.monotonic() + WAIT
        while connection.execute(OPEN).fetchone() != (0,):
            assert time.monotonic() < deadline, "a connection was left open"
            time.sleep(0.05)
    other.rollback()
    assert told(Steps(landed)) == [(day, asset) for day in DAYS for asset in STEPS]
