"""What a scrape reads from the two databases, each by a connection that is kept.

What it is: ``LedgerReader`` and ``MarketReader`` answer with plain figures or say in one line why they cannot. They are
synchronous and of one thread at a time.
Belongs here: the questions, and what becomes of a connection that broke. Does not belong here: threads and deadlines
(``metrics_scrape``), names of metrics (``metrics``).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import psycopg

from market_spine.calendar import TradingCalendar
from market_spine.errors import LedgerError, SpineError
from market_spine.ledger import health, reconciliation, tally
from market_spine.ledger.health import Finding
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.tally import RunCounts
from market_spine.observability.metrics_sessions import Memory, QuickTaking, overdue
from market_spine.otc.coverage import SessionData, coverage
from market_spine.otc.steps import STEPS
from market_spine.settings import Settings
from market_spine.warehouse.engine import Connection, plain_url
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.observability", "metrics.sql")
CONNECT_SECONDS = 2
STATEMENT_SECONDS = 5
OPTIONS = (
    f"-c timezone=UTC -c datestyle=ISO -c client_encoding=UTF8 -c jit=off -c statement_timeout={STATEMENT_SECONDS}s "
    "-c max_parallel_workers_per_gather=0"
)
QUARANTINED = "quarantined"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Away:
    """Why a database could not be read, in one line."""

    why: str


@dataclass(frozen=True)
class LedgerFigures:
    """Dagster's database.

    Args:
        runs: counts of runs.
        heartbeats: seconds since each daemon was last heard of.
        dead_slots: places in the queue's limit and in pools that runs without a process hold.
        event_log_bytes: of the event log on disk.
    """

    runs: RunCounts
    heartbeats: Mapping[str, float]
    dead_slots: int
    event_log_bytes: int


@dataclass(frozen=True)
class NewestSession:
    """The newest session whose metrics are published: when, how many seconds ago, its reports by disposition."""

    day: date
    published_at: datetime
    age_seconds: float
    reports: Mapping[str, int]

    @property
    def quarantine_ratio(self) -> float:
        """Share of its reports in quarantine; 0 where it had none at all."""
        every = sum(self.reports.values())
        return self.reports.get(QUARANTINED, 0) / every if every else 0.0


@dataclass(frozen=True)
class MarketFigures:
    """The market database.

    Args:
        held: what the tables have of each session.
        unresolved: open dead letters.
        oldest_letter_seconds: since the oldest of them failed first; 0 without any.
        letters: dead letters ever opened, by asset.
        overdue: sessions past their hour without metrics.
        newest: None before the first session.
    """

    held: Mapping[date, SessionData]
    unresolved: int
    oldest_letter_seconds: float
    letters: Mapping[str, int]
    overdue: int
    newest: NewestSession | None


@dataclass(frozen=True)
class LentStorage(LedgerStorage):
    """Dagster's database through a connection that somebody else keeps."""

    connection: Connection

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """That connection, on which each statement is a transaction."""
        del autocommit
        yield self.connection


