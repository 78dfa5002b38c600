"""Connections to the market tables, and what every transaction on them agrees on.

What it is: ``Warehouse`` opens psycopg connections with one set of session settings, takes the locks that keep two
runs off the same day, runs several statements lists on several connections at once, and replaces a day's leaves.
Belongs here: anything about connections and partitions that does not know what a trade is.
Does not belong here: statements about trades, Dagster.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import date

import psycopg
from psycopg import sql

from market_spine.errors import PartitionLocked, WarehouseError
from market_spine.warehouse import shelf, work
from market_spine.warehouse.schema import BUILD, LEAVES
from market_spine.warehouse.sql import qualified, statements

Connection = shelf.Connection

_RANDOM = random.SystemRandom()

# First key of the two-key advisory locks, one a table: the second is the day's ordinal.
LOCKS = {"otc_trades_raw": 41_001, "otc_trades": 41_002, "otc_metrics_daily": 41_003}


@dataclass(frozen=True)
class Leaf:
    """A leaf partition built aside: its name in ``otc_build``, and the bounds it will have (SQL text of FOR VALUES)."""

    name: str
    bounds: sql.Composable


@dataclass(frozen=True)
class Warehouse:
    """How to reach the market tables.

    Args:
        url: PostgreSQL address, any ``postgresql`` scheme.
        work_mem_mb: memory a sort or hash may take on the server, per connection that builds.
        lock_timeout_ms: how long the swap of a day waits for readers before it steps back and tries again.
        lock_tries: how often it tries.
    """

    url: str
    work_mem_mb: int = 256
    lock_timeout_ms: int = 2000
    lock_tries: int = 30
    _shelf: shelf.Shelf = field(default_factory=shelf.Shelf, init=False, repr=False, compare=False)

    def keeping(self) -> AbstractContextManager[None]:
        """Within this block, a connection that is done is kept for the next: for work on many days."""
        return self._shelf.keeping()

    @contextmanager
    def connect(self, *, building: bool = False) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end of the block, rolled back on an error.

        Args:
            building: for the steps of a day, which read and write all of it: more memory, no JIT, no parallel workers
                (a build uses several connections instead). Kept ones are handed out only for the same.

        Raises:
            WarehouseError: the server does not answer, or the work at hand was told to stop.
        """
        mine = work.current()
        mine.check()
        connection = self._shelf.take(building) or self._opened(building=building)
        try:
            with mine.using(connection):
                yield connection
                connection.commit()
        except BaseException:
            # Closed, not kept: what an error has left in the session is nobody's to guess. Rolled back before, so that
            # its locks are gone when the caller hears of it.
            with suppress(psycopg.Error):
                connection.rollback()
            connection.close()
            raise
        self._shelf.put_back(building, connection)

    def _opened(self, *, building: bool) -> Connection:
        settings = {"timezone": "UTC", "datestyle": "ISO, YMD", "client_encoding": "UTF8", "jit": "off"}
        if building:
            settings |= {
                "work_mem": f"{self.work_mem_mb}MB",
                "maintenance_work_mem": f"{self.work_mem_mb}MB",
                "max_parallel_workers_per_gather": "0",
                "max_parallel_maintenance_workers": "0",
                # Tables just made have no statistics; a nested loop over millions of rows is the planner's usual guess.
                "enable_nestloop": "off",
            }
        options = " ".join(f"-c {key}={value.replace(' ', chr(92) + ' ')}" for key, value in settings.items())
        try:
            return psycopg.connect(
                plain_url(self.url),
                options=options,
                application_name="market_spine",
                # DDL and CREATE TABLE AS take no server-side parameters: values are bound on the client.
                cursor_factory=psycopg.ClientCursor,
                connect_timeout=10,
                # A kept connection may be silent for as long as a big day takes: nothing on the way must forget it, and
                # a server that is gone without a word is noticed in a minute, not in hours. For TCP alone.
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                tcp_user_timeout=60_000,
            )
        except psycopg.OperationalError as error:
            line = str(error).strip().splitlines()[0]
            raise WarehouseError(f"the market database does not answer: {line}; check DATABASE_URL") from error

    def lock_day(self, connection: Connection, table: str, day: date, *, shared: bool = False) -> None:
        """Hold a day of a table until the transaction ends; waits for whoever holds it.

        Raises:
            PartitionLocked: another run held it for as long as all tries together.
        """
        call = "pg_try_advisory_xact_lock_shared" if shared else "pg_try_advisory_xact_lock"
        query = sql.SQL("SELECT {}(%s, %s)").format(sql.Identifier(call))
        deadline = time.monotonic() + self.lock_timeout_ms * self.lock_tries / 1000
        pause = 0.01
        while not _scalar(connection, query, (LOCKS[table], day.toordinal())):
            work.current().check()
            if time.monotonic() > deadline:
                raise PartitionLocked(f"{table} {day}: another run is working on this day; try again when it is done")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def clear_build(self, connection: Connection, prefix: str) -> None:
        """Drop what a killed run left in ``otc_build`` under names starting with ``prefix``."""
        named = statements("market_spine.warehouse", "partitions.sql")
        rows = connection.execute(named("build_tables"), {"schema": BUILD, "prefix": prefix}).fetchall()
        for (name,) in rows:
            connection.execute(named("drop_table", table=qualified(BUILD, str(name))))

    def swap_day(self, connection: Connection, table: str, key: date, leaves: Sequence[Leaf]) -> None:
        """Put ``leaves`` in the place of the leaves ``table`` has for ``key``, in the running transaction.

        Readers see the old day until the transaction commits. Waits ``lock_timeout_ms`` for running readers, steps
        back so that new ones pass, and tries again. Call it last: the table is locked until the commit.

        Raises:
            PartitionLocked: readers held the table through every try.
        """
        named = statements("market_spine.warehouse", "partitions.sql")
        old = [
            str(row[0])
            for row in connection.execute(
                named("leaves_of"), {"table": table, "schema": LEAVES, "prefix": leaf_prefix(table, key)}
            ).fetchall()
        ]
        stamp = _scalar(connection, sql.SQL("SELECT txid_current()"), ())
        for attempt in range(self.lock_tries):
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(self.lock_timeout_ms)))
                    connection.execute(named("lock_for_swap", table=table))
                    for name in old:
                        connection.execute(named("detach_and_drop", table=table, leaf=qualified(LEAVES, name)))
                    for number, leaf in enumerate(leaves):
                        target = f"{leaf_prefix(table, key)}{stamp}_{number}"
                        connection.execute(
                            named(
                                "attach",
                                table=table,
                                built=qualified(BUILD, leaf.name),
                                name=target,
                                leaf=qualified(LEAVES, target),
                                moved=qualified(BUILD, target),
                                leaves=LEAVES,
                                bounds=leaf.bounds,
                            )
                        )
            except psycopg.errors.LockNotAvailable:
                # the runs that wait must not ask again in step
                time.sleep(_RANDOM.uniform(0.02, 0.1) * (attempt + 1))
            else:
                return
        raise PartitionLocked(
            f"{table} {key}: readers held the table through {self.lock_tries} tries of {self.lock_timeout_ms} ms; "
            "end long queries (see pg_stat_activity) and run the day again"
        )


def leaf_prefix(table: str, key: date) -> str:
    """Start of the names of a day's leaves."""
    return f"{table}_{key:%Y%m%d}_"


def plain_url(url: str) -> str:
    """The address without a SQLAlchemy driver name, as libpq takes it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"


def in_parallel(tasks: Sequence[Callable[[], None]]) -> None:
    """Run the tasks at once, a thread each (psycopg waits without the interpreter lock); the first error is raised.

    Each has a copy of the caller's context, so that its log lines and spans are still about the caller's work.
    """
    if len(tasks) == 1:
        tasks[0]()
        return
    errors: list[BaseException] = []

    def keep(_kind: object, error: BaseException | None, _trace: object) -> bool:
        """Whatever a thread raises is the caller's to hear, below."""
        if error is not None:
            errors.append(error)
        return True

    def guarded(task: Callable[[], None]) -> None:
        with ExitStack() as stack:
            stack.push(keep)
            task()

    threads = [threading.Thread(target=copy_context().run, args=(guarded, task), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _scalar(connection: Connection, query: sql.SQL | sql.Composed, values: Sequence[object]) -> object:
    row = connection.execute(query, values).fetchone()
    return row[0] if row else None
