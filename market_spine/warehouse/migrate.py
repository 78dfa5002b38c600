"""Bring the market tables to the newest schema and say where they stand.

What it is: Alembic run from Python on ``migrations/`` at the top of the project; the SQL itself stands in
``migrations/sql``.
Belongs here: upgrading and reporting. Does not belong here: DDL, Dagster's own storage (``dagster instance migrate``).
"""

from pathlib import Path

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, pool

from market_spine.errors import WarehouseError

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def sqlalchemy_url(database_url: str) -> str:
    """The same address for SQLAlchemy with psycopg 3, whatever scheme it came with."""
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise WarehouseError(f"DATABASE_URL starts with {scheme!r}; it must be a postgresql:// address")
    return f"postgresql+psycopg://{rest}"


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = sqlalchemy_url(database_url)
    return config


def run_migration_sql(filename: str) -> None:
    """Execute one file of ``migrations/sql`` inside the running migration."""
    op.get_bind().exec_driver_sql((MIGRATIONS / "sql" / filename).read_text(encoding="utf-8"))


def upgrade(database_url: str) -> None:
    """Upgrade to the newest schema; nothing happens where it is already there.

    Raises:
        WarehouseError: the database cannot be reached or a migration failed (nothing of it stays).
    """
    try:
        command.upgrade(_config(database_url), "head")
    except Exception as error:  # Alembic passes through whatever SQLAlchemy raises
        if isinstance(getattr(error, "orig", error), psycopg.Error):
            raise WarehouseError(f"the migration failed and was rolled back: {_first_line(error)}") from error
        raise


def status(database_url: str) -> list[str]:
    """The migrations that are still to be run, oldest first; empty when the schema is the newest."""
    script = ScriptDirectory.from_config(_config(database_url))
    engine = create_engine(sqlalchemy_url(database_url), poolclass=pool.NullPool)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    except Exception as error:
        if isinstance(getattr(error, "orig", error), psycopg.Error):
            raise WarehouseError(f"the database does not answer: {_first_line(error)}") from error
        raise
    return [revision.revision for revision in script.iterate_revisions("heads", current or "base")][::-1]


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
