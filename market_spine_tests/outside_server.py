"""The tests on a PostgreSQL server that is there already, instead of the embedded one.

What it is: ``MARKET_SPINE_TEST_SERVER`` names it by the address of a superuser; ``OutsideServer`` gives the tests what
they ask of the embedded server: databases and their addresses. So the same tests say whether a version of PostgreSQL,
or a server that is reached over TCP with a password, will do.
Belongs here: choosing and naming. Does not belong here: tests of the embedded server, which start their own.

    MARKET_SPINE_TEST_SERVER=postgresql://postgres:secret@127.0.0.1:5432/postgres make test
"""

import os
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg

from market_spine.warehouse.sql import statements

VARIABLE = "MARKET_SPINE_TEST_SERVER"
MINE = f"_{os.getpid()}"
"""Ends the name of every database, because all processes of a test run share the server."""


class OutsideServer:
    """Somebody's PostgreSQL server.

    Args:
        address: of a superuser, with the database from which others are made.
    """

    def __init__(self, address: str) -> None:
        self._address = urlsplit(address)
        self._made: list[str] = []

    def url(self, database: str) -> str:
        """The database's address."""
        return urlunsplit(self._address._replace(path=f"/{quote(database)}"))

    def ensure_database(self, name: str) -> None:
        """Create the database unless it is there."""
        named = statements("market_spine.warehouse", "embedded.sql")
        with psycopg.connect(urlunsplit(self._address), autocommit=True) as admin:
            if not admin.execute(named("database_exists"), {"name": name}).fetchone():
                admin.execute(named("create_database", database=name))
                self._made.append(name)

    def remove(self) -> None:
        """Drop what was made here."""
        named = statements("market_spine.warehouse", "embedded.sql")
        with psycopg.connect(urlunsplit(self._address), autocommit=True) as admin:
            while self._made:
                admin.execute(named("drop_database", database=self._made.pop()))
