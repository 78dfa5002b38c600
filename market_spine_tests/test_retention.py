"""A clean-up of Dagster's storage: what goes, what stays, and that nobody notices.

Belongs here: runs, events, ticks and dead letters. Does not belong here: raw reports (``test_raw_retention``), the
nightly job and the command (``test_cleaning``).
"""

import signal
import subprocess
import sys
import threading
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from market_spine.errors import LedgerError
from market_spine.ledger import retention
from market_spine.ledger.retention import Removed, Retention
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse
from market_spine_tests.old_runs import (
    FEW_SESSIONS,
    KEEP,
    NOW,
    SESSIONS,
    OldRuns,
    forget_cache,
    graphql,
    old_runs,
    shown,
    storage_of,
    wait_until,
)
from market_spine_tests.orchestrated import PROJECT, Orchestra, deliver

BEFORE = NOW - KEEP
READER_MS = 200
MANY_SESSIONS = 150
COUNTED = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions", "snapshots", "job_ticks")


def cleaner(orchestra: Orchestra, *, dry_run: bool = False) -> Retention:
    return Retention(
        storage_of(orchestra), Warehouse(orchestra.settings.database_url), lambda _what, _done, _total: None, dry_run
    )


def ledger_rows(orchestra: Orchestra, query: str, *values: object) -> list[tuple[Any, ...]]:
    with storage_of(orchestra).connect() as connection:
        return connection.execute(query, values).fetchall()


def counts(orchestra: Orchestra) -> dict[str, int]:
    return {table: ledger_rows(orchestra, f"SELECT count(*) FROM {table}")[0][0] for table in COUNTED}


def digest(orchestra: Orchestra) -> list[tuple[Any, ...]]:
    """What is left, by its ids."""
    return ledger_rows(
        orchestra,
        """SELECT 'event', id::text FROM event_logs UNION ALL SELECT 'run', run_id FROM runs
           UNION ALL SELECT 'check', id::text FROM asset_check_executions UNION ALL SELECT 'tag', id::text FROM run_tags
           ORDER BY 1, 2""",
    )


def by_kind(removed: list[Removed]) -> dict[str, int]:
    return {one.what: one.rows for one in removed}


# --- what Dagster shows


