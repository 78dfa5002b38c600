"""The market tables as first published.

Revision: 0001
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables, their indexes and comments."""
    run_migration_sql("0001_market_tables.sql")
