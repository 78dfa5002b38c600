"""Sessions in the metrics: what the inventory says of them, at every moment, without reading every event.

Belongs here: states, overdue sessions, the newest session. Does not belong here: the judgement (``test_inventory``).
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from market_spine.calendar import TradingCalendar
from market_spine.ledger.inventory import Taking
from market_spine.observability.metrics_sessions import STATES, Memory, QuickTaking, overdue
from market_spine.otc.coverage import coverage
from market_spine.otc.steps import STEPS
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.old_runs import storage_of
from market_spine_tests.orchestrated import Orchestra, break_file, deliver, report, shared_orchestra
from market_spine_tests.scraping import FULL, a_run, scraped, watched
from market_spine_tests.serving import Api

CALENDAR = TradingCalendar(date(2026, 1, 2))
GOOD, REFUSED, AGAIN, MARKED, AWAITED, LATER, FRESH = CALENDAR.sessions(date(2026, 3, 2), date(2026, 3, 10))
# The morning after FRESH, before six o'clock in New York.
NOW = datetime(2026, 3, 11, 8, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(shared: Orchestra) -> Orchestra:
    return shared


@pytest.fixture(scope="module")
def memory() -> Memory:
    """Kept through all tests of the module, as a process keeps it from scrape to scrape."""
    return Memory()


def both(world: Orchestra, memory: Memory) -> tuple[Counter[str], dict[date, list[str]]]:
    """The states by what is remembered; and what the inventory says of every session, which must be behind it."""
    with Warehouse(world.settings.database_url).connect() as connection:
        held = coverage(connection)
    storage, hour = storage_of(world), world.settings.due_hour
    quick = QuickTaking(storage, CALENDAR, STEPS, hour, memory)
    states = quick.states(held, NOW)
    slow = Taking(storage, CALENDAR, STEPS, hour).take(held, NOW)
    mine = quick.take(held, NOW)
    facts = [[(one.asset, one.day, one.status, one.run_id) for one in taken.items] for taken in (mine, slow)]
    assert facts[0] == facts[1]
    found: dict[date, list[str]] = {}
    for item in slow.items:
        found.setdefault(item.day, []).append(str(item.status))
    return +states, found


def state_of(world: Orchestra, run_id: str, status: str) -> None:
    with storage_of(world).connect() as connection:
        connection.execute("UPDATE runs SET status = %s WHERE run_id = %s", (status, run_id))


def test_whatever_happens_the_states_are_those_of_the_inventory(world: Orchestra, memory: Memory) -> None:
    assert both(world, memory) == ({}, {})
    deliver(world.settings, GOOD)
    assert world.run(FULL, GOOD).success
    # expected: over, not due yet
    rest = {"complete": 1, "missing": 5, "expected": 1}
    assert both(world, memory)[0] == rest

    break_file(deliver(world.settings, REFUSED))
    assert not world.run(FULL, REFUSED).success
    rest |= {"missing": 4, "failed": 1}
    assert both(world, memory)[0] == rest

    deliver(world.settings, AGAIN)
    assert world.run(FULL, AGAIN).success
    rest |= {"missing": 3, "complete": 2}
    assert both(world, memory)[0] == rest
    waiting = a_run(world, dagster__partition=str(AGAIN))
    for status, state in (("QUEUED", "queued"), ("STARTED", "running"), ("FAILURE", "failed")):
        state_of(world, waiting, status)
        states, items = both(world, memory)
        assert (states["complete"], states[state]) == (1, 2 if state == "failed" else 1)
        assert items[AGAIN] == [state] * 3
    world.instance.delete_run(waiting)
    assert both(world, memory)[0] == rest

    break_file(deliver(world.settings, AGAIN, count=12, name=f"otc_{AGAIN}.v2.csv"))
    assert not world.run(FULL, AGAIN).success
    assert both(world, memory)[0]["failed"] == 2
    deliver(world.settings, AGAIN, count=13, name=f"otc_{AGAIN}.v2.csv")
    assert world.run(FULL, AGAIN).success
    assert both(world, memory)[0] == rest

    deliver(world.settings, MARKED)
    assert world.run(FULL, MARKED).success
    world.tamper("INSERT INTO otc_dirty_days (day, reason, marked_at) VALUES (%s, 'a late cancel', now())", MARKED)
    states, items = both(world, memory)
    assert items[MARKED] == ["present", "stale", "stale"]
    assert states == rest | {"missing": 2, "stale": 1}


def test_a_process_that_starts_later_says_the_same(world: Orchestra, memory: Memory) -> None:
    assert both(world, Memory()) == both(world, memory)


def test_nothing_changed_is_not_judged_again(world: Orchestra, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    first = both(world, memory)[0]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("judged again")

    with Warehouse(world.settings.database_url).connect() as connection:
        held = coverage(connection)
    quick = QuickTaking(storage_of(world), CALENDAR, STEPS, world.settings.due_hour, memory)
    monkeypatch.setattr(Taking, "take", refuse)
    assert +quick.states(held, NOW.replace(minute=59)) == first
    with pytest.raises(AssertionError, match="judged again"):
        quick.states(held, NOW.replace(hour=NOW.hour + 2))  # what was expected may be missing by now


def test_an_emptied_event_log_is_read_from_its_beginning(world: Orchestra) -> None:
    memory = Memory(last_event=10**9, recorded={})
    assert both(world, memory) == both(world, Memory())
    assert memory.last_event < 10**9


@pytest.fixture(scope="module")
def api(world: Orchestra) -> Iterator[Api]:
    with watched(world) as made:
        yield made


def test_the_metrics_name_every_state_and_count_each_session_once(world: Orchestra, api: Api) -> None:
    sessions = scraped(api)["spine_sessions"]
    assert set(sessions) == {(state,) for state in STATES}
    local = datetime.now(UTC).date()
    over = [day for day in CALENDAR.sessions(GOOD, local) if CALENDAR.day_bounds(day)[1] <= datetime.now(UTC)]
    assert sum(sessions.values()) == len(over)
    assert (sessions["complete",], sessions["stale",], sessions["failed",]) == (2, 1, 1)


def test_sessions_without_metrics_are_overdue_from_their_hour_on(world: Orchestra) -> None:
    with Warehouse(world.settings.database_url).connect() as connection:
        held = coverage(connection)
    taking = Taking(storage_of(world), CALENDAR, STEPS, 6)
    assert overdue(held, taking, datetime(2026, 3, 3, 9, 0, tzinfo=UTC)) == 0
    # REFUSED (the 3rd) is due at six in the morning of the 4th
    assert overdue(held, taking, datetime(2026, 3, 4, 10, 59, tzinfo=UTC)) == 0
    assert overdue(held, taking, datetime(2026, 3, 4, 11, 0, tzinfo=UTC)) == 1
    assert overdue(held, taking, NOW) == 3  # and AWAITED and LATER; FRESH is not due yet
    assert overdue({}, taking, NOW) == 0


def test_the_newest_session_is_told_with_its_reports_and_its_age(world: Orchestra, api: Api) -> None:
    day = AWAITED
    bad = [report(day, number, price="-1") for number in (21, 22)]
    deliver(world.settings, day, *bad, count=8)
    assert world.run(FULL, day).success
    found = scraped(api)
    reports = {key[0]: value for key, value in found["spine_session_reports"].items() if value}
    assert reports == {"live": 8, "quarantined": 2}
    assert found["spine_quarantine_ratio"] == {(): 0.2}
    world.tamper("UPDATE otc_days SET computed_at = now() - interval '3 h' WHERE day = %s", day)
    assert 3 * 3600 <= scraped(api)["spine_last_session_age_seconds"][()] < 3 * 3600 + 60


def test_before_the_first_session_there_is_no_newest_one(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("empty")
    with shared_orchestra(server, new_database, folder) as empty, watched(empty) as api:
        found = scraped(api)
        assert found["spine_warehouse_up"] == {(): 1}
        assert set(found["spine_sessions"].values()) == {0}
        assert found["spine_sessions_overdue"] == {(): 0}
        assert not {"spine_last_session_age_seconds", "spine_session_reports", "spine_quarantine_ratio"} & set(found)
