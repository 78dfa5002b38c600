"""The three tables as Dagster assets: one op that works session by session.

What it is: ``otc_assets`` builds the subsettable multi-asset. For each session it does the selected steps in order,
each in its own transaction; a step that fails ends its session and no other. Every table of a session is reported as
materialized the moment it is committed, so that a killed run loses nothing that was done.
Belongs here: how the work is told to Dagster. Does not belong here: the work (``steps``), the checks (``quality``).

Why it is made this way, each point tried against Dagster 1.13.27 (``test_assets.py``):

- One op, not three: a chunk of sessions done asset by asset would leave all of them without metrics when the chunk is
  killed, and would carry a failed session's damage to the next asset as a whole.
- ``skippable`` outputs and materializations reported by hand: an output that Dagster records covers every partition of
  the run, also those that failed. With these, the partitions that were planned and not reported count as failed.
- Checks are not partitioned: such results are a preview in Dagster and have no partition in a run over a range. The
  result of each session stands in ``otc_quality``; Dagster gets one result a check and run, which names the sessions.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import psycopg
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    Failure,
    MetadataValue,
    ResourceParam,
    multi_asset,
)

from market_spine.calendar import TradingCalendar
from market_spine.errors import PartitionLocked, SpineError, WarehouseError
from market_spine.otc.metadata import definition_metadata, description, materialization_metadata
from market_spine.otc.partitions import trading_day_partitions
from market_spine.otc.quality import CHECKS, METRICS, RAW, TRADES, Check, CheckResult
from market_spine.otc.steps import STEPS, UPSTREAM, StepDone, Steps
from market_spine.otc.storage_care import forget_planned_checks, hold_connection
from market_spine.settings import Settings

GROUP = "otc"
OWNERS = ("team:market-data",)
KINDS = frozenset({"postgres", "python"})
NAMED_SESSIONS = 50
"""At most so many sessions are named in metadata."""
PREVIEWED_SESSIONS = 10
"""A run of more sessions shows the first rows of its last one only: the event log keeps every preview for ever."""
REPEATS = 3
"""Rounds in which sessions of this run that a later one marked are done again; what is left then is the sensor's."""

_DETAILS = {
    RAW: "Partition: report date. A new version of a file takes the place of the old one whole.",
    TRADES: "Partition: New York trade date. Reports that arrive on another day change the day of execution.",
    METRICS: "Partition: New York trade date. A value that changes makes a new revision and closes the old one.",
}

Event = AssetMaterialization | AssetCheckResult


def otc_assets(settings: Settings) -> AssetsDefinition:
    """The assets ``otc_trades_raw``, ``otc_trades`` and ``otc_metrics_daily`` with their checks."""
    partitions = trading_day_partitions(TradingCalendar(settings.first_session))
    specs = [
        AssetSpec(
            asset,
            deps=[UPSTREAM[asset]] if asset in UPSTREAM else [],
            description=f"{description(asset)} {_DETAILS[asset]}",
            group_name=GROUP,
            owners=OWNERS,
            kinds=set(KINDS),
            metadata=definition_metadata(asset),
            skippable=True,
            partitions_def=partitions,
        )
        for asset in STEPS
    ]

    @multi_asset(
        name="otc_sessions",
        specs=specs,
        check_specs=[
            AssetCheckSpec(check.name, asset=check.asset, description=check.description, blocking=check.blocking)
            for check in CHECKS
        ],
        can_subset=True,
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=settings.backfill_chunk),
    )
    def otc_sessions(context: AssetExecutionContext, steps: ResourceParam[Steps]) -> Iterator[Event]:
        """Sessions one after the other: files, trades, metrics."""
        yield from _Run(context, steps).events()

    return otc_sessions


