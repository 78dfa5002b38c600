"""The API's connections: pools that read as ``market_spine_reader`` and get over a restart of the server by themselves.

What it is: ``Reader`` runs one statement a request, each a round trip of its own (autocommit), and streams COPY.
Streams have a pool of their own: a download lasts minutes, and as many as there are connections would keep every
page waiting.
Values come as the text PostgreSQL writes: no digit can be lost on the way, and what is only passed on is not parsed.
Belongs here: connections, their settings, what their errors are to a caller. Does not belong here: the statements.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from market_spine.api.problems import Problem
from market_spine.warehouse.engine import plain_url
from market_spine.warehouse.sql import statements
from market_spine.warehouse.version import MIGRATE

ROLE = "market_spine_reader"
TEXT_TYPES = ("int2", "int4", "int8", "numeric", "float4", "float8", "bool", "date", "timestamptz", "json", "jsonb")
WAIT_SECONDS = 3.0
"""How long a request waits for a connection: a server that restarts is back by then, one that is away is told."""
RECONNECT_SECONDS = 2.0
"""The pool's own tries pause 1, 2, 4, 8 ... s. Given up that soon, the next request starts anew, without the pause."""
TRIES = 3
SCHEMA_ERRORS = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName, errors.InsufficientPrivilege)
CHUNK_BYTES = 128 * 1024
SQL = statements("market_spine.api", "service.sql")
VERSION, ALLOW = (SQL(name).as_bytes() for name in ("schema_version", "allow_seconds"))

Values = Mapping[str, object]
Row = tuple[str | None, ...]
Connection = psycopg.AsyncConnection[Row]
log = logging.getLogger(__name__)


@dataclass
class Reader:
    """Reads the views of schema ``api``.

    Args:
        url: PostgreSQL address; its login is, or may take on, the reading role.
        connections: the most that are open at once, two or more; half of them are for streams.
        query_seconds: how long one statement may take.
    """

    url: str
    connections: int = 8
    query_seconds: int = 10
    _pages: AsyncConnectionPool[Connection] = field(init=False)
    _streams: AsyncConnectionPool[Connection] = field(init=False)

    def __post_init__(self) -> None:
        # One process keeps one core busy, which is about one of the server's. With 8 connections for pages they only
        # wait for each other there: at full load a 99th percentile of 53 ms, with 4 of 32, and as many answers.
        streams = self.connections // 2
        self._pages = self._pool("pages", least=1, most=self.connections - streams)
        self._streams = self._pool("streams", least=0, most=streams)

    def _pool(self, name: str, *, least: int, most: int) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            plain_url(self.url),
            kwargs=self._connection_settings(),
            configure=as_text,
            min_size=least,
            max_size=most,
            open=False,
            timeout=WAIT_SECONDS,
            max_waiting=most * 100,
            reconnect_timeout=RECONNECT_SECONDS,
            name=name,
        )

    def _connection_settings(self) -> dict[str, Any]:
        settings = {
            # The role as a startup setting is the session's default: RESET ROLE leads back to it, not around it.
            "role": ROLE,
            "default_transaction_read_only": "on",
            "search_path": "api",
            "statement_timeout": f"{self.query_seconds}s",
            "timezone": "UTC",
            "datestyle": "ISO,YMD",
            "client_encoding": "UTF8",
            "jit": "off",
            "max_parallel_workers_per_gather": "0",  # one request, one core: the build of a day has the others
        }
        return {
            "autocommit": True,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "application_name": "market_spine_api",
            "connect_timeout": 5,
            "keepalives_idle": 30,
        }

    async def open(self) -> None:
        """Start the pools; a server that is away is found out by the first request, not here."""
        for pool in (self._pages, self._streams):
            await pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        for pool in (self._pages, self._streams):
            await pool.close(timeout=5)

    async def rows(self, query: bytes, values: Values | None = None, *, prepare: bool | None = None) -> list[Row]:
        """All rows of a statement, every value as text.

        Args:
            query: the statement; the same bytes again are a prepared statement.
            values: its values.
            prepare: False for statements whose plan depends on the values (a day's partition).

        Raises:
            Problem: the database is away, or it took too long.
        """
        for attempt in range(1, TRIES + 1):
            connection = await _taken(self._pages)
            try:
                cursor = await connection.execute(query, values, prepare=prepare)
                return await cursor.fetchall()
            except errors.QueryCanceled as error:
                raise _too_long(self.query_seconds) from error
            except psycopg.DataError as error:
                raise Problem("invalid_parameter", f"PostgreSQL: {_line(error)}") from error
            except SCHEMA_ERRORS as error:
                log.warning("schema: %s", _line(error))
                raise Problem(
                    "not_ready", f"the database's schema is not the one this code reads: {MIGRATE}"
                ) from error
            except psycopg.OperationalError as error:
                if attempt == TRIES:
                    raise _away(error) from error
            except psycopg.NotSupportedError as error:
                # a migration changed a view under a prepared statement: the next connection prepares anew
                await connection.close()
                if attempt == TRIES:
                    raise _away(error) from error
            finally:
                await self._pages.putconn(connection)
            await _sorted_out(self._pages)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def copying(self, query: bytes, values: Values, seconds: int) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The bytes of a ``COPY ... TO STDOUT``, in chunks of whole rows, as fast as they are taken.

        Args:
            query: the statement.
            values: its values; COPY takes none, so they are written into it on this side.
            seconds: how long it may last.

        Raises:
            Problem: the database is away, or it took too long.
        """
        connection = await self._allowed(seconds)
        try:
            text = psycopg.AsyncClientCursor(connection).mogrify(query, values)
            yield _told(_copied(connection, text.encode()), seconds)
        except psycopg.OperationalError as error:
            raise _away(error) from error
        finally:
            if connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                # The caller went away in the middle: the server must not go on writing for nobody.
                _cancel(connection)
                await connection.close()
            await self._streams.putconn(connection)

    async def _allowed(self, seconds: int) -> Connection:
        """A connection whose statements may last that long."""
        for attempt in range(1, TRIES + 1):
            connection = await _taken(self._streams)
            try:
                await connection.execute(ALLOW, {"limit": f"{seconds}s"})
            except psycopg.OperationalError as error:
                await self._streams.putconn(connection)
                if attempt == TRIES:
                    raise _away(error) from error
                await _sorted_out(self._streams)
            else:
                return connection
        raise AssertionError("unreachable")

    async def trouble(self) -> str:
        """Why the database cannot be used, in one line; empty when it can. Asks on a connection of its own."""
        try:
            connection = await psycopg.AsyncConnection.connect(plain_url(self.url), **self._connection_settings())
        except psycopg.OperationalError as error:
            return _line(error)
        await connection.close()
        return ""

    async def schema_version(self) -> str:
        """The migration the database stands at."""
        found = await self.rows(VERSION)
        return str(found[0][0]) if found else ""


async def _taken(pool: AsyncConnectionPool[Connection]) -> Connection:
    try:
        return await pool.getconn()
    except (PoolTimeout, TooManyRequests) as error:
        raise _away(
            error,
            f"the market database does not answer, or all its connections for {pool.name} are in use",
        ) from error


async def _sorted_out(pool: AsyncConnectionPool[Connection]) -> None:
    """The server ended a connection, so most likely all of them: let go of those that are dead."""
    with suppress(psycopg.Error):
        await pool.check()


async def as_text(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let this connection answer every value as the text PostgreSQL writes."""
    for name in TEXT_TYPES:
        connection.adapters.register_loader(name, TextLoader)


