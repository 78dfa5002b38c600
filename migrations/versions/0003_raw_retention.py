"""Retention of raw reports: which files' reports were dropped, and when.

Revision: 0003
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add otc_files.expired_at; code of 0002 does not see it."""
    run_migration_sql("0003_raw_retention.sql")
