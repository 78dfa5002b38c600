"""Ends runs whose process is gone, and frees what they held.

What it is: the sensor ``reconcile_runs``, and ``end_runs``, which ``spine doctor --fix`` uses too.
Belongs here: when a run without a sign of life is ended, and how. Does not belong here: finding it
(``market_spine.ledger.reconciliation``).

A lock may be free for a moment while its run lives: a server that restarts drops every lock, and the run takes its own
again within ten seconds. So the sensor remembers in its cursor since when each lock is free, and waits.

In the worst case a run is ended after one interval (until the sensor sees it), ``stuck_seconds`` (40), one more
interval and a tick of the daemon (5 s): 65 s with the defaults, and up to a minute more where the daemon has to miss
its code server and start it again first (42 to 116 s measured). A run killed before it started is Dagster's own
monitoring's: ``start_timeout_seconds`` + ``poll_interval_seconds`` of dagster.yaml.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    ResourceParam,
    SensorDefinition,
    SkipReason,
    sensor,
)
from dagster import SensorEvaluationContext as Context

from market_spine.automation.executor import ledger_of
from market_spine.errors import LedgerError
from market_spine.ledger.reconciliation import QueuedElsewhere, RunUnderWay, held_slots, under_way, why_ended
from market_spine.otc.steps import Steps

INTERVAL_SECONDS = 10


@dataclass(frozen=True)
class Ended:
    """What ``end_runs`` did, for people."""

    run_id: str
    status: str
    message: str

    def __str__(self) -> str:
        return f"run {self.run_id} is {self.status} now: {self.message}"


def reconcile_sensors() -> list[SensorDefinition]:
    """All sensors of this module."""
    return [reconcile_runs]


@sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone (killed, or their machine stopped) and frees the slots they held.",
)
def reconcile_runs(context: Context, steps: ResourceParam[Steps]) -> SkipReason:
    """One look; always a skip, since nothing is launched."""
    storage = ledger_of(context.instance)
    if storage is None:
        return SkipReason("Dagster's storage is no PostgreSQL: whether a run lives cannot be known")
    ours = {context.code_location_origin.location_name} if context.code_location_origin else set()
    now = time.time()
    try:
        silent = [run for run in under_way(storage) if run.silent(ours)]
        since = _since(context.cursor, silent, now)
        silence = {run: now - since[run.run_id] for run in silent}
        due = {run: seconds for run, seconds in silence.items() if seconds >= steps.settings.stuck_seconds}
        ended = end_runs(context.instance, due)
        freed = free_slots(context.instance)
    except LedgerError as error:
        return SkipReason(str(error))
    for line in (*map(str, ended), *freed):
        context.log.warning(line)
    over = {one.run_id for one in ended}
    context.update_cursor(json.dumps({run: moment for run, moment in since.items() if run not in over}))
    waiting = [run.run_id for run in silent if run not in due]
    told = [*map(str, ended), *freed, *([f"no sign of life yet from {', '.join(waiting)}"] if waiting else [])]
    return SkipReason("; ".join(told) or "every run that is under way lives")


def end_runs(instance: DagsterInstance, silent: Mapping[RunUnderWay, float]) -> list[Ended]:
    """End runs as failed (as cancelled where that was asked for), unless they moved on by themselves meanwhile.

    Args:
        instance: Dagster's instance.
        silent: runs without a process, and for how many seconds each has shown no sign of life.

    Raises:
        LedgerError: Dagster's database does not answer.
    """
    storage = ledger_of(instance)
    if storage is None or not silent:
        return []
    alive = {run.run_id for run in under_way(storage) if run.lives}
    ended = []
    for run, seconds in silent.items():
        record = instance.get_run_by_id(run.run_id)
        if record is None or run.run_id in alive or record.status.value != run.status:
            continue
        message = why_ended(run, seconds)
        if record.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(record, message)
        else:
            instance.report_run_failed(record, message)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(Ended(run.run_id, "CANCELED" if run.status == "CANCELING" else "FAILURE", message))
    return ended


def end_queued(instance: DagsterInstance, lost: Iterable[QueuedElsewhere]) -> list[Ended]:
    """End queued runs whose code location does not exist, as failed."""
    ended = []
    for run in lost:
        record = instance.get_run_by_id(run.run_id)
        if record is not None and record.status == DagsterRunStatus.QUEUED:
            message = f"There is no code location {run.location}, so the run can never start. Ended by reconciliation."
            instance.report_run_failed(record, message)
            ended.append(Ended(run.run_id, "FAILURE", message))
    return ended


def free_slots(instance: DagsterInstance) -> Iterable[str]:
    """Free the pool slots of runs that have ended; answers a line a run.

    Raises:
        LedgerError: Dagster's database does not answer.
    """
    storage = ledger_of(instance)
    freed = []
    for run_id, count in (held_slots(storage) if storage else {}).items():
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        freed.append(f"{count} pool slots of run {run_id}, which has ended, are free again")
    return freed


def _since(cursor: str | None, silent: Iterable[RunUnderWay], now: float) -> dict[str, float]:
    """Since when each of the silent runs is known to be silent."""
    before = json.loads(cursor) if cursor else {}
    return {run.run_id: float(before.get(run.run_id, now)) for run in silent}
