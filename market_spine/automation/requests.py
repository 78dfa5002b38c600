"""Which runs the automations may ask for, so that no session is asked for twice.

What it is: landing sensor, schedule and dirty days each decide with an open ``Book``: what is under way, what was asked
for, how much room the queue has. Only one of them, or one submission by command or API, has a book open at a time.
Belongs here: admission of what nobody asked for by hand. Does not belong here: which days deserve a run (the sensors
and the schedule), submissions through the webserver (``market_spine.ledger.submission``).

A run key of Dagster's is known to one sensor or one tick of a schedule only, and a run comes into being some moments
after the evaluation that asked for it. So whoever asks leaves a claim on the session, in the same transaction in which
it looked. It binds the others until the run is in the ledger, or for an hour if none ever comes (a daemon that was
killed hands in the runs it had reserved when it is back). It does not bind the one who left it: evaluations of one
sensor follow each other, so what it asked for before is in the ledger by then, or was lost and has to be asked for
again; and Dagster knows the run key.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import psycopg
from dagster import DagsterInstance, RunRequest

from market_spine.automation.executor import ledger_of
from market_spine.calendar import TradingCalendar
from market_spine.errors import LedgerError
from market_spine.ledger import queue, tags
from market_spine.ledger.submission import logical_key
from market_spine.settings import Settings
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.automation", "requests.sql")
RUN_KEY = "dagster/run_key"
CLAIM = "market_spine/asked/"
CLAIM_SECONDS = 3600.0
PATIENCE = "10s"
"""How long a tick waits for another one, or for a submission, to be through; then it is the next tick's turn."""


@dataclass(frozen=True)
class Asked:
    """Who asked for a session, with which run key, and when (seconds since 1970)."""

    holder: str
    key: str
    at: float


@dataclass
class Book:
    """What may be asked for; valid within ``open_book``.

    Args:
        connection: to Dagster's database, in the transaction that keeps others out.
        queue: how full the queue is.
        calendar: the sessions.
        holder: name of the automation that asks.
        trigger: sensor or schedule.
        recent: sessions that are in lane normal; older ones are in lane backfill.
        busy: session -> a run of it that is under way.
        claims: session -> who else has asked for it a moment ago, where its run is not in the ledger yet.
    """

    connection: Connection
    queue: queue.Queue
    calendar: TradingCalendar
    holder: str
    trigger: str
    recent: Collection[date]
    busy: Mapping[date, str]
    claims: dict[date, Asked]
    _room: dict[str, int] = field(default_factory=dict)

    def asked(self, keys: Collection[str]) -> set[str]:
        """Those run keys of which there is a run, whatever became of it."""
        rows = self.connection.execute(SQL("asked"), {"run_key": RUN_KEY, "keys": list(keys)}).fetchall()
        return {str(key) for (key,) in rows}

    def why_not(self, day: date) -> str | None:
        """Why a run of the session cannot be asked for now; None when it can."""
        if day in self.busy:
            return f"{day} waits for run {self.busy[day][:8]}, which is under way"
        claim = self.claims.get(day)
        if claim is not None:
            return f"{day} was asked for by {claim.holder} a moment ago"
        lane = self._lane(day)
        if self._left(lane) < 1:
            return f"{day} waits for room in the queue: lane {lane} takes no more"
        return None

    def request(self, day: date, key: str, job: str, *, priority: int | None = None) -> RunRequest:
        """A request for a run of the session; leaves the claim.

        Args:
            day: the session; ``why_not`` says nothing against it.
            key: run key; the same for the same reason to run.
            job: Dagster's job.
            priority: within lane normal, where it is not that of the lane.
        """
        lane = self._lane(day)
        for one in tags.LANES:
            self._room[one] = self._left(one) - 1
        claim = Asked(self.holder, key, time.time())
        self.connection.execute(SQL("claim"), {"key": f"{CLAIM}{day}", "value": json.dumps(vars(claim))})
        of_lane = tags.lane_tags(lane)
        if priority is not None and lane == tags.NORMAL:
            of_lane[tags.PRIORITY] = str(priority)
        more = {tags.LOGICAL_KEY: logical_key(job, day), tags.TRIGGER: self.trigger}
        return RunRequest(run_key=key, partition_key=str(day), tags={**of_lane, **more})

    def _lane(self, day: date) -> str:
        return tags.NORMAL if day in self.recent else tags.BACKFILL

    def _left(self, lane: str) -> int:
        if lane not in self._room:
            self._room[lane] = self.queue.room(lane)
        return self._room[lane]


