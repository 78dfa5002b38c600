"""The sensor ``dead_letters``: looks for dead letters, and for those that were resolved.

Belongs here: when it is looked, the cursor, what a tick says. Does not belong here: what makes a letter
(``market_spine.ledger.dead_letter_watch``).

Not a ``run_failure_sensor``: without a cursor that one begins with the present, so that what failed before is never
told, and it never comes back to a letter that another run has resolved. This one reads the event log behind a cursor
that may be lost.
"""

from dagster import (
    DefaultSensorStatus,
    ResourceParam,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from market_spine.automation.executor import ledger_of
from market_spine.errors import LedgerError, WarehouseError
from market_spine.ledger.dead_letter_watch import DeadLetterWatch
from market_spine.otc.steps import STEPS, Steps

INTERVAL_SECONDS = 10


def dead_letter_sensors() -> list[SensorDefinition]:
    """All sensors of this module."""
    return [dead_letters]


@sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Opens a dead letter for each session whose last try failed, and closes those that were mended.",
)
def dead_letters(context: SensorEvaluationContext, steps: ResourceParam[Steps]) -> SensorResult | SkipReason:
    """One look; asks for no run."""
    ledger = ledger_of(context.instance)
    if ledger is None:
        return SkipReason("this instance keeps its events in no PostgreSQL database")
    watch = DeadLetterWatch(steps.warehouse, ledger, STEPS, context.instance.run_retries_enabled)
    try:
        look = watch.look(_cursor(context.cursor))
    except (LedgerError, WarehouseError) as error:
        return SkipReason(str(error))
    told = f"dead letters: {look.opened} opened, {look.repeated} failed again, {look.resolved} resolved"
    if look.waiting:
        told += f"; {look.waiting} failed runs may be started again"
    return SensorResult(skip_reason=told, cursor=str(look.cursor))


def _cursor(text: str | None) -> int:
    """The number of the last event that is dealt with; a cursor that says nothing is as good as none."""
    return int(text) if text and text.isdecimal() else 0
