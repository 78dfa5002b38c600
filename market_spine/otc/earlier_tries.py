"""What the tries of a run have come to so far, told and read in Dagster's own event log.

What it is: a session that fails is told as an observation of the table that could not be built, with its one line. So
each failed partition shows its reason in Dagster, a run that is killed loses none, and the next try of the same run
knows what is left to do, in whatever process it runs. The dead letters (``market_spine.ledger``) read the same events.
Belongs here: writing and reading these events. Does not belong here: what can pass (``failures``), trying again
(``session_run``).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dagster import AssetObservation, DagsterEventType, DagsterInstance, MetadataValue

from market_spine.otc.quality import CHECKS, CheckResult
from market_spine.otc.steps import STEPS, Steps
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.otc", "earlier_tries.sql")
REASON, MAY_PASS, TRY = "failed_because", "may_pass", "try"
"""Metadata of the observation. ``market_spine.ledger`` looks for the first in Dagster's database."""

CheckKey = tuple[date, str, str]


@dataclass(frozen=True)
class Failed:
    """A session that failed.

    Args:
        asset: the table that could not be built; the last one when its own check failed.
        line: why.
        may_pass: whether it is worth another try.
    """

    asset: str
    line: str
    may_pass: bool


@dataclass
class EarlierTries:
    """What stands before a try: everything empty before the first one."""

    done: list[date] = field(default_factory=list)
    failed: dict[date, Failed] = field(default_factory=dict)
    results: dict[CheckKey, CheckResult] = field(default_factory=dict)


def observation(day: date, failed: Failed, retry_number: int) -> AssetObservation:
    """The event that tells of a session that failed."""
    return AssetObservation(
        failed.asset,
        partition=str(day),
        description=failed.line,
        metadata={
            REASON: MetadataValue.text(failed.line),
            MAY_PASS: MetadataValue.bool(failed.may_pass),
            TRY: MetadataValue.int(retry_number + 1),
        },
    )


def earlier_tries(instance: DagsterInstance, run_id: str, assets: Collection[str], steps: Steps) -> EarlierTries:
    """Read what the tries before this one have done.

    Args:
        instance: where the run's events are.
        run_id: the run.
        assets: tables it was asked for; a session is done when the last of them is built and nothing failed after that.
        steps: for the results of the checks.

    Raises:
        WarehouseError, psycopg.Error: the market database does not answer.
    """
    found = EarlierTries()
    last = max(assets, key=STEPS.index, default=None)
    built: set[date] = set()
    wanted = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION}
    for record in instance.get_records_for_run(run_id, of_type=wanted).records:
        event = record.event_log_entry.get_dagster_event()
        if event.partition is None or event.asset_key is None:
            continue
        session, asset = date.fromisoformat(event.partition), event.asset_key.to_user_string()
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            found.failed.pop(session, None)
            built.discard(session)
            if asset == last:
                built.add(session)
        elif REASON in (metadata := event.asset_observation_data.asset_observation.metadata):
            found.failed[session] = _failed(asset, metadata)
            built.discard(session)
    found.done = sorted(built)
    checks = {(check.asset, check.name): check for check in CHECKS}
    with steps.warehouse.connect() as connection:
        for table, day, name, passed, details in connection.execute(SQL("results_of_run"), {"run_id": run_id}):
            if isinstance(day, date) and isinstance(details, dict) and (check := checks.get((str(table), str(name)))):
                found.results[day, check.asset, check.name] = CheckResult(check, day, bool(passed), details)
    return found


def _failed(asset: str, metadata: Mapping[str, MetadataValue[Any]]) -> Failed:
    return Failed(asset, str(metadata[REASON].value), bool(metadata[MAY_PASS].value))
