"""Thousands of finished runs in Dagster's storage, from a few real ones.

What it is: rows of real runs copied by SQL under new run ids, partitions and times; ten thousand real runs would take
an hour. Their shape is that of the real rows, JSON included.
Belongs here: copying. Does not belong here: making the real runs, measuring.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from market_spine.ledger.storage import LedgerStorage
from market_spine.warehouse.sql import statements

SQL = statements("benchmarks", "many_runs.sql")


def copy_runs(
    storage: LedgerStorage,
    sources: Sequence[tuple[str, str]],
    partitions: Sequence[str],
    copies: int,
    *,
    newest: datetime,
    span: timedelta,
) -> None:
    """Add ``copies`` runs.

    Args:
        storage: Dagster's database.
        sources: run id and partition of each real run; they take turns.
        partitions: partitions of the copies; they take turns too.
        copies: how many.
        newest: when the last copy ended, UTC.
        span: how long before it the first one ended.
    """
    values = {
        "sources": [run_id for run_id, _ in sources],
        "old": [partition for _, partition in sources],
        "partitions": list(partitions),
        "copies": copies,
        "newest": newest.replace(tzinfo=None),
        "span": span,
        "salt": str(newest),
    }
    with storage.connect(autocommit=True) as connection:
        connection.execute(SQL("create_copies"))
        connection.execute(SQL("fill_copies"), values)
        connection.execute(SQL("copy_runs"))
        connection.execute(SQL("copy_events"))
        connection.execute(SQL("analyze"))
