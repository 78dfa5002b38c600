"""The inventory: what every session of every asset is, what mends it, and the standing check in the UI."""

import json
import subprocess
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    SensorResult,
    SkipReason,
    build_sensor_context,
    materialize,
)

from market_spine.automation.executor import ledger_of
from market_spine.automation.inventory_check import (
    CHECK,
    INVENTORY,
    REPEAT_SECONDS,
    every_session_present,
    inventory,
    inventory_assets,
)
from market_spine.automation.jobs import COMPUTE, FULL_REFRESH
from market_spine.calendar import TradingCalendar
from market_spine.ledger.inventory import Inventory, Item, Status, Taking, mending
from market_spine.ledger.storage import LedgerStorage
from market_spine.otc.coverage import coverage
from market_spine.otc.landing import survey
from market_spine.otc.steps import STEPS, Steps
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.orchestrated import Orchestra, break_file, deliver, shared_orchestra

RAW, TRADES, METRICS = STEPS
CALENDAR = TradingCalendar(date(2026, 1, 2))
(GOOD, REFUSED, LANDED, AWAITED, MARKED, CHECKED, EMPTIED, FORGOTTEN, QUEUED, FRESH) = CALENDAR.sessions(
    date(2026, 3, 2), date(2026, 3, 13)
)
# The morning after FRESH, before six o'clock in New York.
NOW = datetime(2026, 3, 14, 8, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(shared: Orchestra) -> Orchestra:
    return shared


def ledger(world: Orchestra) -> LedgerStorage:
    found = ledger_of(world.instance)
    assert found is not None
    return found


def in_ledger(world: Orchestra, statement: str, *values: object) -> None:
    with ledger(world).connect() as connection:
        connection.execute(statement, values or None)


def taken(world: Orchestra, *, now: datetime = NOW, since: date | None = None) -> Inventory:
    steps = Steps(world.settings)
    with steps.warehouse.connect() as connection:
        held = coverage(connection, since or date.min)
    landed = survey(world.settings.landing, steps.feeds).days
    return Taking(ledger(world), steps.calendar, STEPS, world.settings.due_hour).take(
        held, now, since=since, landed=landed
    )


def of(found: Inventory, day: date) -> list[Status]:
    return [item.status for asset in STEPS for item in found.items if (item.asset, item.day) == (asset, day)]


def item(found: Inventory, asset: str, day: date) -> Item:
    return next(one for one in found.items if (one.asset, one.day) == (asset, day))


def test_nothing_at_all_is_in_order(world: Orchestra) -> None:
    found = taken(world)
    assert (found.first, found.items, found.problems) == (None, (), ())


@pytest.fixture(scope="module")
def told(world: Orchestra) -> Inventory:
    """Every kind of session there is, each made by what makes it in earnest."""
    for day in (GOOD, MARKED, CHECKED, EMPTIED, FORGOTTEN):
        deliver(world.settings, day)
        assert world.run(FULL_REFRESH, day).success
    break_file(deliver(world.settings, REFUSED))
    assert not world.run(FULL_REFRESH, REFUSED).success
    deliver(world.settings, LANDED)
    world.tamper("INSERT INTO otc_dirty_days (day, reason, marked_at) VALUES (%s, 'a late cancel', now())", MARKED)
    world.tamper(
        "UPDATE otc_quality SET passed = false, details = '{\"difference\": 1}', checked_at = now() "
        "WHERE day = %s AND check_name = 'reports_conserved'",
        CHECKED,
    )
    assert not world.run(COMPUTE, CHECKED).success
    world.tamper("UPDATE otc_days SET computed_at = NULL WHERE day = %s", EMPTIED)
    in_ledger(
        world,
        "DELETE FROM event_logs WHERE partition = %s AND asset_key = %s",
        str(FORGOTTEN),
        f'["{METRICS}"]',
    )
    waiting = world.instance.create_run_for_job(
        world.defs.resolve_job_def(FULL_REFRESH), tags={"dagster/partition": str(QUEUED)}
    )
    in_ledger(world, "UPDATE runs SET status = 'QUEUED' WHERE run_id = %s", waiting.run_id)
    return taken(world)


@pytest.mark.parametrize(
    ("day", "wanted"),
    [
        (GOOD, [Status.PRESENT] * 3),
        (REFUSED, [Status.FAILED] * 3),
        (LANDED, [Status.MISSING] * 3),
        (AWAITED, [Status.MISSING] * 3),
        (MARKED, [Status.PRESENT, Status.STALE, Status.STALE]),
        (CHECKED, [Status.PRESENT, Status.FAILED, Status.BLOCKED]),
        (EMPTIED, [Status.PRESENT, Status.PRESENT, Status.MISSING]),
        (FORGOTTEN, [Status.PRESENT] * 3),
        (QUEUED, [Status.QUEUED] * 3),
        (FRESH, [Status.EXPECTED] * 3),
    ],
)
def test_every_session_is_what_happened_to_it(told: Inventory, day: date, wanted: list[Status]) -> None:
    assert of(told, day) == wanted


def test_each_has_its_reason(told: Inventory) -> None:
    assert f"otc_{REFUSED}.csv line 11: " in item(told, METRICS, REFUSED).reason
    assert item(told, RAW, LANDED).reason == "a file has landed, nothing has read it"
    assert item(told, RAW, AWAITED).reason == "no file has landed: ask the source"
    assert item(told, TRADES, MARKED).reason == "a late cancel"
    assert 'reports_conserved {"difference": 1}' in item(told, METRICS, CHECKED).reason
    assert item(told, METRICS, EMPTIED).reason == "its files are loaded, nothing was made of them"


def test_where_dagster_and_the_tables_disagree_both_are_told(told: Inventory) -> None:
    assert {(one.asset, one.day): one.disagreement for one in told.items if one.disagreement} == {
        (METRICS, EMPTIED): "Dagster says materialized, the table has nothing",
        (METRICS, FORGOTTEN): "the table has it, Dagster knows of no materialization",
    }


def test_problems_are_ranges_with_the_command_that_mends_them(told: Inventory) -> None:
    found = [(one.status, one.first, one.command) for one in told.problems if one.asset == METRICS]
    dispatch = "spine dispatch otc_full_refresh"
    assert found == [
        (Status.FAILED, REFUSED, f"{dispatch} {REFUSED}"),
        (Status.MISSING, LANDED, f"{dispatch} {LANDED}"),
        (Status.MISSING, AWAITED, f"{dispatch} {AWAITED}"),
        (Status.BLOCKED, CHECKED, f"{dispatch} {CHECKED}"),
        (Status.MISSING, EMPTIED, f"{dispatch} {EMPTIED}"),
        ("disagreement", FORGOTTEN, f"{dispatch} {FORGOTTEN}"),
    ]
    assert mending(GOOD, FRESH, again=True) == f"spine backfill launch {GOOD}..{FRESH} --all --yes"


def test_a_session_is_missing_from_its_due_hour_in_new_york_on(world: Orchestra, told: Inventory) -> None:
    due = datetime(2026, 3, 14, 10, 0, tzinfo=UTC)  # six o'clock in New York, in summer time
    assert of(taken(world, now=due - timedelta(seconds=1)), FRESH) == [Status.EXPECTED] * 3
    assert of(taken(world, now=due), FRESH) == [Status.MISSING] * 3
    assert taken(world, now=datetime(2026, 3, 14, 3, 59, tzinfo=UTC)).last == QUEUED, "its day is not over"


def test_it_begins_with_the_first_session_that_has_anything_or_where_it_is_told_to(
    world: Orchestra, told: Inventory
) -> None:
    assert (told.first, told.last) == (GOOD, FRESH)
    assert taken(world, since=MARKED).first == MARKED
    earlier = taken(world, since=date(2026, 2, 26))
    first = earlier.problems[0]
    assert (earlier.first, first.first, first.last) == (date(2026, 2, 26), date(2026, 2, 26), date(2026, 2, 27))
    assert first.command == "spine backfill launch 2026-02-26..2026-02-27 --yes"


def spine(world: Orchestra, *arguments: str) -> "subprocess.CompletedProcess[str]":
    chosen = replace(world.settings, dagster_database_url=ledger(world).url)
    return replace(world, settings=chosen).command("market_spine.cli.main", "inventory", *arguments)


def test_the_command_says_it_in_json_and_in_words_and_ends_with_one(world: Orchestra, told: Inventory) -> None:
    deliver(world.settings, date(2026, 3, 7))  # a Saturday
    done = spine(world, "--json", "--asset", METRICS)
    (world.settings.landing / "otc" / "otc_2026-03-07.csv").unlink()
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {one["asset"] for one in found["problems"]} == {METRICS}
    assert f"spine dispatch otc_full_refresh {REFUSED}" in {one["command"] for one in found["problems"]}
    assert "2026-03-07 is no session" in found["files_nobody_asks_for"][0]
    in_words = spine(world)
    assert f"{REFUSED} failed: {RAW}, {TRADES}, {METRICS}\n" in in_words.stdout
    assert spine(world, "--asset", "nothing").returncode == 2


# --- the standing check


def ticked(world: Orchestra, cursor: str | None = None) -> SensorResult | SkipReason:
    context = build_sensor_context(instance=world.instance, cursor=cursor, resources={"steps": Steps(world.settings)})
    answer = inventory(context)
    assert isinstance(answer, SensorResult | SkipReason)
    return answer


def test_the_sensor_reports_what_is_wrong_once_and_launches_nothing(world: Orchestra, told: Inventory) -> None:
    first = ticked(world)
    assert isinstance(first, SensorResult)
    (evaluation,) = first.asset_events
    assert isinstance(evaluation, AssetCheckEvaluation)
    assert (evaluation.passed, evaluation.asset_check_key) == (False, AssetCheckKey(AssetKey(INVENTORY), CHECK))
    assert evaluation.severity.value == "ERROR"
    named = evaluation.metadata["sessions"].value
    assert str(REFUSED) in named
    assert str(GOOD) not in named
    assert f"spine dispatch otc_full_refresh {REFUSED}" in evaluation.metadata["commands"].value
    assert not first.run_requests
    assert isinstance(ticked(world, first.cursor), SkipReason)
    assert first.cursor is not None
    old = json.dumps({**json.loads(first.cursor), "at": time.time() - REPEAT_SECONDS})
    assert isinstance(ticked(world, old), SensorResult)


def test_the_result_stands_in_the_ui(world: Orchestra, told: Inventory) -> None:
    answer = ticked(world)
    assert isinstance(answer, SensorResult)
    world.instance.report_runless_asset_event(answer.asset_events[0])
    key = AssetCheckKey(AssetKey(INVENTORY), CHECK)
    record = world.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert record.status.value == "FAILED"


def test_by_hand_it_is_a_run_of_the_check_alone(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("empty")) as world:
        done = materialize(
            [*inventory_assets(), every_session_present],
            selection=AssetSelection.all_asset_checks(),
            instance=world.instance,
            resources={"steps": Steps(world.settings)},
        )
        (evaluation,) = done.get_asset_check_evaluations()
        assert (evaluation.passed, evaluation.description) == (True, "nothing is there yet, and nothing was tried")
        answer = ticked(world)
        assert isinstance(answer, SensorResult)
        (event,) = answer.asset_events
        assert isinstance(event, AssetCheckEvaluation)
        assert event.passed


def test_no_other_run_takes_the_check_along(world: Orchestra, told: Inventory) -> None:
    planned = "SELECT count(*) FROM asset_check_executions WHERE check_name = %s AND execution_status = 'PLANNED'"
    with ledger(world).connect() as connection:
        assert connection.execute(planned, [CHECK]).fetchall() == [(0,)]


# --- how long it takes


@pytest.mark.slow
def test_ten_years_take_less_than_a_second(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with shared_orchestra(server, new_database, tmp_path_factory.mktemp("years")) as world:
        days = TradingCalendar(date(2016, 1, 4)).sessions(end=date(2026, 3, 13))[-2500:]
        fill(world, days)
        taking = Taking(ledger(world), TradingCalendar(days[0]), STEPS, 6)
        started = time.perf_counter()
        with Steps(world.settings).warehouse.connect() as connection:
            held = coverage(connection, days[0])
        found = taking.take(held, NOW)
        seconds = time.perf_counter() - started
        print(f"{len(found.items)} items in {seconds:.3f} s")
        assert found.counts[METRICS][Status.PRESENT] == 2250
        assert found.counts[METRICS][Status.FAILED] == 250
        assert seconds < 1


def fill(world: Orchestra, days: list[date]) -> None:
    """Ten years as runs leave them; every tenth session failed."""
    keys = [str(day) for day in days]
    in_ledger(
        world,
        "INSERT INTO runs (run_id, pipeline_name, status, run_body) SELECT 'run ' || n, 'x', 'FAILURE', '{}' "
        "FROM generate_series(0, %s) AS n",
        len(days) // 21,
    )
    for kind in ("ASSET_MATERIALIZATION_PLANNED", "ASSET_MATERIALIZATION"):
        in_ledger(
            world,
            "INSERT INTO event_logs (run_id, event, dagster_event_type, asset_key, partition, timestamp) "
            "SELECT 'run ' || n / 21, repeat('x', 3000), %s, a, p, now() "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS d (p, n), unnest(%s::text[]) AS a "
            "WHERE n %% 10 <> 0 OR %s LIKE '%%PLANNED' ORDER BY n",
            kind,
            keys,
            [f'["{asset}"]' for asset in STEPS],
            kind,
        )
    world.tamper(
        "INSERT INTO otc_files (source, report_date, part, path, rows, lines, blank_lines, trailer_lines, status, "
        "known_at) SELECT 'otc', p::date, '', 'otc/x', 1, 2, 0, 0, 'live', now() "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS d (p, n) WHERE n %% 10 <> 0",
        keys,
    )
    world.tamper(
        "INSERT INTO otc_days "
        "(day, normalized_at, file_ids, base_rows, carried_in, counts, rules_version, computed_at) "
        "SELECT report_date, now(), '{}', 1, 0, '{}', 'x', now() FROM otc_files"
    )
    world.tamper(
        "INSERT INTO otc_quality (asset, day, check_name, passed, blocking, details, checked_at) "
        "SELECT 'otc_trades', report_date, 'c' || n, true, true, '{}', now() "
        "FROM otc_files, generate_series(1, 10) AS n"
    )
