"""Work that somebody else may have to end: the connections it has open, and whether it is to stop.

What it is: a ``Work`` belongs to a context (``contextvars``): threads that are started in a copy of it share it. Every
connection that ``Warehouse.connect`` hands out there is on its list, so that another thread can cancel what runs on it.
Belongs here: the list and the stop. Does not belong here: opening connections (``engine``), who stops whom.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import psycopg

from market_spine.errors import WarehouseError

CANCEL_SECONDS = 5.0
"""A server that does not take a cancel in this time is away; what waits for it ends by itself."""


class Work:
    """What a piece of work has open; safe from several threads."""

    def __init__(self) -> None:
        self._connections: set[psycopg.Connection[tuple[object, ...]]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Cancel what runs and refuse what comes; call it until the work has ended, which may be between the two."""
        self._stopped = True
        with self._lock:
            for connection in self._connections:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=CANCEL_SECONDS)

    def check(self) -> None:
        """Say so where it is to stop.

        Raises:
            WarehouseError: it is.
        """
        if self._stopped:
            raise WarehouseError("stopped before it was done, for its run has ended")

    @contextmanager
    def using(self, connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
        """For the block, the connection is this work's."""
        with self._lock:
            self._connections.add(connection)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


_NOBODYS = Work()
_current: ContextVar[Work] = ContextVar("market_spine_work", default=_NOBODYS)


def current() -> Work:
    """The work of this context; one that nobody stops where none was begun."""
    return _current.get()


def begin() -> Work:
    """A new work for the rest of this context."""
    work = Work()
    _current.set(work)
    return work
