"""How routes reach the ledger: its modules are synchronous, so their calls run in a few threads of their own.

What it is: ``LedgerAccess`` makes the ledger's objects from addresses, runs calls on them off the event loop, and turns
the ledger's errors into problems. Two threads read and one gives orders (orders wait for each other at the queue's door
anyway), so that this many connections are open at the most and an order that waits for Dagster delays no read.
Belongs here: threads, addresses, what an error of the ledger is to a caller. Does not belong here: rules of the ledger.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import TypeVar

import psycopg
from psycopg import errors as postgres

from market_spine.api.problems import Problem
from market_spine.errors import (
    CalendarError,
    InvalidSubmission,
    LedgerError,
    LogicalKeyActive,
    NotFound,
    QueueFull,
    SpineError,
    WarehouseError,
    WrongState,
)
from market_spine.ledger.dead_letters import DeadLetters
from market_spine.ledger.executions import Executions
from market_spine.ledger.storage import LedgerStorage
from market_spine.ledger.submission import Desk
from market_spine.ledger.webserver import Webserver
from market_spine.settings import Settings
from market_spine.warehouse.engine import Warehouse
from market_spine.warehouse.version import MIGRATE

READERS, WRITERS = 2, 1
MOST_WAITING = 50
"""Calls that may wait for a thread; more are told to come back."""
WEBSERVER_SECONDS = 15.0
"""Its answers take 30 ms, the first one after a start seconds."""
Answer = TypeVar("Answer")


@dataclass
class LedgerAccess:
    """The ledger of one deployment.

    Args:
        settings: limits, first session, landing folder.
        market_url: the market database, with a login that may resolve dead letters; empty: not known.
        dagster_url: Dagster's database; empty: not known.
        find_webserver: where its webserver answers; asked each time, because it may come back elsewhere.
    """

    settings: Settings
    market_url: str
    dagster_url: str
    find_webserver: Callable[[], Webserver]
    _desk: Desk | None = field(default=None, init=False)
    _waiting: int = field(default=0, init=False)

    def open(self) -> None:
        """Make the threads' pools."""
        self._readers = ThreadPoolExecutor(READERS, "ledger-read")
        self._writers = ThreadPoolExecutor(WRITERS, "ledger-write")

    def close(self) -> None:
        """End the threads; what has not begun never will."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writers.shutdown(wait=False, cancel_futures=True)

    @property
    def ledger(self) -> LedgerStorage:
        """Dagster's database.

        Raises:
            LedgerError: nobody named one.
        """
        if not self.dagster_url:
            raise LedgerError("Dagster's database is not known here; set DAGSTER_DATABASE_URL")
        return LedgerStorage(self.dagster_url)

    @property
    def warehouse(self) -> Warehouse:
        """The market tables.

        Raises:
            WarehouseError: nobody named them.
        """
        if not self.market_url:
            raise WarehouseError("the market tables are not known here; set DATABASE_URL")
        return Warehouse(self.market_url, lock_timeout_ms=self.settings.lock_timeout_ms)

    @property
    def executions(self) -> Executions:
        """All executions."""
        return Executions(self.ledger)

    @property
    def dead_letters(self) -> DeadLetters:
        """All dead letters."""
        return DeadLetters(self.warehouse, self.ledger)

    @property
    def webserver(self) -> Webserver:
        """Dagster's webserver.

        Raises:
            LedgerError: none is known.
        """
        return replace(self.find_webserver(), timeout=WEBSERVER_SECONDS)

    @property
    def desk(self) -> Desk:
        """Where work is handed in; kept, because it remembers where the webserver has each job."""
        webserver = self.webserver
        if self._desk is None or self._desk.webserver != webserver:
            self._desk = Desk.of(self.ledger, webserver, self.settings)
        return self._desk

    async def read(self, call: Callable[[], Answer]) -> Answer:
        """What a call that only looks answers.

        Raises:
            Problem: in place of every error of the ledger.
        """
        return await self._run(self._readers, call)

    async def order(self, call: Callable[[], Answer]) -> Answer:
        """What a call that changes something answers.

        Raises:
            Problem: in place of every error of the ledger.
        """
        try:
            return await self._run(self._writers, call)
        except Problem as problem:
            if problem.code == "dagster_unavailable":
                self._desk = None  # it may have come back with other code locations
            raise

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[], Answer]) -> Answer:
        if self._waiting >= MOST_WAITING:
            raise Problem("dagster_unavailable", f"{self._waiting} requests about executions wait already; come back")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, call)
        except (SpineError, psycopg.Error) as error:
            raise problem_of(error) from error
        finally:
            self._waiting -= 1


def problem_of(error: SpineError | psycopg.Error) -> Problem:
    """What an error of the ledger is to a caller."""
    line = " ".join(str(error).split()) or type(error).__name__
    match error:
        case NotFound():
            return Problem("not_found", line)
        case LogicalKeyActive():
            return Problem("logical_key_active", line, execution=error.run_id)
        case QueueFull():
            return Problem("queue_full", line, headers={"Retry-After": str(error.retry_after)})
        case InvalidSubmission():
            return Problem("invalid_submission", line)
        case WrongState():
            return Problem("wrong_state", line)
        case CalendarError():
            return Problem("invalid_parameter", line, field="since")
        case WarehouseError():
            return Problem("database_unavailable", line)
        case postgres.UndefinedTable() | postgres.UndefinedColumn():
            return Problem("not_ready", f"{line.partition(' LINE ')[0]}: {MIGRATE}, or start Dagster once")
        case psycopg.DataError():
            return Problem("invalid_parameter", f"PostgreSQL: {line}")
        case _:
            return Problem("dagster_unavailable", line)
