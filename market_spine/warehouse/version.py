"""Which migration a database stands at, which one this code needs, and what to say when the two differ.

What it is: one query and one listing, without Alembic, whose imports would cost every command 0.4 s.
Belongs here: that question, and the words of its answer, which command line, API and doctor share. Does not belong
here: running migrations (``migrate``).
"""

from functools import cache
from pathlib import Path

import psycopg

from market_spine.errors import WarehouseError
from market_spine.warehouse.engine import Connection, Warehouse
from market_spine.warehouse.sql import statements

MIGRATE = "run spine db migrate"
"""What to do where the tables are not those that this code reads."""
SQL = statements("market_spine.warehouse", "version.sql")
VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"


@cache
def needed_version() -> str:
    """The newest migration this code has, by its number: ``0005``."""
    return max(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


def version_of(connection: Connection) -> str:
    """The migration a database stands at; empty where none was ever run."""
    try:
        with connection.transaction():
            row = connection.execute(SQL("version")).fetchone()
    except psycopg.errors.UndefinedTable:
        return ""
    return str(row[0]) if row else ""


def is_behind(warehouse: Warehouse) -> bool:
    """Whether migrations are to be run; a database that is ahead of this code can still be read.

    Raises:
        WarehouseError: the database does not answer.
    """
    with warehouse.connect() as connection:
        return version_of(connection) < needed_version()


def refuse_behind(warehouse: Warehouse) -> None:
    """See that the market tables are there, as new as this code needs them.

    Raises:
        WarehouseError: they are not, or the database does not answer.
    """
    with warehouse.connect() as connection:
        version = version_of(connection)
    if version < needed_version():
        where = f"stand at migration {version}, this code needs {needed_version()}" if version else "are not there"
        raise WarehouseError(f"the market tables {where}: {MIGRATE}")
