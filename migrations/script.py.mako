"""${message}

Revision: ${up_revision}
"""

from market_spine.warehouse.migrate import run_migration_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """${message}."""
    run_migration_sql("${up_revision}_....sql")
