"""Dead letters: what Dagster does not know of a failed partition, who resolved it and how.

Revision: 0002
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create otc_dead_letters; code of 0001 does not see it."""
    run_migration_sql("0002_dead_letters.sql")