@dataclass
class Kept:
    """A connection that is opened when it is needed, kept, and given up when it fails.

    Args:
        url: PostgreSQL address; empty: nobody named one.
        variable: the setting that names it.
    """

    url: str
    variable: str
    _connection: Connection | None = field(default=None, init=False)

    def ask(self, question: Callable[[Connection], Answer]) -> Answer | Away:
        """The answer, or why there is none. A connection that was kept may have been ended: then a new one is asked."""
        is_fresh = self._connection is None
        try:
            return self._asked(question)
        except (SpineError, psycopg.Error) as error:
            self.close()
            if is_fresh or not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                return Away(_line(error))
        try:
            return self._asked(question)
        except (SpineError, psycopg.Error) as error:
            self.close()
            return Away(_line(error))

    def cancel(self) -> None:
        """Have the server end a question under way; may be called from another thread."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=CONNECT_SECONDS)

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _asked(self, question: Callable[[Connection], Answer]) -> Answer:
        if not self.url:
            raise LedgerError(f"{self.variable} names no database")
        if self._connection is None:
            self._connection = psycopg.connect(
                plain_url(self.url),
                options=OPTIONS,
                application_name="market_spine_metrics",
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                # A server that vanished without a word is known after seconds, not the kernel's quarter of an hour.
                tcp_user_timeout=CONNECT_SECONDS * 1000,
                keepalives_idle=10,
            )
        return question(self._connection)


@dataclass
class LedgerReader:
    """Reads Dagster's database.

    Args:
        kept: the connection.
        settings: limits, and after how long a run that shows no sign of life counts as stuck.
        calendar: the sessions.
    """

    kept: Kept
    settings: Settings
    calendar: TradingCalendar
    _memory: Memory = field(default_factory=Memory, init=False)

    def figures(self) -> LedgerFigures | Away:
        """Everything but the sessions."""
        return self.kept.ask(self._figures)

    def sessions(self, held: Mapping[date, SessionData]) -> Counter[str] | Away:
        """Sessions by state; ``held`` is what the market tables have of each."""

        def asked(connection: Connection) -> Counter[str]:
            taking = QuickTaking(self._lent(connection), self.calendar, STEPS, self.settings.due_hour, self._memory)
            return taking.states(held, datetime.now(UTC))

        return self.kept.ask(asked)

    def findings(self) -> list[Finding] | Away:
        """What ``spine doctor`` would say of the ledger."""

        def asked(connection: Connection) -> list[Finding]:
            storage = self._lent(connection)
            return [
                health.dagster_schema(storage),
                health.daemons(storage),
                *health.queue(storage, self.settings),
                *health.runs(storage, (), self.settings),
            ]

        return self.kept.ask(asked)

    def _figures(self, connection: Connection) -> LedgerFigures:
        tally.ensure(connection)
        tally.add(connection)
        runs = tally.read(connection)
        storage = self._lent(connection)
        heartbeats: Sequence[Sequence[Any]] = connection.execute(health.SQL("heartbeats")).fetchall()
        dead = [
            run
            for run in reconciliation.under_way(storage)
            if run.silent(()) or (run.status == "STARTING" and run.seconds > self.settings.stuck_seconds)
        ]
        held = sum(reconciliation.held_slots(storage).values())
        size: Sequence[Any] = connection.execute(SQL("event_log_bytes")).fetchone() or (0,)
        return LedgerFigures(runs, {name: age for name, age, _ in heartbeats}, len(dead) + held, size[0])

    def _lent(self, connection: Connection) -> LentStorage:
        return LentStorage(self.kept.url, connection)


@dataclass
class MarketReader:
    """Reads the market database.

    Args:
        kept: the connection.
        settings: when a session is due.
        calendar: the sessions.
    """

    kept: Kept
    settings: Settings
    calendar: TradingCalendar

    def figures(self) -> MarketFigures | Away:
        """Everything."""
        return self.kept.ask(self._figures)

    def findings(self) -> list[Finding] | Away:
        """What ``spine doctor`` would say of the dead letters."""
        return self.kept.ask(lambda connection: [health.dead_letters(connection)])

    def _figures(self, connection: Connection) -> MarketFigures:
        held = coverage(connection)
        # Only the calendar and the hour are asked of it, never a database.
        taking = QuickTaking(LedgerStorage(""), self.calendar, STEPS, self.settings.due_hour, Memory())
        unresolved, oldest = connection.execute(health.SQL("dead_letters")).fetchall()[0]
        letters: Sequence[Sequence[Any]] = connection.execute(SQL("dead_letters_by_asset")).fetchall()
        newest: Sequence[Any] | None = connection.execute(SQL("newest_session")).fetchone()
        return MarketFigures(
            held,
            int(str(unresolved)),
            float(str(oldest)),
            {str(asset): int(count) for asset, count in letters},
            overdue(held, taking, datetime.now(UTC)),
            None if newest is None else _newest(*newest),
        )


def _newest(day: date, published_at: datetime, age_seconds: float, counts: Mapping[str, Any]) -> NewestSession:
    return NewestSession(day, published_at, age_seconds, _dispositions(counts))


def _dispositions(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Reports by what became of them, from ``otc_days.counts``; each report of the session is in one of them."""
    found = Counter(dict(counts.get("trades", {})))
    for disposition, reasons in counts.get("exceptions", {}).items():
        found[disposition] += sum(reasons.values())
    return {QUARANTINED: 0, **found}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
