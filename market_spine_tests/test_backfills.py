"""Backfills: the plan, a year through a real daemon that is killed on the way, doing the failed ones again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from market_spine.calendar import ZONE_NAME, TradingCalendar
from market_spine.errors import LedgerError, NotFound, QueueFull
from market_spine.ledger import tags
from market_spine.ledger.backfill_plan import Facts, Plan, chunks, plan
from market_spine.ledger.backfills import Backfill, Backfills, Run, State
from market_spine.ledger.queue import Limits
from market_spine.ledger.storage import LedgerStorage
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.deployed import Deployed, deployed
from market_spine_tests.orchestrated import TABLES, break_file, deliver

YEAR = 250
SPARE = 10
CHUNK = 50
"""More than the default, for fewer processes to start."""
START_SENSOR = """mutation ($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { __typename ... on PythonError { message } } }"""
CALENDAR = TradingCalendar(date(2024, 1, 2))
TODAY = datetime.now(ZoneInfo(ZONE_NAME)).date()
OVER = [day for day in CALENDAR.sessions(end=TODAY) if day < TODAY][-YEAR - SPARE :]
SESSIONS, OTHERS = OVER[:YEAR], OVER[YEAR:]
BAD = [SESSIONS[number] for number in (3, 60, 61, 62, 249)]
WEEK = CALENDAR.sessions(date(2026, 3, 2), date(2026, 3, 13))
NOTHING = Facts(present=(), with_file=None, under_way={}, seconds_per_session=None)


# --- the plan


def planned(facts: Facts, *, again: bool = False, chunk: int = 21, today: date = date(2026, 3, 14)) -> Plan:
    return plan(CALENDAR, WEEK, TABLES, facts, today=today, chunk=chunk, again=again)


def test_every_session_that_is_left_out_has_its_reason() -> None:
    facts = Facts(
        present={WEEK[0], WEEK[4]}, with_file={*WEEK} - {WEEK[1]}, under_way={WEEK[2]: "abc"}, seconds_per_session=2.0
    )
    found = planned(facts, today=WEEK[8])
    assert found.present == [WEEK[0], WEEK[4]]
    assert found.without_file == [WEEK[1]]
    assert found.under_way == {WEEK[2]: "abc"}
    assert found.not_over == WEEK[8:]
    assert found.to_do == [WEEK[3], WEEK[5], WEEK[6], WEEK[7]]
    assert found.seconds == 8.0


def test_asked_for_all_it_does_again_what_is_there_but_nothing_that_is_under_way() -> None:
    found = planned(replace(NOTHING, present={*WEEK}, under_way={WEEK[2]: "abc"}), again=True)
    assert (found.present, found.to_do) == ([], [day for day in WEEK if day != WEEK[2]])


def test_chunks_end_at_a_gap_and_pass_over_weekends() -> None:
    assert [count for *_, count in chunks(CALENDAR, WEEK, 4)] == [4, 4, 2]
    with_gap = [day for day in WEEK if day != WEEK[6]]
    assert chunks(CALENDAR, with_gap, 21) == [(WEEK[0], WEEK[5], 6), (WEEK[7], WEEK[9], 3)]
    assert chunks(CALENDAR, [], 21) == []


# --- what has become of its sessions


def backfill(status: str, runs: Sequence[Run], made: Sequence[date] = ()) -> Backfill:
    targets = {asset: frozenset(WEEK[:6]) for asset in TABLES}
    done = {asset: frozenset(made) for asset in TABLES}
    return Backfill("abc", status, datetime.now(UTC), None, "", {}, None, targets, done, runs)


def run(status: str, *days: date, run_id: str = "run") -> Run:
    return Run(run_id, status, days, will_retry=False, started_at=None, seconds=None)


def test_a_session_is_what_the_last_run_that_has_it_made_of_it() -> None:
    found = backfill(
        "REQUESTED",
        [
            run("FAILURE", WEEK[0], WEEK[1], run_id="first"),
            run("STARTED", WEEK[1], run_id="again"),
            run("CANCELED", WEEK[2]),
            run("QUEUED", WEEK[3]),
            run("FAILURE", WEEK[4]),
        ],
        made=[WEEK[4]],
    )
    wanted = (State.FAILED, State.RUNNING, State.NEVER_RUN, State.QUEUED, State.DONE, State.WAITING)
    assert tuple(found.states.values()) == wanted
    assert found.failed_sessions() == [WEEK[0], WEEK[2]]
    assert not found.is_settled
    assert [(chunk.run_id, chunk.first, dict(chunk.states)) for chunk in found.chunks()][:2] == [
        ("first", WEEK[0], {State.FAILED: 1}),
        ("again", WEEK[1], {State.RUNNING: 1}),
    ]


def test_a_failed_run_that_dagster_is_about_to_start_again_is_not_the_last_word() -> None:
    failed = run("FAILURE", *WEEK[:6])
    assert backfill("REQUESTED", [failed]).is_settled
    found = backfill("REQUESTED", [replace(failed, will_retry=True)])
    assert set(found.states.values()) == {State.QUEUED}
    assert not found.is_settled


@pytest.mark.parametrize("status", ["CANCELED", "CANCELING", "FAILED", "COMPLETED_FAILED"])
def test_what_had_no_run_when_it_ended_was_never_run(status: str) -> None:
    found = backfill(status, [])
    assert set(found.states.values()) == {State.NEVER_RUN}
    assert found.is_settled


# --- through a real daemon


@pytest.fixture(scope="module")
def site(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("backfills")
    chosen = {"first_session": OVER[0], "backfill_chunk": CHUNK}
    with deployed(server, new_database, folder, settings=chosen, daemon=False, automation=False) as made:
        yield made


@pytest.fixture(scope="module")
def backfills(site: Deployed) -> Backfills:
    return Backfills(site.ledger, TradingCalendar(OVER[0]), Limits.of(site.settings))


def ordered(site: Deployed, *arguments: object, code: int = 0) -> Any:
    done = site.spine("backfill", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def settled(site: Deployed, backfills: Backfills, backfill_id: str, seconds: float = 300) -> Backfill:
    site.wait_for(lambda: backfills.get(backfill_id).is_settled, seconds, every=1)
    return backfills.get(backfill_id)


RUNS_OF_CHUNKS = """
    SELECT count(*) FROM run_tags AS t
    WHERE t.key = 'dagster/backfill' AND t.value = %s
      AND NOT EXISTS (SELECT FROM run_tags AS p WHERE p.run_id = t.run_id AND p.key = %s)"""


@pytest.mark.long
@pytest.mark.timeout(480)
def test_a_year_with_five_bad_files_survives_its_daemon_and_its_failures_are_mended(
    site: Deployed, backfills: Backfills
) -> None:
    for day in SESSIONS:
        path = deliver(site.settings, day, count=2)
        if day in BAD:
            break_file(path)
    asked = f"{SESSIONS[0]}..{SESSIONS[-1]}"
    found = ordered(site, "plan", asked)
    assert (len(found["to_do"]), [chunk["sessions"] for chunk in found["chunks"]]) == (YEAR, [CHUNK] * 5)
    assert site.ledger_rows("SELECT count(*) FROM bulk_actions") == [(0,)]
    made = ordered(site, "launch", asked, "--yes")["backfill"]
    again = ordered(site, "launch", asked, "--yes")
    assert again == {"backfill": None, "sessions": 0}, "what is under way is not asked for twice"

    # Killed twice: while it makes the runs, and while they work.
    for runs, done in ((2, 0), (2, 30)):
        site.start_daemon()
        site.wait_for(
            lambda runs=runs, done=done: (
                len(backfills.get(made).runs) >= runs and backfills.get(made).counts[State.DONE] >= done
            ),
            120,
        )
        site.kill_daemon()
        between = backfills.get(made)
        assert not between.is_settled
    site.start_daemon()
    first = settled(site, backfills, made)
    assert first.failed_sessions() == BAD
    assert first.counts[State.DONE] == YEAR - len(BAD)
    # A kill between queue and process leaves a run that never starts; Dagster ends it and tries it once more.
    assert site.ledger_rows(RUNS_OF_CHUNKS, made, tags.PARENT) == [(5,)], "a run for each chunk, none twice"
    kept = site.ledger_rows(
        "SELECT DISTINCT key, value FROM run_tags WHERE key IN (%s, %s, %s)", tags.LANE, tags.PRIORITY, tags.TRIGGER
    )
    assert sorted(kept) == [(tags.PRIORITY, "-10"), (tags.LANE, tags.BACKFILL), (tags.TRIGGER, "cli")]
    shown = ordered(site, "status", made, code=1)
    assert sorted(shown["failed_sessions"]) == [str(day) for day in BAD]
    assert all(f"otc_{day}.csv line" in shown["failed_sessions"][str(day)] for day in BAD)

    for day in BAD:
        deliver(site.settings, day, count=2)
    once_more = ordered(site, "retry-failed", made, "--yes")
    assert once_more["sessions"] == len(BAD)
    # The daemon looks at backfills when it starts, and then only every 30 s.
    site.kill_daemon()
    site.start_daemon()
    second = settled(site, backfills, once_more["backfill"])
    assert list(second.states) == BAD
    assert second.counts[State.DONE] == len(BAD)
    assert second.parent == made
    assert site.rows("SELECT count(*) FROM otc_days WHERE computed_at IS NOT NULL") == [(YEAR,)]
    assert ordered(site, "retry-failed", made, "--yes")["backfill"] is None
    assert backfills.get(made).status == "COMPLETED_FAILED"
    assert [row["backfill"] for row in ordered(site, "status")] == [second.id, made]


@pytest.mark.slow
def test_a_cancelled_one_leaves_sessions_that_were_never_run_and_can_be_asked_for_again(
    site: Deployed, backfills: Backfills
) -> None:
    site.kill_daemon()
    days = OTHERS[:3]
    for day in days:
        deliver(site.settings, day, count=2)
    made = ordered(site, "launch", f"{days[0]}..{days[-1]}", "--yes")["backfill"]
    assert ordered(site, "cancel", made)["status"] == "canceling"
    site.start_daemon()
    site.wait_for(lambda: backfills.get(made).status == "CANCELED", 60)
    assert backfills.get(made).failed_sessions() == days
    assert "has ended already" in site.spine("backfill", "cancel", made).stderr
    site.kill_daemon()
    again = ordered(site, "retry-failed", made, "--yes")
    assert again["sessions"] == 3
    busy = ordered(site, "retry-failed", made, "--yes")
    assert (busy["backfill"], again["backfill"] in busy["why"]) == (None, True)
    ordered(site, "cancel", again["backfill"])


@pytest.mark.slow
def test_a_full_lane_refuses_with_the_figures(site: Deployed, backfills: Backfills) -> None:
    site.kill_daemon()
    site.launch("otc_full_refresh", OTHERS[5], market_spine__lane=tags.BACKFILL)

    def launch(limit: int, total: int = 100) -> str:
        tight = replace(backfills, limits=Limits(total, {tags.NORMAL: 100, tags.BACKFILL: limit}))
        return tight.launch(site.webserver, TABLES, OTHERS[6:8], chunk=1, trigger="cli")

    with pytest.raises(QueueFull, match="lane backfill holds 1 of at most 2 runs"):
        launch(2)
    with pytest.raises(QueueFull, match="the queue holds 1 of at most 2 runs"):
        launch(3, total=2)
    with pytest.raises(LedgerError, match="2 runs never fits into lane backfill, which takes 1"):
        launch(1)
    backfills.cancel(site.webserver, launch(3))


@pytest.mark.slow
def test_files_that_have_not_landed_are_left_out_and_sessions_are_read_as_ranges(site: Deployed) -> None:
    found = ordered(site, "plan", f"{OTHERS[8]}..{TODAY}")
    assert found["to_do"] == []
    assert found["without_file"] == [str(day) for day in OTHERS[8:]]
    # Trades and metrics need no file that lies there now.
    later = ordered(site, "plan", str(OTHERS[8]), "--assets", "otc_metrics_daily,otc_trades")
    assert (later["to_do"], later["assets"]) == ([str(OTHERS[8])], ["otc_trades", "otc_metrics_daily"])
    for wrong, said in (("2026-13-01", "is no day"), ("2026-03-02..2026-03-01", "swap them")):
        done = site.spine("backfill", "plan", wrong)
        assert (done.returncode, said in " ".join(done.stderr.replace("│", "").split())) == (2, True), done.stderr
    done = site.spine("backfill", "plan", "2020-01-02")
    assert (done.returncode, "MARKET_SPINE_FIRST_SESSION" in done.stderr) == (1, True)


@pytest.mark.slow
def test_the_daemon_keeps_the_standing_check_of_the_inventory_up_to_date(site: Deployed) -> None:
    site.kill_daemon()
    site.start_daemon()
    named = {"sensorName": "inventory", "repositoryName": site.repository, "repositoryLocationName": "market_spine"}
    assert site.webserver.ask(START_SENSOR, {"sensor": named})["startSensor"]["__typename"] == "Sensor"
    query = "SELECT execution_status FROM asset_check_executions WHERE check_name = 'every_session_present'"
    # Sessions whose files were never delivered are missing.
    assert site.wait_for(lambda: site.ledger_rows(query), 60) == [("FAILED",)]
    assert site.ledger_rows("SELECT count(*) FROM runs WHERE pipeline_name LIKE '%%inventory%%'") == [(0,)]


@pytest.mark.slow
def test_an_unknown_one_is_not_found(site: Deployed, backfills: Backfills) -> None:
    assert site.spine("backfill", "status", "nope").returncode == 4
    with pytest.raises(NotFound, match="spine backfill status"):
        backfills.cancel(site.webserver, "nope")


def test_a_database_that_does_not_answer_is_one_line() -> None:
    away = LedgerStorage("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(LedgerError, match="DAGSTER_DATABASE_URL"):
        Backfills(away, CALENDAR, Limits(1, {tags.BACKFILL: 1})).latest()
