"""A count of the dead letters that are gone.

Revision: 0006
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create otc_dead_letter_counts; code of 0005 does not see it."""
    run_migration_sql("0006_dead_letter_counts.sql")
