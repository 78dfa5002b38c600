"""Connections to Dagster's own database.

What it is: ``LedgerStorage`` opens psycopg connections there; statements about Dagster's tables stand in ``sql/``.
Belongs here: reaching that database, and which version of its schema we know. Does not belong here: the statements,
the market tables (``warehouse``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from market_spine.errors import LedgerError
from market_spine.warehouse.engine import Connection, plain_url

# The server gives a client that vanished without a word 20 s instead of two hours; runs are known to live by a lock.
OPTIONS = (
    "-c timezone=UTC -c datestyle=ISO -c client_encoding=UTF8 -c jit=off "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2"
)


@dataclass(frozen=True)
class LedgerStorage:
    """Where Dagster keeps runs, events and schedules.

    Args:
        url: PostgreSQL address, any ``postgresql`` scheme.
    """

    url: str

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end of the block, rolled back on an error.

        Dagster writes its timestamps without a zone, in UTC; the session's zone is UTC too.

        Raises:
            LedgerError: the server does not answer.
        """
        with self.hold(autocommit=autocommit) as connection:
            yield connection

    def hold(self, *, autocommit: bool = True) -> Connection:
        """A connection for the caller to keep and to close.

        Raises:
            LedgerError: the server does not answer.
        """
        try:
            return psycopg.connect(
                plain_url(self.url),
                options=OPTIONS,
                application_name="market_spine_ledger",
                connect_timeout=10,
                autocommit=autocommit,
            )
        except psycopg.OperationalError as error:
            line = str(error).strip().splitlines()[0]
            raise LedgerError(f"Dagster's database does not answer: {line}; check DAGSTER_DATABASE_URL") from error
