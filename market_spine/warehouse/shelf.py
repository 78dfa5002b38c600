"""Connections that are used again: what one block of work has opened, kept for the next.

What it is: a ``Shelf`` holds idle connections while somebody keeps it open, and closes them in the end. A new
connection costs 4 ms, and its server process then reads the catalogue anew: every partition of every table it touches.
psycopg_pool is for services: it opens connections in threads of its own, and where none can be had its caller hears of
a timeout instead of the reason.
Belongs here: keeping and handing out. Does not belong here: opening, settings, transactions (``engine``).
"""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import pq
from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass
class Shelf:
    """Idle connections by kind; safe from several threads."""

    _idle: dict[Hashable, list[Connection]] = field(default_factory=dict)
    _keepers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep what is put back until the block ends; blocks may lie within each other."""
        with self._lock:
            self._keepers += 1
        try:
            yield
        finally:
            with self._lock:
                self._keepers -= 1
                left = [] if self._keepers else [one for idle in self._idle.values() for one in idle]
                if not self._keepers:
                    self._idle.clear()
            for connection in left:
                connection.close()

    def take(self, kind: Hashable) -> Connection | None:
        """An idle connection of that kind that still answers, if there is one."""
        while True:
            with self._lock:
                idle = self._idle.get(kind)
                connection = idle.pop() if idle else None
            if connection is None:
                return None
            # A server that was restarted has ended it: 0.05 ms to find out here, a failed session otherwise.
            with suppress(psycopg.OperationalError):
                ConnectionPool.check_connection(connection)
                return connection
            connection.close()

    def put_back(self, kind: Hashable, connection: Connection) -> None:
        """Keep a connection without a transaction for the next; close it where nobody keeps any."""
        if not connection.closed and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            with self._lock:
                if self._keepers:
                    self._idle.setdefault(kind, []).append(connection)
                    return
        connection.close()
