"""Retention of Dagster's storage: finished runs and their events, ticks, resolved dead letters.

What it is: ``Retention`` deletes by SQL what is past its time, in batches of a few thousand rows, each a transaction of
its own. Killed at any moment it leaves whole batches done, and the next clean-up goes on; a reader never waits for it.
Belongs here: what may go from Dagster's storage and from our table beside it. Does not belong here: raw reports
(``market_spine.otc.raw_retention``), how long is kept (``settings``), when it runs (``market_spine.automation``).

What Dagster shows of an asset is read from events, so not every event of an old run may go (``sql/retention.sql``):

- Of each asset partition the latest materialization and the latest attempt stay, without their run. Dagster's own
  ``delete_run`` takes them along, and its two views of partition status then disagree.
- A partition shows as failed only while the run of its latest attempt is there: such a run stays whole.
- Of each check the latest result stays; so does a run that a run under way is a retry of, that belongs to a backfill
  under way, or that an open dead letter names.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import psycopg
from psycopg import sql

from market_spine.errors import LedgerError
from market_spine.ledger import tally
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tags import FINISHED, PARENT, RETRY_OF
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "retention.sql")

ROOT = "dagster/root_run_id"
RUNS_A_BATCH = 100
ROWS_A_BATCH = 5_000
PATIENCE_SECONDS = 2.0
LOCK_TIMEOUT_MS = 500
"""A row that somebody else has locked makes a batch give up and try again; nobody waits for a batch that waits."""
TRIES = 20
NEWEST_SNAPSHOTS = 100
"""More than all jobs of a code version have, with their selections."""
ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
"""Statuses of backfills that Dagster calls terminal."""
ASSET_EVENTS = (
    "ASSET_MATERIALIZATION",
    "ASSET_MATERIALIZATION_PLANNED",
    "ASSET_FAILED_TO_MATERIALIZE",
    "ASSET_OBSERVATION",
    "ASSET_CHECK_EVALUATION",
    "ASSET_CHECK_EVALUATION_PLANNED",
)
"""Events that outlive their run for as long as they are the latest word."""
TABLES = {
    "check results": "asset_check_executions",
    "superseded events": "event_logs",
    "backfills": "bulk_actions",
    "snapshots": "snapshots",
    "ticks": "job_ticks",
}


class Say(Protocol):
    """Told of progress: what is removed, how much of it is done, how much there is."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Removed:
    """What a clean-up removed, or would.

    Args:
        what: kind of rows.
        rows: how many.
        bytes: their size as stored, without indexes; the tables take that space for new rows, the disk gets it back
            only by VACUUM FULL.
    """

    what: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Kept:
    """What is past its time and stays, and why."""

    what: str
    rows: int
    why: str


Outcome = tuple[list[Removed], list[Kept]]


