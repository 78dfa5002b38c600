"""Take the market tables away and make them anew.

Belongs here: which tables are ours, and dropping them whatever their number. Does not belong here: asking whether it is
meant (``market_spine.cli.database``), the schema (``migrate``).
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from market_spine.errors import WarehouseError
from market_spine.warehouse import migrate
from market_spine.warehouse.engine import Connection, plain_url
from market_spine.warehouse.schema import BUILD, LEAVES, metadata
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.warehouse", "reset.sql")
BATCH = 200
VERSIONS = "alembic_version"


def reset(database_url: str) -> None:
    """Drop every market table with its data, and migrate an empty schema to the newest.

    Tables of others in the same database are left alone.

    Raises:
        WarehouseError: the database cannot be reached, or somebody holds a table for ten seconds.
    """
    with _connected(database_url) as connection:
        while leaves := connection.execute(SQL("tables_of"), {"schemas": [LEAVES, BUILD], "most": BATCH}).fetchall():
            with connection.transaction():
                for (name,) in leaves:
                    connection.execute(SQL("drop_table", table=sql.SQL(str(name))))
        _drop(connection, [*metadata.tables, VERSIONS])
        for schema in (LEAVES, BUILD):
            connection.execute(SQL("drop_schema", schema=schema))
    migrate.upgrade(database_url)


def drop_tables(database_url: str, names: Collection[str]) -> None:
    """Drop tables by name, with their data and what depends on them.

    Raises:
        WarehouseError: as ``reset``.
    """
    with _connected(database_url) as connection:
        _drop(connection, names)


def _drop(connection: Connection, names: Collection[str]) -> None:
    with connection.transaction():
        for name in sorted(names):
            connection.execute(SQL("drop_table", table=name))


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    try:
        options = "-c lock_timeout=10s"
        with psycopg.connect(
            plain_url(database_url), autocommit=True, application_name="market_spine_reset", options=options
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        line = str(error).strip().splitlines()[0]
        raise WarehouseError(f"the tables cannot be dropped: {line}") from error
