"""Counters over a clean-up, and what is now: both on a ledger of four hundred old runs.

Belongs here: what deleting leaves of the counters; gauges. Does not belong here: counting (``test_metrics``).
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from dagster import DagsterRunStatus

from market_spine.automation.instance import dagster_tables
from market_spine.cli.services import make_dagster_schema
from market_spine.ledger import retention, tags, tally
from market_spine.ledger.retention import Retention
from market_spine.ledger.sign_of_life import SignOfLife
from market_spine.warehouse.embedded import EmbeddedServer
from market_spine.warehouse.engine import Warehouse
from market_spine.warehouse.reset import drop_tables
from market_spine_tests.conftest import DatabaseFactory
from market_spine_tests.old_runs import KEEP, NOW, OldRuns, old_runs, storage_of
from market_spine_tests.orchestrated import Orchestra
from market_spine_tests.scraping import (
    BY_JOB,
    COMPLETED,
    FULL,
    SUBMITTED,
    a_run,
    count_everything,
    counters,
    end,
    risen,
    scraped,
    watched,
)

BEFORE = NOW - KEEP


@pytest.fixture(scope="module")
def many(
    server: EmbeddedServer, new_database: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OldRuns]:
    with new_database() as url, old_runs(server, url, tmp_path_factory.mktemp("many"), 400, 30) as made:
        yield made


@pytest.fixture
def old(many: OldRuns) -> Iterator[Orchestra]:
    """Four hundred finished runs of half a year."""
    with many.copy() as copy:
        yield copy


# --- clean-ups


def cleaner(world: Orchestra, *, dry_run: bool = False) -> Retention:
    return Retention(
        storage_of(world), Warehouse(world.settings.database_url), lambda _what, _done, _total: None, dry_run
    )


@pytest.mark.parametrize("scrapes_before", [0, 1])
def test_a_clean_up_changes_no_counter(old: Orchestra, scrapes_before: int) -> None:
    with storage_of(old).connect() as connection:
        rows = connection.execute("SELECT lower(status), count(*) FROM runs GROUP BY status").fetchall()
    with watched(old) as api:
        before = [counters(api) for _ in range(scrapes_before)]
        assert {one.what: one.rows for one in cleaner(old).runs(BEFORE)[0]}["runs"] > 200
        after = counters(api)
        assert [after] * scrapes_before == before
        assert {status: after[COMPLETED][FULL, str(status)] for status, _ in rows} == dict(rows)
        assert sum(after[SUBMITTED].values()) == sum(after[COMPLETED].values()) > 400


def test_runs_that_ended_since_they_were_counted_as_submitted_are_counted_when_they_are_deleted(old: Orchestra) -> None:
    with storage_of(old).connect() as connection:
        connection.execute("UPDATE runs SET status = 'STARTED' WHERE id % 3 = 0")
    count_everything(old)
    with storage_of(old).connect() as connection:
        connection.execute("UPDATE runs SET status = 'SUCCESS' WHERE id % 3 = 0")
    with watched(old) as api:
        # a scrape would add them first
        with storage_of(old).hold() as connection:
            expected = tally.read(connection).ended
            cleaner(old).runs(BEFORE)
            assert tally.read(connection).ended == expected
        assert sum(counters(api)[COMPLETED].values()) == sum(expected.values())


class Killed(BaseException):
    """Ends a clean-up where it stands, as SIGKILL would."""


def test_a_clean_up_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    old: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS_A_BATCH", 20)

    def kill(what: str, done: int, _total: int) -> None:
        if what == "runs" and done >= 60:
            raise Killed

    with watched(old) as api, watched(old) as fresh:
        before = counters(api)
        with pytest.raises(Killed):
            Retention(storage_of(old), Warehouse(old.settings.database_url), kill).runs(BEFORE)
        assert counters(api) == before
        cleaner(old, dry_run=True).runs(BEFORE)
        assert counters(api) == before
        cleaner(old).runs(BEFORE)
        assert counters(api) == before == counters(fresh)


def test_a_batch_that_is_rolled_back_counts_nothing(old: Orchestra) -> None:
    tables = "market_spine.submitted_runs, market_spine.ended_runs, market_spine.counted_up_to"
    with watched(old) as api:
        before = counters(api)
        with storage_of(old).connect() as connection:
            connection.execute(f"TRUNCATE {tables}")
            connection.execute("INSERT INTO market_spine.counted_up_to (id, not_ended) VALUES (0, '{}')")
            connection.execute(
                """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
                   CREATE TRIGGER refuse BEFORE DELETE ON runs FOR EACH ROW
                   WHEN (OLD.id % 50 = 0) EXECUTE FUNCTION refuse()"""
            )
        with pytest.raises(psycopg.errors.RaiseException):
            cleaner(old).runs(BEFORE)
        assert counters(api) == before


@pytest.mark.slow
def test_dagsters_tables_made_anew_are_counted_from_their_first_run_on_top_of_what_was(old: Orchestra) -> None:
    with watched(old) as api:
        before = counters(api)
        count_everything(old)
        assert sum(before[SUBMITTED].values()) > 400
        drop_tables(storage_of(old).url, dagster_tables())
        assert scraped(api)["spine_ledger_up"] == {(): 0}
        make_dagster_schema(old.environment)
        assert counters(api) == before
        end(old, a_run(old))
        count_everything(old)
        assert risen(before, counters(api)) == {
            (SUBMITTED, "normal", FULL, "ui"): 1,
            (COMPLETED, FULL, "canceled"): 1,
            (BY_JOB, FULL, "canceled"): 1,
        }


def test_dead_letters_stay_counted_when_they_are_gone(old: Orchestra) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=400)
    letter = """INSERT INTO otc_dead_letters (asset, partition, run_id, reason, tries, retries, first_failed_at,
                    last_failed_at, resolved_at, resolution)
                VALUES (%s, %s, 'x', 'y', 1, 0, %s, %s, %s, %s)"""
    with watched(old) as api:
        assert set(counters(api)["spine_dead_letters_total"].values()) == {0}
        for number, asset in enumerate(("otc_trades_raw", "otc_trades_raw", "otc_trades", "otc_metrics_daily")):
            day = date(2025, 1, 2 + number)
            old.tamper(
                letter, asset, day, long_ago, long_ago, *((None, None) if number == 3 else (long_ago, "retried"))
            )
        expected = {("otc_ingest",): 2, ("otc_normalize",): 1, ("otc_compute_daily_metrics",): 1}
        assert counters(api)["spine_dead_letters_total"] == expected
        assert scraped(api)["spine_dlq_unresolved"] == {(): 1}
        for _ in range(2):
            cleaner(old).dead_letters(BEFORE)
            assert counters(api)["spine_dead_letters_total"] == expected
        assert old.rows("SELECT count(*) FROM otc_dead_letters") == [(1,)]
        old.tamper("DELETE FROM otc_dead_letters; DELETE FROM otc_dead_letter_counts")


# --- what is now


def test_what_waits_and_what_runs_is_told_by_lane_with_the_age_of_the_oldest(old: Orchestra) -> None:
    with watched(old) as api:
        assert scraped(api)["spine_pending_executions"] == {("normal",): 0, ("backfill",): 0}
        waiting = [a_run(old), a_run(old), a_run(old, market_spine__lane="backfill")]
        a_run(old, DagsterRunStatus.STARTED)
        a_run(old, DagsterRunStatus.CANCELING, dagster__backfill="abc")
        with storage_of(old).connect() as connection:
            connection.execute(
                "UPDATE runs SET create_timestamp = localtimestamp - interval '90 min' WHERE run_id = %s", (waiting[1],)
            )
        for _ in range(2):
            found = scraped(api)
            assert found["spine_pending_executions"] == {("normal",): 2, ("backfill",): 1}
            assert found["spine_running_executions"] == {("normal",): 1, ("backfill",): 1}
            assert 5400 <= found["spine_oldest_queued_seconds"]["normal",] < 5460
            assert 0 <= found["spine_oldest_queued_seconds"]["backfill",] < 60
            assert found["spine_executions_total"][FULL, "queued"] == 3
            assert found["spine_executions_total"][FULL, "running"] == 1
            count_everything(old)


def test_a_slot_is_held_by_a_dead_run_only_while_its_lock_is_free(old: Orchestra) -> None:
    storage = storage_of(old)
    run = a_run(old, DagsterRunStatus.STARTED)
    with watched(old) as api:
        assert scraped(api)["spine_slots_held_by_dead_runs"] == {(): 0}  # nothing is known of it
        old.instance.add_run_tags(run, {tags.SIGN_OF_LIFE: run})
        assert scraped(api)["spine_slots_held_by_dead_runs"] == {(): 1}
        with SignOfLife(storage, run):
            assert scraped(api)["spine_slots_held_by_dead_runs"] == {(): 0}
        slow = a_run(old, DagsterRunStatus.STARTING)
        assert scraped(api)["spine_slots_held_by_dead_runs"] == {(): 1}
        with storage.connect() as connection:
            connection.execute(
                "UPDATE runs SET update_timestamp = localtimestamp - interval '1 h' WHERE run_id = %s", (slow,)
            )
        assert scraped(api)["spine_slots_held_by_dead_runs"] == {(): 2}


def test_heartbeats_and_the_size_of_the_event_log_are_those_of_the_database(old: Orchestra) -> None:
    storage = storage_of(old)
    with storage.connect() as connection:
        connection.execute(
            """INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp, body)
               VALUES ('SENSOR', 'x', localtimestamp - interval '100 s', '{}')"""
        )
        size = connection.execute("SELECT pg_total_relation_size('event_logs')").fetchone()
    with watched(old) as api:
        found = scraped(api)
        assert 100 <= found["spine_daemon_heartbeat_age_seconds"]["SENSOR",] < 130
        assert set(found["spine_daemon_heartbeat_age_seconds"]) == {("SENSOR",)}
        assert size == (found["spine_event_log_bytes"][()],)