@dataclass(frozen=True)
class Retention:
    """Cleans one instance.

    Args:
        ledger: Dagster's database.
        warehouse: the market database, which holds the dead letters.
        say: told of progress.
        dry_run: count, change nothing.
    """

    ledger: LedgerStorage
    warehouse: Warehouse
    say: Say
    dry_run: bool = False

    def runs(self, before: datetime) -> Outcome:
        """Runs that ended before ``before``, their events, and what only they needed.

        Raises:
            LedgerError: the database does not answer, another clean-up is under way, or rows stay locked by others.
        """
        with self.warehouse.connect() as market:
            named = [str(row[0]) for row in market.execute(SQL("runs_of_open_letters")).fetchall()]
        with self._session() as connection:
            parts = {"superseded": SQL("superseded"), "bytes": SQL("event_bytes")}
            limits = {"before": before, "finished": list(FINISHED), "ended": list(ENDED)}
            if not self.dry_run:
                tally.ensure(connection)
            connection.execute(SQL("find_kept_checks"))
            connection.execute(SQL("find_runs"), limits)
            connection.execute(SQL("keep_failed", superseded=parts["superseded"]))
            connection.execute(SQL("keep_checked"))
            connection.execute(SQL("keep_parents"), {**limits, "parents": [PARENT, ROOT, RETRY_OF]})
            connection.execute(SQL("keep_backfills"), limits)
            connection.execute(SQL("keep_named"), {"runs": named, "why": "an open dead letter names it"})
            connection.execute(SQL("find_checks"), limits)
            connection.execute(SQL("find_superseded_events", **parts), {**limits, "types": list(ASSET_EVENTS)})
            connection.execute(SQL("find_backfills"), limits)
            connection.execute(SQL("find_snapshots"), {"newest": NEWEST_SNAPSHOTS})
            connection.execute(SQL("analyze_lists"))
            kept = [Kept("runs", int(str(n)), str(why)) for why, n in connection.execute(SQL("kept_runs")).fetchall()]
            checks = self._rows(connection, "check results")
            runs, events = self._runs_and_events(connection)
            rest = [self._rows(connection, kind) for kind in ("superseded events", "backfills", "snapshots")]
            if not self.dry_run:
                _removed(connection, SQL("delete_backfill_tags"), {})
        return [runs, events, checks, *rest], kept

    def ticks(self, before: datetime) -> Outcome:
        """Ticks of schedules and sensors from before ``before``; the last one of each stays.

        Raises:
            LedgerError: as ``runs``.
        """
        with self._session() as connection:
            connection.execute(SQL("find_ticks"), {"before": before})
            connection.execute(SQL("analyze_lists"))
            return [self._rows(connection, "ticks")], []

    def dead_letters(self, before: datetime) -> Outcome:
        """Dead letters that were resolved before ``before``.

        Raises:
            LedgerError: rows stay locked by others.
            WarehouseError: the database does not answer.
        """
        with self.warehouse.connect() as connection:
            size_of = SQL("letter_bytes")
            total, size = _pair(connection.execute(SQL("count_letters", bytes=size_of), {"before": before}))
            if self.dry_run:
                return [Removed("dead letters", total, size)], []
            connection.execute(SQL("limit_waiting"), {"milliseconds": str(LOCK_TIMEOUT_MS)})
            connection.commit()
            limits = {"before": before, "limit": ROWS_A_BATCH}
            rows = size = 0
            count = ROWS_A_BATCH
            while count == ROWS_A_BATCH:
                count, taken = _removed(connection, SQL("delete_letters", bytes=size_of), limits)
                connection.commit()
                rows, size = rows + count, size + taken
                self.say("dead letters", rows, max(total, rows))
        return [Removed("dead letters", rows, size)], []

    def _runs_and_events(self, connection: Connection) -> tuple[Removed, Removed]:
        """Batches of runs; first their events, so that what a killed clean-up leaves is still found by its run."""
        total, size = _pair(connection.execute(SQL("listed_runs")))
        parts = {"superseded": SQL("superseded"), "bytes": SQL("event_bytes")}
        delete = SQL("delete_runs", facts=tally.facts_of_deleted(), adding=tally.SQL("adding"))
        runs = runs_size = events = events_size = after = done = 0
        while batch := connection.execute(SQL("next_runs"), {"after": after, "limit": RUNS_A_BATCH}).fetchall():
            after = int(str(batch[-1][0]))
            ids = {"runs": [row[1] for row in batch], "finished": list(FINISHED), "limit": ROWS_A_BATCH}
            if self.dry_run:
                count, taken = _pair(connection.execute(SQL("count_events", **parts), ids))
                events, events_size = events + count, events_size + taken
            else:
                count = ROWS_A_BATCH
                while count == ROWS_A_BATCH:
                    count, taken = _removed(connection, SQL("delete_events", **parts), ids)
                    events, events_size = events + count, events_size + taken
                count, taken = _removed(connection, delete, {**tally.VALUES, **ids}, first=tally.SQL("lock"))
                runs, runs_size = runs + count, runs_size + taken
            done += len(batch)
            self.say("runs", done, total)
        if self.dry_run:
            runs, runs_size = total, size
        return Removed("runs", runs, runs_size), Removed("events", events, events_size)

    def _rows(self, connection: Connection, kind: str) -> Removed:
        """The listed rows of one kind."""
        total, size = _pair(connection.execute(SQL("listed_rows"), {"kind": kind}))
        if self.dry_run or not total:
            return Removed(kind, total, size)
        rows = rows_size = after = done = 0
        while batch := connection.execute(
            SQL("next_rows"), {"kind": kind, "after": after, "limit": ROWS_A_BATCH}
        ).fetchall():
            after = int(str(batch[-1][0]))
            values = {"kind": kind, "ids": [row[1] for row in batch]}
            if kind == "superseded events":
                _removed(connection, SQL("delete_event_tags"), values)
            count, taken = _removed(connection, SQL("delete_rows", table=TABLES[kind]), values)
            rows, rows_size, done = rows + count, rows_size + taken, done + len(batch)
            self.say(kind, done, total)
        return Removed(kind, rows, rows_size)

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction, with empty lists; nobody else cleans meanwhile."""
        with self.ledger.connect(autocommit=True) as connection:
            self._lock(connection)
            connection.execute(SQL("limit_waiting"), {"milliseconds": str(LOCK_TIMEOUT_MS)})
            connection.execute(SQL("create_lists"))
            try:
                yield connection
            except psycopg.OperationalError as error:
                line = str(error).strip().splitlines()[0]
                raise LedgerError(f"Dagster's database ended the clean-up: {line}; run it again") from error

    def _lock(self, connection: Connection) -> None:
        """Be the only one; the part before us may have ended an instant ago, and its session with it a little later."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (connection.execute(SQL("lock_cleanup")).fetchone() or (False,))[0]:
            if time.monotonic() > deadline:
                raise LedgerError("another clean-up is under way; wait for it to end")
            time.sleep(0.05)


def _removed(
    connection: Connection, statement: sql.Composed, values: Mapping[str, object], *, first: sql.Composed | None = None
) -> tuple[int, int]:
    """Rows and bytes that a batch removed; it is run again after a pause where others hold its rows.

    Args:
        connection: on which each statement is a transaction.
        statement: answers with both.
        values: its values.
        first: a statement that goes before it in the same transaction, to lock something.

    Raises:
        LedgerError: they still do after the last try.
    """
    for number in range(1, TRIES + 1):
        try:
            with connection.transaction():
                if first is not None:
                    connection.execute(first)
                return _pair(connection.execute(statement, values))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if number == TRIES:
                line = str(error).splitlines()[0]
                raise LedgerError(
                    f"rows to be removed stay locked by others ({line}); run spine cleanup again"
                ) from error
            time.sleep(0.05 * number)
    raise AssertionError("not reached")


def _pair(cursor: psycopg.Cursor[tuple[object, ...]]) -> tuple[int, int]:
    row = cursor.fetchone() or (0, 0)
    return int(str(row[0])), int(str(row[1]))
