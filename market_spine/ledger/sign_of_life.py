"""A run's sign of life: an advisory lock in Dagster's database, held for as long as the run's process lives.

What it is: ``SignOfLife`` holds the lock on a connection of its own and takes it again when that connection is lost (a
server that restarts). PostgreSQL takes the lock away when the process, or its machine, is gone; so whoever reaches the
database knows whether a run lives, on one machine and on Kubernetes alike.
Belongs here: holding. Does not belong here: looking for runs that do not (``reconciliation``), Dagster.
"""

import logging
import threading
from types import TracebackType
from typing import Self

import psycopg

from market_spine.errors import LedgerError
from market_spine.ledger.storage import LedgerStorage
from market_spine.observability import logs
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.ledger", "reconciliation.sql")
BEAT_SECONDS = 10.0
"""How often the connection is looked at; a lock that was lost with it is back well before a run counts as dead."""

log = logging.getLogger(__name__)


class SignOfLife:
    """The lock of one run; a context manager.

    Args:
        storage: Dagster's database.
        run_id: the run.
        beat_seconds: how often the connection is looked at.

    Raises:
        LedgerError: on entry, when the database does not answer.
    """

    def __init__(self, storage: LedgerStorage, run_id: str, *, beat_seconds: float = BEAT_SECONDS) -> None:
        self._storage = storage
        self._run_id = run_id
        self._beat_seconds = beat_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"sign of life {run_id}", daemon=True)
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=self._beat_seconds)
        self._close()

    def _take(self) -> None:
        self._connection = self._storage.hold()
        self._connection.execute(SQL("hold"), {"run_id": self._run_id})

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _beat(self) -> None:
        logs.bind(run_id=self._run_id)
        while not self._over.wait(self._beat_seconds):
            try:
                if self._connection is None:
                    self._take()
                else:
                    self._connection.execute(SQL("beat"))
            except (psycopg.Error, LedgerError) as error:
                log.warning("run %s lost its sign of life and takes it again: %s", self._run_id, error)
                self._close()
