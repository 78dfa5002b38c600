"""Sensors: what starts runs without anybody asking.

What it is: ``dirty_days`` has the trades and metrics of a session computed again when reports about it came on another
day or its files changed.
Belongs here: deciding which runs to ask for. Does not belong here: marking days (``otc``), what a run does (``jobs``).

A mark is answered by the next pass of its day that begins after it. So the sensor asks for a run only while none of
its own is waiting or running for that day, and by the number of the last mark: a mark set while a run waits is answered
by that run, one set while it works stays and is asked for at the next tick, and a day whose run failed is not asked for
again until something new is known about it.
"""

from collections.abc import Iterable

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from market_spine.automation.jobs import REDO, REDO_PRIORITY
from market_spine.errors import WarehouseError
from market_spine.otc.partitions import trading_day_partitions
from market_spine.otc.steps import Steps
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.automation", "sensors.sql")
DAY_TAG = "market_spine/dirty_day"
RUNS_A_TICK = 50
INTERVAL_SECONDS = 10
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def otc_sensors() -> list[SensorDefinition]:
    """All sensors."""
    return [dirty_days]


@sensor(
    job_name=REDO,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Computes the trades and metrics of a session again when something new is known about it.",
)
def dirty_days(context: SensorEvaluationContext, steps: ResourceParam[Steps]) -> SensorResult | SkipReason:
    """A run for each marked session, at most ``RUNS_A_TICK`` at once."""
    try:
        with steps.warehouse.connect() as connection:
            marked = connection.execute(SQL("dirty_days")).fetchall()
    except WarehouseError as error:
        return SkipReason(str(error))
    if not marked:
        return SkipReason("no session is marked")
    busy = {run.tags.get(DAY_TAG) for run in context.instance.get_runs(RunsFilter(job_name=REDO, statuses=UNFINISHED))}
    partitions = set(trading_day_partitions(steps.calendar).get_partition_keys())
    requests: list[RunRequest] = []
    notes: list[str] = []
    for day, mark, count, reason in marked:
        key = str(day)
        if key in busy:
            notes.append(f"{key} has a run already")
        elif key not in partitions:
            notes.append(f"{key} is no session, or is not over yet")
        elif len(requests) == RUNS_A_TICK:
            notes.append(f"{key} and later ones wait for the next tick")
            break
        else:
            context.log.info(f"{key}: {count} marks, the last one: {reason}")
            tags = {DAY_TAG: key, "dagster/priority": str(REDO_PRIORITY)}
            requests.append(RunRequest(run_key=f"{key}:{mark}", partition_key=key, tags=tags))
    if not requests:
        return SkipReason(_shortly(notes))
    return SensorResult(run_requests=requests)


def _shortly(notes: Iterable[str], most: int = 5) -> str:
    known = list(notes)
    return "; ".join(known[:most]) + (f"; and {len(known) - most} more" if len(known) > most else "")
