"""The nightly clean-up: a job of one op and the schedule that starts it.

What it is: ``otc_cleanup`` runs every part of ``cleaning``. When a part fails, the others are done all the same, and
the run fails at its end and names the part; the next night tries it again. At most one clean-up works at a time,
whoever started it.
Belongs here: telling Dagster. Does not belong here: what is cleaned (``cleaning``), how long is kept (``settings``).
"""

from collections.abc import Iterator

from dagster import (
    DefaultScheduleStatus,
    Failure,
    JobDefinition,
    MetadataValue,
    Nothing,
    OpExecutionContext,
    Out,
    Output,
    ResourceParam,
    ScheduleDefinition,
    job,
    op,
)

from market_spine.automation.cleaning import PartResult, clean
from market_spine.automation.executor import ledger_of
from market_spine.calendar import ZONE_NAME
from market_spine.errors import LedgerError
from market_spine.ledger.tags import LANE, NORMAL, PRIORITY
from market_spine.otc.steps import Steps

CLEANUP = "otc_cleanup"
CLEANUP_PRIORITY = -5
"""After today's sessions and corrections, before a backfill, which may take all night."""
EVERY_NIGHT = "30 3 * * *"
"""New York: after the last files of a session, before the first of the next."""


# Of type Nothing, so that no file with the result of each night is left in Dagster's folder.
@op(
    description="Deletes finished runs and their events, ticks, resolved dead letters and raw reports past their time.",
    out=Out(Nothing),
)
def delete_what_is_past_its_time(context: OpExecutionContext, steps: ResourceParam[Steps]) -> Iterator[Output[None]]:
    """Clean up; the counts are in the log and in the metadata."""
    storage = ledger_of(context.instance)
    if storage is None:
        raise LedgerError("Dagster's storage is no PostgreSQL database; there is nothing this clean-up could do")
    done = clean(steps.settings, storage, steps.warehouse, lambda _what, _done, _total: None)
    for result in done.results:
        for line in told(result):
            context.log.info(line)
    removed = [one for result in done.results for one in result.removed]
    metadata = {
        "bytes removed": MetadataValue.int(sum(one.bytes for one in removed)),
        **{f"{one.what} removed": MetadataValue.int(one.rows) for one in removed},
    }
    if done.failed:
        raise Failure(done.problem, metadata=metadata, allow_retries=False)
    yield Output(None, metadata=metadata)


def told(result: PartResult) -> list[str]:
    """A part's result in lines."""
    removed = [f"{one.what}: {one.rows:,} removed, {one.bytes:,} bytes" for one in result.removed if one.rows]
    kept = [f"{one.what}: {one.rows:,} kept: {one.why}" for one in result.kept]
    return [f"{result.part}, older than {result.before}: {line}" for line in [*(removed or ["nothing"]), *kept]]


def cleanup_job() -> JobDefinition:
    """The job."""

    @job(
        name=CLEANUP,
        description="Removes what is past its time; the settings MARKET_SPINE_KEEP_*_DAYS say when that is.",
        tags={LANE: NORMAL, PRIORITY: str(CLEANUP_PRIORITY)},
    )
    def otc_cleanup() -> None:
        delete_what_is_past_its_time()

    return otc_cleanup


def cleanup_schedule() -> ScheduleDefinition:
    """Every night."""
    return ScheduleDefinition(
        name="nightly_cleanup",
        job_name=CLEANUP,
        cron_schedule=EVERY_NIGHT,
        execution_timezone=ZONE_NAME,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Starts the clean-up at 03:30 New York.",
    )
