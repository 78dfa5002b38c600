"""Alembic's entry: runs the migrations on the database whose URL ``market_spine.warehouse.migrate`` hands over.

Belongs here: the connection and what autogenerate may compare. Does not belong here: settings, SQL.
"""

from alembic import context
from sqlalchemy import create_engine, pool

from market_spine.warehouse.schema import metadata


def main() -> None:
    """Upgrade in one transaction, so that a failed migration leaves the schema as it was."""
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
        with context.begin_transaction():
            # Two processes that migrate at once queue here instead of failing on each other's half.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('market_spine.migrate', 0))")
            context.run_migrations()


main()
