"""Checks that Dagster plans for each partition of a run and that no result ever answers.

What it is: a run of partitions plans every check once a partition, in rows of 3.4 KB, even where the check is declared
without partitions; the result of the run stands in a row of its own (found in 1.13.27; ten checks and a chunk of 21
sessions leave 700 KB that says "planned" for ever). The op takes those rows away when it has reported its results.
Belongs here: that one deletion. Does not belong here: anything else in Dagster's tables (``market_spine.ledger``).
"""

import logging

from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)


def forget_planned_checks(instance: DagsterInstance, run_id: str) -> None:
    """Delete the partitions' planned rows of a run; a failure is logged and costs nothing but space."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return
    table = AssetCheckExecutionsTable
    planned = table.delete().where(
        table.c.run_id == run_id, table.c.execution_status == "PLANNED", table.c.partition.is_not(None)
    )
    try:
        with storage.index_connection() as connection:
            connection.execute(planned)
    except SQLAlchemyError:
        log.warning("the planned checks of run %s stay behind in Dagster's storage", run_id, exc_info=True)