def assert_nothing_looks_different(orchestra: Orchestra, days: list[date], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in orchestra.settings.to_env().items():
        monkeypatch.setenv(variable, value)
    forget_cache(orchestra.instance)
    before, page = shown(orchestra, days), graphql(orchestra)
    assert {"MATERIALIZED", "FAILED"} <= set(before["otc_trades"]["statuses"])
    removed, _ = cleaner(orchestra).runs(BEFORE)
    assert by_kind(removed)["runs"] > 0
    # First from the status Dagster has cached, then from the events that are left.
    assert graphql(orchestra) == page
    forget_cache(orchestra.instance)
    assert (shown(orchestra, days), graphql(orchestra)) == (before, page)


def test_after_a_clean_up_every_partition_and_check_looks_as_before(
    old: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_nothing_looks_different(old, SESSIONS[-FEW_SESSIONS:], monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(480)
def test_ten_thousand_runs_are_cleaned_up_and_every_partition_looks_as_before(
    server: EmbeddedServer, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with old_runs(server, database_url, tmp_path, 10_000, MANY_SESSIONS) as made, made.copy() as copy:
        assert_nothing_looks_different(copy, SESSIONS[-MANY_SESSIONS:], monkeypatch)
        assert counts(copy)["runs"] < 2_000


# --- what goes and what stays


def test_old_runs_go_with_their_events_and_young_ones_stay_whole(old: Orchestra) -> None:
    young = "FROM runs WHERE to_timestamp(end_time) >= %s"
    events = f"SELECT count(*) FROM event_logs WHERE run_id IN (SELECT run_id {young})"
    before = ledger_rows(old, f"SELECT count(*) {young}", BEFORE), ledger_rows(old, events, BEFORE)
    total = counts(old)["runs"]
    removed, kept = cleaner(old).runs(BEFORE)
    assert (ledger_rows(old, f"SELECT count(*) {young}", BEFORE), ledger_rows(old, events, BEFORE)) == before
    left = ledger_rows(
        old, "SELECT DISTINCT dagster_event_type FROM event_logs WHERE run_id NOT IN (SELECT run_id FROM runs)"
    )
    assert {row[0] for row in left} <= set(retention.ASSET_EVENTS)
    gone = by_kind(removed)
    assert gone["runs"] + counts(old)["runs"] == total
    assert sum(one.rows for one in kept) > 0
    assert gone["events"] > 20 * gone["runs"]
    assert all(one.bytes > 0 for one in removed if one.rows)
    assert [one.why for one in kept] == ["a partition shows as failed by it"]


def test_a_dry_run_counts_the_same_and_changes_nothing(old: Orchestra) -> None:
    before = digest(old)
    found = cleaner(old, dry_run=True).runs(BEFORE)
    assert digest(old) == before
    assert cleaner(old).runs(BEFORE) == found


def test_a_second_clean_up_finds_nothing(old: Orchestra) -> None:
    _, kept = cleaner(old).runs(BEFORE)
    left = digest(old)
    removed, kept_again = cleaner(old).runs(BEFORE)
    assert (sum(one.rows for one in removed), kept_again) == (0, kept)
    assert digest(old) == left


def test_what_a_later_run_supersedes_goes_with_the_next_clean_up(old: Orchestra) -> None:
    cleaner(old).runs(BEFORE)
    query = """SELECT e.partition FROM event_logs AS e WHERE e.dagster_event_type = 'ASSET_MATERIALIZATION'
               AND e.asset_key = '["otc_trades"]' AND e.run_id NOT IN (SELECT run_id FROM runs) ORDER BY 1 LIMIT 1"""
    day = date.fromisoformat(ledger_rows(old, query)[0][0])
    deliver(old.settings, day)
    assert old.run("otc_full_refresh", day).success
    removed, _ = cleaner(old).runs(BEFORE)
    assert by_kind(removed)["superseded events"] >= 3
    assert len(ledger_rows(old, query.replace("ORDER BY", "AND e.partition = %s ORDER BY"), str(day))) == 0
    assert str(day) in old.materialized("otc_trades")


def an_old_run(orchestra: Orchestra, status: str = "SUCCESS", skip: int = 0) -> str:
    query = "SELECT run_id FROM runs WHERE status = %s AND to_timestamp(end_time) < %s ORDER BY id OFFSET %s LIMIT 1"
    return str(ledger_rows(orchestra, query, status, BEFORE, skip)[0][0])


def change(orchestra: Orchestra, query: str, *values: object) -> None:
    with storage_of(orchestra).connect() as connection:
        connection.execute(query, values)


def test_runs_that_something_needs_stay(old: Orchestra) -> None:
    waiting, parent, member, letter = (an_old_run(old, skip=number) for number in range(4))
    change(old, "UPDATE runs SET status = 'STARTED' WHERE run_id = %s", waiting)
    change(old, "INSERT INTO run_tags (run_id, key, value) VALUES (%s, 'dagster/parent_run_id', %s)", waiting, parent)
    change(old, "UPDATE runs SET backfill_id = 'underway' WHERE run_id = %s", member)
    change(
        old,
        "INSERT INTO bulk_actions (key, status, timestamp, body) VALUES ('underway', 'REQUESTED', '2020-01-01', '{}')",
    )
    add_letter(old, letter, None)
    try:
        _, kept = cleaner(old).runs(BEFORE)
    finally:
        old.tamper("DELETE FROM otc_dead_letters")
    left = {row[0] for row in ledger_rows(old, "SELECT run_id FROM runs")}
    assert {waiting, parent, member, letter} <= left
    assert {
        "a run under way is a retry of it": 1,
        "its backfill is under way": 1,
        "an open dead letter names it": 1,
    }.items() <= {one.why: one.rows for one in kept}.items()
    events = ledger_rows(old, "SELECT count(*) FROM event_logs WHERE run_id = %s", parent)
    assert events[0][0] > 20


def test_ended_backfills_and_unused_snapshots_go_and_the_newest_snapshots_stay(old: Orchestra) -> None:
    for key, status, at in (
        ("ended", "COMPLETED_SUCCESS", BEFORE - timedelta(days=1)),
        ("young", "COMPLETED_SUCCESS", NOW),
        ("underway", "REQUESTED", BEFORE - timedelta(days=1)),
    ):
        change(
            old, "INSERT INTO bulk_actions (key, status, timestamp, body) VALUES (%s, %s, %s, '{}')", key, status, at
        )
        change(old, "INSERT INTO backfill_tags (backfill_id, key, value) VALUES (%s, 'a', 'b')", key)
    used = ledger_rows(old, "SELECT count(*) FROM snapshots")[0][0]
    change(
        old,
        "INSERT INTO snapshots (snapshot_id, snapshot_body, snapshot_type) "
        "SELECT 'unused' || n, 'x', 'PIPELINE' FROM generate_series(1, 150) AS n",
    )
    removed, _ = cleaner(old).runs(BEFORE)
    assert (by_kind(removed)["backfills"], by_kind(removed)["snapshots"]) == (1, 50)
    assert ledger_rows(old, "SELECT key FROM bulk_actions ORDER BY key") == [("underway",), ("young",)]
    assert ledger_rows(old, "SELECT backfill_id FROM backfill_tags ORDER BY 1") == [("underway",), ("young",)]
    assert ledger_rows(old, "SELECT count(*) FROM snapshots")[0][0] == used + 100


def test_ticks_go_but_for_the_last_of_each(old: Orchestra) -> None:
    for sensor, ages in {"busy": (1, 40, 50), "asleep": (60, 70)}.items():
        for age in ages:
            change(
                old,
                "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body) "
                "VALUES (%s, %s, 'SKIPPED', 'SENSOR', %s, '{}')",
                *(sensor, sensor, (NOW - timedelta(days=age)).replace(tzinfo=None)),
            )
    assert cleaner(old, dry_run=True).ticks(BEFORE) == (found := cleaner(old).ticks(BEFORE))
    assert by_kind(found[0]) == {"ticks": 3}
    left = ledger_rows(old, "SELECT selector_id, count(*) FROM job_ticks GROUP BY 1 ORDER BY 1")
    assert left == [("asleep", 1), ("busy", 1)]


def add_letter(orchestra: Orchestra, run_id: str, resolved_at: datetime | None) -> None:
    orchestra.tamper(
        "INSERT INTO otc_dead_letters (asset, partition, run_id, reason, tries, retries, first_failed_at, "
        "last_failed_at, resolved_at) VALUES ('otc_trades', '2026-03-04', %s, 'bad', 1, 0, now(), now(), %s)",
        *(run_id, resolved_at),
    )


def test_only_dead_letters_resolved_long_ago_go(old: Orchestra) -> None:
    for run_id, resolved_at in {"open": None, "long ago": BEFORE - timedelta(days=1), "just now": NOW}.items():
        add_letter(old, run_id, resolved_at)
    try:
        assert cleaner(old, dry_run=True).dead_letters(BEFORE) == (found := cleaner(old).dead_letters(BEFORE))
        assert by_kind(found[0]) == {"dead letters": 1}
        assert old.rows("SELECT run_id FROM otc_dead_letters ORDER BY 1") == [("just now",), ("open",)]
    finally:
        old.tamper("DELETE FROM otc_dead_letters")


# --- beside others


def test_a_killed_clean_up_leaves_whole_batches_and_the_next_one_ends_where_an_undisturbed_one_does(
    few_old_runs: OldRuns,
) -> None:
    with few_old_runs.copy() as undisturbed, few_old_runs.copy() as killed:
        cleaner(undisturbed).runs(BEFORE)
        total = counts(killed)["runs"]
        # Held by somebody else, a run in the middle makes its batch wait: that is where the process is killed.
        with psycopg.connect(killed.settings.dagster_database_url) as other:
            other.execute("SELECT FROM runs WHERE run_id = %s FOR UPDATE", [an_old_run(killed, skip=180)])
            process = subprocess.Popen(
                [sys.executable, "-m", "market_spine.cli.main", "cleanup", "--only", "runs"],
                env=killed.environment,
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_until(lambda: counts(killed)["runs"] < total or process.poll() is not None)
                time.sleep(0.3)
                assert process.poll() is None
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        assert 0 < total - counts(killed)["runs"] < 400
        assert digest(killed) != digest(undisturbed)
        wait_until(lambda: not ledger_rows(killed, "SELECT FROM pg_locks WHERE locktype = 'advisory'"))
        cleaner(killed).runs(BEFORE)
        assert digest(killed) == digest(undisturbed)


def test_a_reader_never_waits_for_a_clean_up(old: Orchestra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RUNS_A_BATCH", 10)
    stop = threading.Event()
    reads, problems = [0], []

    def read() -> None:
        with psycopg.connect(old.settings.dagster_database_url, autocommit=True) as connection:
            connection.execute(f"SET lock_timeout = {READER_MS}")
            while not stop.is_set():
                try:
                    connection.execute("SELECT max(id), count(*) FROM event_logs WHERE asset_key IS NOT NULL")
                    connection.execute("SELECT run_body FROM runs ORDER BY id DESC LIMIT 50")
                except psycopg.Error as error:
                    problems.append(error)
                reads[0] += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        cleaner(old).runs(BEFORE)
    finally:
        stop.set()
        thread.join()
    assert problems == []
    assert reads[0] > 5


def test_two_clean_ups_do_not_work_at_once(old: Orchestra) -> None:
    with storage_of(old).connect() as other:
        other.execute(retention.SQL("lock_cleanup"))
        with pytest.raises(LedgerError, match="another clean-up is under way"):
            cleaner(old).runs(BEFORE)


def test_rows_that_others_hold_end_the_clean_up_with_a_line(old: Orchestra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TRIES", 2)
    monkeypatch.setattr(retention, "LOCK_TIMEOUT_MS", 20)
    with storage_of(old).connect() as other:
        other.execute("SELECT FROM runs WHERE run_id = %s FOR UPDATE", [an_old_run(old)])
        with pytest.raises(LedgerError, match="stay locked by others"):
            cleaner(old).runs(BEFORE)


# --- every night, and by hand