@dataclass
class _Run:
    """One run of the op: what was asked for, and what has come of it so far."""

    context: AssetExecutionContext
    steps: Steps
    results: dict[tuple[date, str, str], CheckResult] = field(default_factory=dict)
    failures: dict[date, Exception] = field(default_factory=dict)
    marked: set[date] = field(default_factory=set)
    done: list[date] = field(default_factory=list)

    def events(self) -> Iterator[Event]:
        """Do everything, telling Dagster as it happens.

        Raises:
            Failure: sessions failed; the others are done.
        """
        assets = {key.to_user_string() for key in self.context.selected_asset_keys}
        days = self._sessions()
        hold_connection(self.context.instance)
        if not assets:
            self._only_check(days)
        elif RAW in assets:
            for name in self.steps.unreadable_names():
                self.context.log.warning(name)
        for number, day in enumerate(days if assets else (), start=1):
            shown = len(days) <= PREVIEWED_SESSIONS or number == len(days)
            yield from self._session(day, assets, f"{number} of {len(days)} sessions", preview=shown)
        if TRADES in assets:
            yield from self._again(assets - {RAW})
        yield from self._check_results()
        forget_planned_checks(self.context.instance, self.context.run.run_id)
        if self.failures:
            raise self._failure(len(days))

    def _sessions(self) -> list[date]:
        if not self.context.has_partition_key and not self.context.has_partition_key_range:
            raise Failure(
                "no session was chosen: give the run a partition or a range of partitions, "
                "for example the tag dagster/partition=2026-03-04",
                allow_retries=False,
            )
        return [date.fromisoformat(key) for key in self.context.partition_keys]

    def _session(self, day: date, assets: Collection[str], place: str, *, preview: bool) -> Iterator[Event]:
        counts: list[str] = []
        seconds = 0.0
        self.marked.discard(day)
        try:
            for step in self.steps.run_session(day, assets, run_id=self.context.run.run_id, preview=preview):
                self._note(step)
                counts.append(_told(step))
                seconds += step.seconds
                yield AssetMaterialization(step.asset, partition=str(day), metadata=materialization_metadata(step))
        except (SpineError, psycopg.Error, OSError) as error:
            self.failures[day] = error
            if RAW in assets and (day, RAW, "session_has_file") not in self.results:
                self._keep(self.steps.file_checks(day, run_id=self.context.run.run_id))
            # Its one line says all; the traceback of a refused file would only hide it.
            self.context.log.error(f"{place}, {day}: {_one_line(error)}")  # noqa: TRY400
        else:
            self.failures.pop(day, None)
            self.done.append(day)
            self.context.log.info(f"{place}, {day}: {', '.join(counts)}, {seconds:.1f} s")

    def _again(self, assets: Collection[str]) -> Iterator[Event]:
        """Sessions that were done before a later one of this run marked them."""
        for _ in range(REPEATS):
            days = sorted(self.marked.intersection(self.done))
            for number, day in enumerate(days, start=1):
                place = f"again, {number} of {len(days)} marked by a later session"
                yield from self._session(day, assets, place, preview=False)

    def _only_check(self, days: Sequence[date]) -> None:
        """A run that selects checks and no assets."""
        assets = {key.asset_key.to_user_string() for key in self.context.selected_asset_check_keys}
        with self.steps.warehouse.connect() as connection:
            for day in days:
                for asset in (one for one in STEPS if one in assets):
                    run_id = self.context.run.run_id
                    self._keep(self.steps.quality.check_day(asset, day, connection, run_id=run_id))

    def _note(self, step: StepDone) -> None:
        self._keep(step.checks)
        self.marked.update(step.marked)

    def _keep(self, results: Sequence[CheckResult]) -> None:
        for one in results:
            self.results[one.day, one.check.asset, one.check.name] = one

    def _check_results(self) -> Iterator[AssetCheckResult]:
        selected = self.context.selected_asset_check_keys
        for check in CHECKS:
            if AssetCheckKey(AssetKey(check.asset), check.name) in selected:
                found = [one for one in self.results.values() if one.check == check]
                if found:
                    yield _summary(check, found)

    def _failure(self, asked: int) -> Failure:
        first, cause = min(self.failures.items())
        line = _one_line(cause)
        if asked > 1:
            line = f"{len(self.failures)} of {asked} sessions failed; first: {line}"
        failed = {str(day): _one_line(error) for day, error in sorted(self.failures.items())[:NAMED_SESSIONS]}
        return Failure(
            line,
            metadata={"failed_sessions": MetadataValue.json(failed), "first_failed_session": str(first)},
            # The same file is refused again however often it is read; a locked day or a server that restarts passes.
            allow_retries=any(_may_pass(error) for error in self.failures.values()),
        )


def _summary(check: Check, found: Sequence[CheckResult]) -> AssetCheckResult:
    failed = sorted((one for one in found if not one.passed), key=lambda one: one.day)
    shown = failed[0] if failed else max(found, key=lambda one: one.day)
    metadata = {
        "sessions": MetadataValue.int(len(found)),
        "details_of": MetadataValue.text(str(shown.day)),
        "details": MetadataValue.json(dict(shown.details)),
        **(
            {"failed_sessions": MetadataValue.json([str(one.day) for one in failed[:NAMED_SESSIONS]])} if failed else {}
        ),
    }
    return AssetCheckResult(
        passed=not failed,
        asset_key=check.asset,
        check_name=check.name,
        severity=AssetCheckSeverity.ERROR if check.is_error else AssetCheckSeverity.WARN,
        description=f"failed on {len(failed)} of {len(found)} sessions, first {failed[0].day}" if failed else None,
        metadata=metadata,
    )


def _told(step: StepDone) -> str:
    what = {RAW: "reports", TRADES: "trades", METRICS: "symbols"}[step.asset]
    return f"{step.rows:,} {what}"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, SpineError):
        return isinstance(error, WarehouseError | PartitionLocked)
    return isinstance(error, psycopg.OperationalError | OSError)


def _one_line(error: Exception) -> str:
    if isinstance(error, SpineError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
