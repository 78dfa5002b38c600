"""Files taken back: when, and by whom.

Revision: 0004
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add otc_files.voided_at and voided_by; code of 0003 does not see them."""
    run_migration_sql("0004_voided_files.sql")