@contextmanager
def open_book(
    instance: DagsterInstance, settings: Settings, calendar: TradingCalendar, *, holder: str, trigger: str = "sensor"
) -> Iterator[Book]:
    """Look at the ledger, alone; claims are kept when the block ends without an error.

    Raises:
        LedgerError: Dagster's database does not answer, or somebody else had a book open all the time.
    """
    ledger = ledger_of(instance)
    if ledger is None:
        raise LedgerError("Dagster's storage is no PostgreSQL; set DAGSTER_DATABASE_URL as dagster.yaml says")
    try:
        with ledger.connect() as connection:
            lock = {"lock": queue.ADMISSION_LOCK, "timeout": PATIENCE}
            connection.execute(queue.SQL("lock_admission"), lock)
            book = Book(
                connection,
                queue.Queue(ledger, queue.Limits.of(settings)),
                calendar,
                holder,
                trigger,
                recent_sessions(calendar, settings.catch_up_sessions),
                _busy(connection, calendar),
                {},
            )
            book.claims.update(_claims(book))
            yield book
    except psycopg.errors.LockNotAvailable as error:
        raise LedgerError(f"others submitted runs for {PATIENCE}; the next tick looks again") from error
    except psycopg.Error as error:
        line = " ".join(str(error).split())
        raise LedgerError(f"Dagster's database did not answer in full: {line}; the next tick looks again") from error


def is_over(calendar: TradingCalendar, day: date) -> bool:
    """Whether the day has ended in New York, so that its partition is there."""
    return calendar.day_bounds(day)[1] <= datetime.now(UTC)


def recent_sessions(calendar: TradingCalendar, count: int) -> frozenset[date]:
    """The last ``count`` sessions that are over."""
    today = datetime.now(UTC).date()  # never before New York's
    over = [day for day in calendar.previous_sessions(today, count + 1) if is_over(calendar, day)]
    return frozenset(over[-count:])


def _busy(connection: Connection, calendar: TradingCalendar) -> dict[date, str]:
    values = {
        "partition": tags.PARTITION,
        "range_start": tags.RANGE_START,
        "range_end": tags.RANGE_END,
        "statuses": list(tags.UNDER_WAY),
    }
    found: dict[date, str] = {}
    for run_id, partition, first, last in connection.execute(SQL("under_way"), values).fetchall():
        if partition:
            found[date.fromisoformat(str(partition))] = str(run_id)
        elif first and last:
            sessions = calendar.sessions(date.fromisoformat(str(first)), date.fromisoformat(str(last)))
            found.update(dict.fromkeys(sessions, str(run_id)))
    return found


def _claims(book: Book) -> dict[date, Asked]:
    """The claims of others that still hold; those that do not are forgotten."""
    rows = book.connection.execute(SQL("claims"), {"prefix": CLAIM}).fetchall()
    claims = {str(key): Asked(**json.loads(str(value))) for key, value in rows}
    there = book.asked([claim.key for claim in claims.values()])
    oldest = time.time() - CLAIM_SECONDS
    void = [
        key for key, claim in claims.items() if claim.holder == book.holder or claim.key in there or claim.at < oldest
    ]
    book.connection.execute(SQL("forget_claims"), {"keys": void})
    return {date.fromisoformat(key.removeprefix(CLAIM)): claim for key, claim in claims.items() if key not in void}
