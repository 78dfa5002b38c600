"""Schema ``api`` of views, and the role that reads them.

Revision: 0005
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the views and the role; code of 0004 does not see them."""
    run_migration_sql("0005_reading.sql")
