"""The inventory as a standing check in the UI: ``every_session_present`` of the asset ``otc_inventory``.

What it is: the sensor ``inventory`` takes the inventory every ten minutes and reports a result when it changed, and
at least every six hours; no run is launched for it. The same check can be executed by hand in the UI.
Belongs here: how the inventory is told to Dagster. Does not belong here: the inventory itself (``ledger.inventory``).

Why an asset of its own that nothing materializes: Dagster 1.13.27 takes every check of a partitioned asset into every
run and backfill of that asset, and plans it there once a partition.
"""

import hashlib
import json
import time
from datetime import UTC, datetime

import psycopg
from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    AssetSpec,
    DagsterInstance,
    DefaultSensorStatus,
    MetadataValue,
    ResourceParam,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    asset_check,
    sensor,
)

from market_spine.automation.executor import ledger_of
from market_spine.errors import LedgerError, SpineError
from market_spine.ledger.inventory import Inventory, Status, Taking
from market_spine.otc.coverage import coverage
from market_spine.otc.landing import survey
from market_spine.otc.steps import STEPS, Steps

INVENTORY = "otc_inventory"
CHECK = "every_session_present"
INTERVAL_SECONDS = 600
REPEAT_SECONDS = 6 * 3600
"""A result that does not change is reported again after this time, so that its age shows that somebody looks."""
NAMED = 50
"""At most so many sessions and commands are named in metadata."""


def inventory_assets() -> list[AssetSpec]:
    """The asset that stands for all sessions together."""
    return [
        AssetSpec(
            INVENTORY,
            deps=[STEPS[-1]],
            description="All sessions of the calendar, of every asset. Nothing materializes it: it carries the check "
            f"{CHECK}, which the sensor inventory keeps up to date. The same in the terminal: spine inventory.",
            group_name="otc",
            owners=["team:market-data"],
        )
    ]


def inventory_checks() -> list[AssetChecksDefinition]:
    """The check, for the button in the UI."""
    return [every_session_present]


def inventory_sensors() -> list[SensorDefinition]:
    """The sensor that keeps it up to date."""
    return [inventory]


@asset_check(
    asset=INVENTORY,
    name=CHECK,
    description="Every session that is due is there, of every asset, and none failed. The metadata name the sessions "
    "and the commands that mend them.",
)
def every_session_present(context: AssetCheckExecutionContext, steps: ResourceParam[Steps]) -> AssetCheckResult:
    """Take the inventory now."""
    return _result(take_inventory(context.instance, steps, datetime.now(UTC)))


@sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description=f"Looks for sessions that failed or are missing and reports the check {CHECK}; launches nothing.",
)
def inventory(context: SensorEvaluationContext, steps: ResourceParam[Steps]) -> SensorResult | SkipReason:
    """Report the check when its result changed, or is old."""
    try:
        found = take_inventory(context.instance, steps, datetime.now(UTC))
    except (SpineError, psycopg.Error) as error:
        return SkipReason(" ".join(str(error).split()))
    result = _result(found)
    told = json.loads(context.cursor) if context.cursor else {}
    now, digest = time.time(), _digest(found)
    summary = _summary(found)
    if told.get("digest") == digest and now - told["at"] < REPEAT_SECONDS:
        return SkipReason(f"as before: {summary}")
    evaluation = AssetCheckEvaluation(
        asset_key=AssetKey(INVENTORY),
        check_name=CHECK,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )
    return SensorResult(
        skip_reason=summary, asset_events=[evaluation], cursor=json.dumps({"digest": digest, "at": now})
    )


def take_inventory(instance: DagsterInstance, steps: Steps, now: datetime) -> Inventory:
    """The inventory of an instance.

    Raises:
        LedgerError: Dagster's storage is no PostgreSQL, or does not answer.
        WarehouseError: the market database does not answer.
        LandingError: the landing folder does not answer.
    """
    ledger = ledger_of(instance)
    if ledger is None:
        raise LedgerError("Dagster's storage is no PostgreSQL: what failed there cannot be asked")
    with steps.warehouse.connect() as connection:
        held = coverage(connection, steps.settings.first_session)
    landed = survey(steps.settings.landing, steps.feeds).days
    return Taking(ledger, steps.calendar, STEPS, steps.settings.due_hour).take(held, now, landed=landed)


def _result(found: Inventory) -> AssetCheckResult:
    """Failed when a session failed or is missing; a warning when Dagster and the tables only disagree."""
    bad = sorted({item.day for item in found.bad})
    commands = list(dict.fromkeys(problem.command for problem in found.problems))
    counts = {asset: {str(one): n for one, n in counted.items() if n} for asset, counted in found.counts.items()}
    return AssetCheckResult(
        passed=not found.problems,
        severity=AssetCheckSeverity.ERROR if bad else AssetCheckSeverity.WARN,
        description=_summary(found),
        metadata={
            "from": MetadataValue.text(str(found.first or "")),
            "to": MetadataValue.text(str(found.last or "")),
            "counts": MetadataValue.json(counts),
            "sessions": MetadataValue.json([str(day) for day in bad[:NAMED]]),
            "sessions_in_all": MetadataValue.int(len(bad)),
            "commands": MetadataValue.json(commands[:NAMED]),
        },
    )


def _summary(found: Inventory) -> str:
    if not found.problems:
        return "every session is there" if found.items else "nothing is there yet, and nothing was tried"
    parts = []
    for status in (Status.FAILED, Status.BLOCKED, Status.MISSING):
        days = {item.day for item in found.items if item.status is status}
        parts += [f"{len(days)} sessions {status}"] if days else []
    return ", ".join(parts) or "Dagster and the tables disagree"


def _digest(found: Inventory) -> str:
    """Changes when a problem comes or goes; not because a session more is there."""
    return hashlib.sha256(repr(list(found.problems)).encode()).hexdigest()[:16]