async def _told(chunks: AsyncGenerator[bytes, None], seconds: int) -> AsyncGenerator[bytes, None]:
    """The same, with the database's errors as what they are to the caller."""
    try:
        async for chunk in chunks:
            yield chunk
    except errors.QueryCanceled as error:
        raise _too_long(seconds) from error
    except psycopg.OperationalError as error:
        raise _away(error) from error


async def _copied(connection: Connection, query: bytes) -> AsyncGenerator[bytes, None]:
    """Straight from libpq: psycopg's own iterator takes a row at a time through its scheduler, a third of the speed."""
    server = connection.pgconn
    server.send_query(query)
    while server.flush():
        await _ready(server.socket, writing=True)
    await _answered(server)
    result = server.get_result()
    if result is None or result.status != pq.ExecStatus.COPY_OUT:
        await _drained(server)
        raise errors.error_from_result(result) if result else psycopg.OperationalError("the server said nothing")
    parts: list[bytes | memoryview] = []
    size = 0
    while True:
        length, data = server.get_copy_data(1)
        if length > 0 and data is not None:
            parts.append(data)
            size += length
            if size >= CHUNK_BYTES:
                yield b"".join(parts)
                parts.clear()
                size = 0
        elif length == 0:
            await _ready(server.socket)
            server.consume_input()
        else:
            break
    if parts:
        yield b"".join(parts)
    await _answered(server)
    last = server.get_result()
    await _drained(server)
    if last is not None and last.status != pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(last)


async def _ready(descriptor: int, *, writing: bool = False) -> None:
    """Wait until the socket can be read, or written."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not done.done():
            done.set_result(None)

    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(descriptor, tell)
    try:
        await done
    finally:
        remove(descriptor)


async def _answered(server: pq.abc.PGconn) -> None:
    while server.is_busy():
        await _ready(server.socket)
        server.consume_input()


async def _drained(server: pq.abc.PGconn) -> None:
    """Take results until there is none: only then the connection can be used again."""
    while True:
        await _answered(server)
        if server.get_result() is None:
            return


def _cancel(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.pgconn.get_cancel().cancel()


def _too_long(seconds: int) -> Problem:
    return Problem(
        "query_timeout", f"the answer took longer than {seconds} s; ask for a shorter range or fewer symbols"
    )


def _away(error: Exception, says: str = "the market database does not answer") -> Problem:
    log.warning("database: %s", _line(error))
    return Problem("database_unavailable", f"{says}; try again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
